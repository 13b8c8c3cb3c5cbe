//! A deadline per request that costs no timer per request.

use std::{
    cell::RefCell,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
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
    /// for it.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, deadline: u64) -> Poll<()> {
        let mut armed = self.armed.borrow_mut();
        let armed = armed.get_or_insert_with(|| Armed {
            sleep: Box::pin(sleep(self.until(deadline))),
            at: deadline,
            is_awaited: false,
        });
        if deadline < armed.at {
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
}
