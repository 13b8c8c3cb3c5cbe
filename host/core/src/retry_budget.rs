//! Retry budgets: how much of a cluster's work may be retries.

use std::{
    ops::Deref,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// How many retries there may be at the same time, by the requests that are active.
///
/// A fixed number of retries for each request multiplies the load just when a cluster fails under it. A share of what
/// is going on cannot: of what a cluster gets, at most that share are retries, also when every attempt fails. The
/// semantics are Envoy's (`retry_budget` of its circuit breakers), the idea is Finagle's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// How many of the active requests may be retries, in percent.
    pub percent: u32,
    /// How many retries are allowed at the same time in any case.
    pub min_concurrent: u32,
}

/// Both are Envoy's. 20% is also Finagle's; the least number is for clusters with little traffic, where 20% of two
/// requests would be none.
impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min_concurrent: 3 }
    }
}

impl RetryBudget {
    /// How many retries may go on at the same time as so many active requests.
    #[inline]
    pub fn limit(&self, active: u32) -> u32 {
        let share = u64::from(active) * u64::from(self.percent) / 100;
        u32::try_from(share).unwrap_or(u32::MAX).max(self.min_concurrent)
    }
}

/// How many of a cluster's requests are being retried. All workers share it.
///
/// The budget and the number of active requests come with each call: a reload changes the one while the count stays
/// right, and the other is known already, as what is in flight at the endpoints, so that a request which needs no retry
/// costs nothing here.
#[derive(Debug, Default)]
pub struct RetryLoad {
    retries: AtomicU32,
}

impl RetryLoad {
    /// Requests that are being retried.
    #[inline]
    pub fn retries(&self) -> u32 {
        self.retries.load(Relaxed)
    }
}

/// Whoever knows a cluster's load of retries. Workers count through a handle of their own, so that a request costs no
/// shared reference count.
pub trait HasRetryLoad {
    /// The cluster's load.
    fn retry_load(&self) -> &RetryLoad;
}

impl HasRetryLoad for RetryLoad {
    fn retry_load(&self) -> &RetryLoad {
        self
    }
}

impl<P: Deref<Target: HasRetryLoad>> HasRetryLoad for P {
    fn retry_load(&self) -> &RetryLoad {
        (**self).retry_load()
    }
}

/// The permission to try a request again, given back when this is dropped: at the latest with the request.
#[derive(Debug)]
#[must_use = "the permission is given back when this is dropped"]
pub struct RetryPermit<L: HasRetryLoad>(L);

impl<L: HasRetryLoad> RetryPermit<L> {
    /// None when the budget is used up by `active` requests. A request that is tried a third time keeps the permit that it
    /// has.
    #[inline]
    pub fn try_acquire(cluster: L, budget: &RetryBudget, active: u32) -> Option<Self> {
        let (load, limit) = (cluster.retry_load(), budget.limit(active));
        let more = |retries: u32| (retries < limit).then(|| retries + 1);
        load.retries.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self(cluster))
    }
}

impl<L: HasRetryLoad> Drop for RetryPermit<L> {
    fn drop(&mut self) {
        self.0.retry_load().retries.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{hint, sync::Arc, thread};

    use proptest::prelude::*;

    use super::*;

    fn retries(load: &RetryLoad, active: u32) -> Vec<RetryPermit<&RetryLoad>> {
        std::iter::from_fn(|| RetryPermit::try_acquire(load, &RetryBudget::default(), active)).collect()
    }

    #[test]
    fn a_fifth_of_the_requests_but_three_in_any_case() {
        let check = |requests: u32, expected: usize| {
            let load = RetryLoad::default();
            assert_eq!(retries(&load, requests).len(), expected, "{requests} requests");
        };
        check(0, 3);
        check(10, 3);
        check(19, 3);
        check(20, 4);
        check(24, 4);
        check(1000, 200);
    }

    #[test]
    fn permits_are_given_back() {
        let load = RetryLoad::default();
        let mut permits = retries(&load, 100);
        assert_eq!(load.retries(), 20);
        permits.truncate(19);
        assert!(RetryPermit::try_acquire(&load, &RetryBudget::default(), 100).is_some());
        // Fewer requests: those who retry may go on, but nobody may begin.
        assert!(RetryPermit::try_acquire(&load, &RetryBudget::default(), 0).is_none());
        drop(permits);
        assert_eq!(load.retries(), 0);
    }

    #[test]
    fn a_budget_of_none_allows_none() {
        let load = Arc::new(RetryLoad::default());
        assert!(RetryPermit::try_acquire(load, &RetryBudget { percent: 0, min_concurrent: 0 }, 100).is_none());
    }

    #[test]
    fn workers_together_never_exceed_the_budget() {
        let load = RetryLoad::default();
        // One place, kept for a moment: the workers are at the limit all the time, and whoever is too many is seen.
        let budget = RetryBudget { min_concurrent: 0, ..RetryBudget::default() };
        let worker = || {
            for round in 0..400_000 {
                let permit = RetryPermit::try_acquire(&load, &budget, 5);
                (0..20).for_each(|_| hint::spin_loop());
                assert!(load.retries() <= 1, "round {round}");
                drop(permit);
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(worker);
            }
        });
        assert_eq!(load.retries(), 0);
    }

    proptest! {
        #[test]
        fn whoever_is_let_in_is_within_the_budget(
            percent in 0..150_u32, min_concurrent in 0..5_u32,
            steps in prop::collection::vec((any::<bool>(), 0..100_u32), 0..200),
        ) {
            let (load, budget) = (RetryLoad::default(), RetryBudget { percent, min_concurrent });
            let mut permits = Vec::new();
            for (begins, active) in steps {
                if begins {
                    let most = (active * percent / 100).max(min_concurrent) as usize;
                    let permit = RetryPermit::try_acquire(&load, &budget, active);
                    prop_assert_eq!(permit.is_some(), permits.len() < most);
                    permits.extend(permit);
                } else {
                    drop(permits.pop());
                }
                prop_assert_eq!(load.retries(), permits.len() as u32);
            }
        }

        #[test]
        fn any_numbers_are_safe(percent: u32, min_concurrent: u32, active: u32) {
            let budget = RetryBudget { percent, min_concurrent };
            prop_assert!(budget.limit(active) >= min_concurrent);
            prop_assert!(budget.limit(active) <= budget.limit(active.saturating_add(1)));
        }
    }
}
