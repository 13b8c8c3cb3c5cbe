//! How long to wait before trying again.

use crate::Rng;

/// Exponential backoff with full jitter: a random wait below a bound that doubles with every retry.
///
/// Retries that wait equally long come back as the same wave that failed. Of the ways to spread them, drawing the
/// whole wait at random needs the fewest calls until all are served (Brooker, "Exponential Backoff And Jitter", AWS
/// Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first retry's wait, in nanoseconds.
    pub base_ns: u64,
    /// What the bound does not grow past, in nanoseconds.
    pub max_ns: u64,
}

/// As in Envoy's router: a retry goes to another endpoint, so it need not wait for the first one to recover. It waits
/// only to get out of step with the others, and still fits into a request's timeout.
impl Default for Backoff {
    fn default() -> Self {
        Self { base_ns: 25_000_000, max_ns: 250_000_000 }
    }
}

impl Backoff {
    /// How long to wait before a request's retry number `retry` (the first is 1), in nanoseconds.
    ///
    /// `at_least_ns` is what the endpoint asked for, as with `Retry-After`; 0 when it did not. The jitter comes on top
    /// of it: all who were asked to wait as long would else return together. Whether a wait is too long to be worth it
    /// is the caller's to say, who knows the request's deadline.
    pub fn wait_ns(&self, retry: u32, at_least_ns: u64, rng: &mut Rng) -> u64 {
        at_least_ns.saturating_add(rng.below_u64(self.bound_ns(retry)))
    }

    fn bound_ns(&self, retry: u32) -> u64 {
        let doublings = 1_u64.checked_shl(retry.saturating_sub(1)).unwrap_or(u64::MAX);
        self.base_ns.saturating_mul(doublings).min(self.max_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Rng;

    #[test]
    fn the_bound_doubles_up_to_its_limit() {
        let bounds_ms =
            |backoff: Backoff| [1, 2, 3, 4, 5, 6, u32::MAX].map(|retry| backoff.bound_ns(retry) / 1_000_000);
        assert_eq!(bounds_ms(Backoff::default()), [25, 50, 100, 200, 250, 250, 250]);
        assert_eq!(bounds_ms(Backoff { base_ns: 9_000_000, max_ns: 1_000_000 }), [1; 7]);
        assert_eq!(Backoff { base_ns: 0, ..Backoff::default() }.wait_ns(9, 7, &mut Rng::new(1)), 7);
    }

    #[test]
    fn waits_fill_the_whole_window() {
        let mut rng = Rng::new(1);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            tenths[(Backoff::default().wait_ns(5, 0, &mut rng) / 25_000_000) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_what_was_asked_for_and_the_bound(
            base_ns: u64, max_ns: u64, retry: u32, at_least_ns: u64, seed: u64,
        ) {
            let backoff = Backoff { base_ns, max_ns };
            let wait = backoff.wait_ns(retry, at_least_ns, &mut Rng::new(seed));
            prop_assert!(wait >= at_least_ns);
            prop_assert!(wait - at_least_ns <= max_ns);
            prop_assert!(backoff.bound_ns(retry) <= backoff.bound_ns(retry.saturating_add(1)));
            let again = backoff.wait_ns(retry, at_least_ns, &mut Rng::new(seed));
            prop_assert_eq!(wait, again, "the same seed, the same wait");
        }
    }
}
