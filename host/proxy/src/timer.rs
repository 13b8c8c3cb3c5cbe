//! A deadline per request that costs no timer per request.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use sluicegate_policy::Clock;
use tokio::time::{Instant, Sleep, sleep};

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
}

impl LazyTimer {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, armed: RefCell::new(None) }
    }

    /// Ready once `deadline` is past, on the data path's clock in nanoseconds. It has to be waited for by one task
    /// at a time.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, deadline: u64) -> Poll<()> {
        let mut armed = self.armed.borrow_mut();
        let armed = armed.get_or_insert_with(|| Armed { sleep: Box::pin(sleep(self.until(deadline))), at: deadline });
        if deadline < armed.at {
            self.reset(armed, deadline);
        }
        while armed.sleep.as_mut().poll(cx).is_ready() {
            if self.clock.now() >= deadline {
                return Poll::Ready(());
            }
            self.reset(armed, deadline);
        }
        Poll::Pending
    }

    fn reset(&self, armed: &mut Armed, deadline: u64) {
        armed.sleep.as_mut().reset(Instant::now() + self.until(deadline));
        armed.at = deadline;
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
