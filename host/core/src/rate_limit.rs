//! Rate limits: how many requests a second may pass.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A rate, and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    period_ns: u64,
    burst_ns: u64,
}

impl RateLimit {
    /// `per_second` requests a second, which may be a fraction, of which up to `burst` come at once. None unless the
    /// rate is a positive number and the burst at least 1: nothing would ever pass.
    ///
    /// The time between two requests is kept in whole nanoseconds and rounded up, so that the rate is never exceeded.
    /// What is lost by that grows with the rate: 0.1% at a million a second.
    ///
    /// There is no default: a limit that nobody asked for is an outage.
    pub fn new(per_second: f64, burst: u32) -> Option<Self> {
        if !(per_second > 0.0 && per_second.is_finite() && burst > 0) {
            return None;
        }
        let period_ns = ((1e9 / per_second).ceil() as u64).max(1);
        Some(Self { period_ns, burst_ns: period_ns.saturating_mul(u64::from(burst)) })
    }
}

/// A token bucket that is full at first, shared by the workers.
///
/// It is the generic cell rate algorithm (ITU-T I.371, Annex A, virtual scheduling): instead of a number of tokens and
/// the time of their last refill, it keeps one number, the theoretical arrival time: when the bucket will be full
/// again. So a request costs one load and one compare-and-swap, and one that is refused only the load: a flood of
/// them does not make workers fight for the cache line.
///
/// The limit comes with each call, from the snapshot, so that a reload changes it without a fresh burst.
#[derive(Debug, Default)]
pub struct RateLimiter {
    full_at: AtomicU64,
}

impl RateLimiter {
    /// Lets one request pass at `now`, in nanoseconds.
    ///
    /// # Errors
    ///
    /// How long until one may pass, in nanoseconds, if no other comes first; never 0.
    #[inline]
    pub fn try_pass(&self, limit: &RateLimit, now: u64) -> Result<(), u64> {
        let mut full_at = self.full_at.load(Relaxed);
        loop {
            // Past times count as now: a bucket does not get fuller than full. The clocks of two workers may differ
            // a little, which then changes nothing.
            let next = full_at.max(now).saturating_add(limit.period_ns);
            let ahead = next - now;
            if ahead > limit.burst_ns {
                return Err(ahead - limit.burst_ns);
            }
            match self.full_at.compare_exchange_weak(full_at, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_and_then_the_rate() {
        let limit = RateLimit::new(10.0, 3).unwrap();
        let limiter = RateLimiter::default();
        let now = 100 * SECOND;
        assert_eq!([0; 3].map(|_| limiter.try_pass(&limit, now)), [Ok(()); 3]);
        assert_eq!(limiter.try_pass(&limit, now), Err(SECOND / 10));
        assert_eq!(limiter.try_pass(&limit, now + SECOND / 10 - 1), Err(1));
        assert_eq!(limiter.try_pass(&limit, now + SECOND / 10), Ok(()));
        assert_eq!(limiter.try_pass(&limit, now + SECOND / 10), Err(SECOND / 10));
        // After a long pause there is one burst, and not one for each second of the pause.
        let later = now + 1000 * SECOND;
        assert_eq!((0..100).filter(|_| limiter.try_pass(&limit, later).is_ok()).count(), 3);
    }

    #[test]
    fn rates_may_be_fractions() {
        let limit = RateLimit::new(0.25, 1).unwrap();
        let limiter = RateLimiter::default();
        assert_eq!(limiter.try_pass(&limit, 0), Ok(()));
        assert_eq!(limiter.try_pass(&limit, SECOND), Err(3 * SECOND));
        assert_eq!(limiter.try_pass(&limit, 4 * SECOND), Ok(()));
    }

    #[test]
    fn a_period_is_rounded_up() {
        let limit = RateLimit::new(7e8, 1).unwrap();
        let limiter = RateLimiter::default();
        assert_eq!([0, 1, 2].map(|now| limiter.try_pass(&limit, now)), [Ok(()), Err(1), Ok(())]);
    }

    #[test]
    fn limits_that_let_nothing_pass_are_no_limits() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(RateLimit::new(rate, 1), None);
        }
        assert_eq!(RateLimit::new(1.0, 0), None);
        assert!(RateLimit::new(f64::MAX, u32::MAX).is_some() && RateLimit::new(f64::MIN_POSITIVE, u32::MAX).is_some());
    }

    #[test]
    fn a_new_limit_holds_at_once_and_brings_no_fresh_burst() {
        let (old, new) = (RateLimit::new(10.0, 10).unwrap(), RateLimit::new(1.0, 2).unwrap());
        let limiter = RateLimiter::default();
        (0..10).for_each(|_| limiter.try_pass(&old, 0).unwrap());
        // Half of what the old limit let pass ahead of its time is still to be made up for.
        assert_eq!(limiter.try_pass(&new, SECOND / 2), Ok(()));
        assert_eq!(limiter.try_pass(&new, SECOND / 2), Err(SECOND / 2));
    }

    #[test]
    fn workers_share_one_burst() {
        // So many that the workers do get into each other's way.
        let limit = RateLimit::new(0.001, 2_000_000).unwrap();
        let limiter = RateLimiter::default();
        let worker = || (0..1_000_000).filter(|_| limiter.try_pass(&limit, 5).is_ok()).count();
        let passed: usize = thread::scope(|scope| {
            [0; 4].map(|_| scope.spawn(worker)).map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert_eq!(passed, 2_000_000);
    }

    proptest! {
        #[test]
        fn no_window_lets_more_pass_than_the_burst_and_the_rate(
            per_second in 0.1..10_000.0, burst in 1..50_u32, steps in prop::collection::vec(0..SECOND / 20, 1..100),
        ) {
            let limit = RateLimit::new(per_second, burst).unwrap();
            let limiter = RateLimiter::default();
            let mut now = 0;
            let mut passed: Vec<u64> = Vec::new();
            for step in steps {
                now += step;
                passed.extend((0..3).filter(|_| limiter.try_pass(&limit, now).is_ok()).map(|_| now));
            }
            for (first, start) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    let most = f64::from(burst) + per_second * (end - start) as f64 / SECOND as f64;
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6);
                }
            }
        }

        #[test]
        fn the_wait_is_exact(
            per_second in 0.001..1e9, burst in 1..1000_u32, now in 0..u64::MAX / 4, early in 1..SECOND,
        ) {
            let limit = RateLimit::new(per_second, burst).unwrap();
            let limiter = RateLimiter::default();
            (0..burst).for_each(|_| limiter.try_pass(&limit, now).unwrap());
            let wait = limiter.try_pass(&limit, now).unwrap_err();
            prop_assert!(wait > 0);
            prop_assert_eq!(limiter.try_pass(&limit, now + wait - early.min(wait)), Err(early.min(wait)));
            prop_assert_eq!(limiter.try_pass(&limit, now + wait), Ok(()));
        }

        #[test]
        fn any_numbers_are_safe(per_second: f64, burst: u32, times: [u64; 8]) {
            if let Some(limit) = RateLimit::new(per_second, burst) {
                let limiter = RateLimiter::default();
                for now in times {
                    prop_assert_ne!(limiter.try_pass(&limit, now), Err(0));
                }
            }
        }
    }
}
