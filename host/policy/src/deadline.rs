//! When a call has had its time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{StoreContextMut, UpdateDeadline};

use crate::state::HostState;

/// A call's deadline.
///
/// The engine's epoch ticks in wall time. A worker that the kernel has put aside in the middle of a call must not be
/// blamed on the policy, so once the first tick has passed, what counts is the thread's own processor time. Reading
/// that is a system call, but only calls that last for a tick come to it.
///
/// To a virtual machine, a page that its host fetches first looks like processor time, too: milliseconds of it, at
/// once. So what has passed between two ticks counts for half of the limit at most.
pub(crate) struct Deadline {
    pub(crate) callback: &'static str,
    pub(crate) limit: Duration,
    /// Since the first tick.
    progress: Option<Progress>,
}

struct Progress {
    /// The thread's processor time at the last tick.
    at: Duration,
    used: Duration,
}

impl Deadline {
    pub(crate) fn new(callback: &'static str, limit: Duration) -> Self {
        Self { callback, limit, progress: None }
    }

    /// Whether the call has had its time, at a tick where its thread's processor time is `now`.
    fn is_over(&mut self, now: Duration) -> bool {
        let progress = self.progress.get_or_insert(Progress { at: now, used: Duration::ZERO });
        progress.used += now.saturating_sub(progress.at).min(self.limit / 2);
        progress.at = now;
        progress.used >= self.limit
    }
}

/// The epoch callback: whether a call that has seen a tick pass may go on.
pub(crate) fn at_tick(mut store: StoreContextMut<'_, HostState>) -> wasmtime::Result<UpdateDeadline> {
    let HostState { deadline, pacer, .. } = store.data_mut();
    pacer.hurry();
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let now = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    Ok(if deadline.is_over(now) { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_runs_all_the_time_is_over_when_it_should_be() {
        let over_after = |limit: u64| {
            let mut deadline = Deadline::new("pick", ms(limit));
            (0..).find(|at| deadline.is_over(ms(7 + at))).unwrap()
        };
        assert_eq!([1, 2, 3, 10, 1000].map(over_after), [2, 2, 3, 10, 1000]);
    }

    #[test]
    fn no_single_gap_is_its_fault() {
        let mut deadline = Deadline::new("pick", ms(1));
        let gone = [7, 50, 50, 50].map(|at| deadline.is_over(ms(at)));
        assert_eq!(gone, [false; 4]);
        assert!(deadline.is_over(ms(51)));
    }

    #[test]
    fn a_thread_that_was_put_aside_has_used_nothing() {
        let mut deadline = Deadline::new("pick", ms(1));
        assert!((0..100).all(|_| !deadline.is_over(ms(7))));
    }
}
