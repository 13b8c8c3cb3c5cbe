//! A deadline per request that costs no timer per request.

use std::{
    cell::RefCell,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use sluicegate_policy::Clock;
use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep},
};

/// One timer that a connection's requests share, one after the other.
///
/// It is set when it is first waited for, and after that only when it fires or is needed earlier than it would:
/// a connection touches the timer wheel once per timeout, not once per request.
#[derive(Debug)]
pub(crate) struct LazyTimer {
    clock: Clock,
    armed: RefCell<Option<Armed>>,
}

#[derive(Debug)]
struct Armed {
    sleep: Pin<Box<Sleep>>,
    at: u64,
    /// Whether the task waits for it already.
    is_awaited: bool,
}

/// The runtime's clock may be ahead of the data path's by far less than this, in nanoseconds.
const MARGIN: u64 = 1_000_000_000;

impl LazyTimer {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, armed: RefCell::new(None) }
    }

    /// Ready once `deadline` is past, on the data path's clock in nanoseconds. Only ever one task may wait
    /// for it, for as many deadlines as it likes.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, deadline: u64) -> Poll<()> {
        let mut armed = self.armed.borrow_mut();
        let armed = armed.get_or_insert_with(|| Armed {
            sleep: Box::pin(sleep(self.until(deadline))),
            at: deadline,
            is_awaited: false,
        });
        if deadline < armed.at {
            if self.clock.now() >= deadline {
                // The timer has been set for a later one of several deadlines.
                return Poll::Ready(());
            }
            self.reset(armed, deadline);
        } else if armed.is_awaited && self.clock.now().saturating_add(MARGIN) < armed.at {
            // It will wake the connection's task, the same one every time, and can't have fired yet.
            return Poll::Pending;
        }
        // Not put off by the task's budget: a poll that is put off does not wait for the timer.
        while pin!(unconstrained(armed.sleep.as_mut())).poll(cx).is_ready() {
            if self.clock.now() >= deadline {
                return Poll::Ready(());
            }
            self.reset(armed, deadline);
        }
        armed.is_awaited = true;
        Poll::Pending
    }

    fn reset(&self, armed: &mut Armed, deadline: u64) {
        armed.sleep.as_mut().reset(Instant::now() + self.until(deadline));
        armed.at = deadline;
        armed.is_awaited = false;
    }

    fn until(&self, deadline: u64) -> Duration {
        Duration::from_nanos(deadline.saturating_sub(self.clock.now()))
    }
}

/// A time that begins anew whenever something moves.
#[derive(Debug)]
pub(crate) struct Idle {
    timeout: u64,
    at: u64,
    moved: u64,
}

impl Idle {
    /// `moved`: a count of what has moved so far.
    pub(crate) fn new(timeout: Duration, now: u64, moved: u64) -> Self {
        Self { timeout: nanos(timeout), at: now.saturating_add(nanos(timeout)), moved }
    }

    /// Ready when the count is what it was for the whole time, or somewhat longer: that something moved is only looked
    /// at when the time is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, timer: &LazyTimer, moved: u64) -> Poll<()> {
        loop {
            ready!(timer.poll(cx, self.at));
            if moved == self.moved {
                return Poll::Ready(());
            }
            self.moved = moved;
            self.at = timer.clock.now().saturating_add(self.timeout);
        }
    }
}

/// A time in nanoseconds.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn fires_at_the_deadline_of_whoever_waits() {
        let clock = Clock::start();
        let timer = LazyTimer::new(clock);
        // A long deadline that is not waited out, an earlier one, a later one.
        poll_fn(|cx| {
            assert!(timer.poll(cx, clock.now() + 60_000_000_000).is_pending());
            Poll::Ready(())
        })
        .await;
        for ms in [5, 30] {
            let start = clock.now();
            poll_fn(|cx| timer.poll(cx, start + ms * 1_000_000)).await;
            let took = (clock.now() - start) / 1_000_000;
            assert!((ms..ms + 500).contains(&took), "{took} ms instead of {ms}");
        }
    }

    #[tokio::test]
    async fn of_several_deadlines_each_is_kept() {
        let clock = Clock::start();
        let timer = LazyTimer::new(clock);
        let start = clock.now();
        let at = |ms: u64| start + ms * 1_000_000;
        let mut fired = Vec::new();
        poll_fn(|cx| {
            for ms in [60_000, 20, 40] {
                if !fired.contains(&ms) && timer.poll(cx, at(ms)).is_ready() {
                    fired.push(ms);
                }
            }
            if fired.len() == 2 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert_eq!(fired, [20, 40]);
        assert!(clock.now() >= at(40));
    }

    #[tokio::test]
    async fn what_moves_is_not_idle() {
        let clock = Clock::start();
        let (timer, start) = (LazyTimer::new(clock), clock.now());
        let mut idle = Idle::new(Duration::from_millis(20), start, 0);
        // It moves once, at some time before the first look.
        poll_fn(|cx| idle.poll(cx, &timer, 1)).await;
        assert!(clock.now() >= start + 40_000_000, "a second time had to pass");
    }
}
