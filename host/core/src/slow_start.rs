//! Slow start: an endpoint that has just come gets less than its share.

/// The least time an endpoint is taken to have been there, as in Envoy's source, so that the curve begins above 0.
const LEAST_AGE_NS: u64 = 1_000_000;

/// How the weight of an endpoint grows after it joined the cluster or came back into it: its caches are cold, its
/// connections not open and its code not compiled yet.
///
/// The formula is Envoy's ("Slow start mode" in its architecture overview):
/// `max(min_percent / 100, (age / window) ^ (1 / aggression))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long it takes, in nanoseconds; 0 is off.
    pub window_ns: u64,
    /// The curve: 1 is a straight line, above 1 grows faster at first, below 1 slower. Not 0, not negative.
    pub aggression: f64,
    /// What an endpoint gets from the beginning, in percent of its weight.
    pub min_percent: u32,
}

/// Off, as in Envoy and NGINX: most endpoints need no warming up, and those that do know best how long it takes them.
/// The other two are Envoy's: a straight line, because it is what one expects without having measured; 10% at
/// least, so that a new endpoint sees its first requests soon also where there are many.
impl Default for SlowStart {
    fn default() -> Self {
        Self { window_ns: 0, aggression: 1.0, min_percent: 10 }
    }
}

impl SlowStart {
    /// The share of its weight, from `min_percent / 100` to 1, of an endpoint that joined or recovered at `since`. Both
    /// times are in nanoseconds. It never falls as time goes on.
    pub fn factor(&self, since: u64, now: u64) -> f64 {
        let age = now.saturating_sub(since).max(LEAST_AGE_NS);
        if age >= self.window_ns {
            return 1.0;
        }
        let time = age as f64 / self.window_ns as f64;
        let curved = if self.aggression == 1.0 { time } else { time.powf(self.aggression.recip()) };
        curved.max(f64::from(self.min_percent) / 100.0).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn grows_along_its_curve() {
        let check = |aggression: f64, seconds: u64, expected: f64| {
            let slow = SlowStart { window_ns: 100 * SECOND, aggression, ..SlowStart::default() };
            let factor = slow.factor(7 * SECOND, (7 + seconds) * SECOND);
            assert!((factor - expected).abs() < 1e-9, "aggression {aggression}, {seconds} s: {factor}");
        };
        check(1.0, 0, 0.1);
        check(1.0, 10, 0.1);
        check(1.0, 25, 0.25);
        check(1.0, 99, 0.99);
        check(1.0, 100, 1.0);
        check(2.0, 25, 0.5);
        check(0.5, 50, 0.25);
        check(0.5, 30, 0.1);
    }

    #[test]
    fn off_by_default() {
        assert_eq!(SlowStart::default().factor(5, 5), 1.0);
    }

    #[test]
    fn without_a_least_share_the_first_millisecond_counts() {
        let slow = SlowStart { window_ns: SECOND, min_percent: 0, ..SlowStart::default() };
        assert_eq!(slow.factor(9, 9), 0.001);
        assert_eq!(slow.factor(9, 0), 0.001, "clocks of two threads may differ a little");
    }

    proptest! {
        #[test]
        fn a_factor_is_within_bounds_and_never_falls(
            window_ns: u64, aggression: f64, min_percent in 0..200_u32, since: u64, ages: [u64; 2],
        ) {
            let slow = SlowStart { window_ns, aggression, min_percent };
            let factor = slow.factor(since, since.saturating_add(ages[0].min(ages[1])));
            let later = slow.factor(since, since.saturating_add(ages[0].max(ages[1])));
            prop_assert!(((f64::from(min_percent) / 100.0).min(1.0)..=1.0).contains(&factor), "{factor}");
            prop_assert!(factor <= later + 1e-12, "{factor} {later}");
            prop_assert_eq!(slow.factor(0, window_ns), 1.0);
        }
    }
}
