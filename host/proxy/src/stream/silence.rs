//! A peer that is gone without a word.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// Notices when a connection's peer gives no sign of life, also when it is asked for one.
pub(crate) struct Silence {
    ping: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    /// How long the peer may be silent before it is asked, and how long it may then take.
    interval: Duration,
    timeout: Duration,
    /// When the last had come before it was asked, if it was.
    asked: Option<u64>,
}

impl Silence {
    pub(crate) fn new(ping: Option<PingPong>, interval: Duration, timeout: Duration) -> Self {
        Self { ping, timer: Box::pin(sleep(interval)), interval, timeout, asked: None }
    }

    /// Ready when the peer has given no sign of life. `heard` says when something last came, as a number that changes when
    /// something comes, and how long ago that is. All that has come has to be read before this is asked.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, mut heard: impl FnMut() -> (u64, Duration)) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let (last, quiet) = heard();
            let wait = match self.asked {
                None if quiet >= self.interval => {
                    if let Some(ping) = &mut self.ping {
                        // An answer that was not waited for would be in the way. One that is still to come will do.
                        let _ = ping.poll_pong(cx);
                        let _ = ping.send_ping(Ping::opaque());
                    }
                    self.asked = Some(last);
                    self.timeout
                }
                Some(asked) if asked == last && quiet >= self.timeout => return Poll::Ready(()),
                _ => {
                    self.asked = None;
                    self.interval.saturating_sub(quiet)
                }
            };
            self.timer.as_mut().reset(Instant::now() + wait);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    /// Whether a connection is left within so many intervals. `heard` says when something last came, in intervals.
    fn is_left_within(intervals: u32, heard: impl Fn(Duration) -> Duration) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let began = Instant::now();
            let mut silence = Silence::new(None, SHORT, SHORT);
            let left = poll_fn(|cx| {
                silence.poll(cx, || {
                    let last = heard(began.elapsed());
                    (last.as_nanos() as u64, began.elapsed().saturating_sub(last))
                })
            });
            tokio::time::timeout(SHORT * intervals, left).await.is_ok()
        })
    }

    #[test]
    fn nothing_at_all_is_a_sign_of_death() {
        assert!(is_left_within(100, |_| Duration::ZERO));
    }

    #[test]
    fn who_says_something_each_time_stays() {
        assert!(!is_left_within(10, |now| now));
    }

    #[test]
    fn a_sign_of_life_without_an_answer_does_not_end_the_watch() {
        // Asked at the end of the first interval, it says something else, and then nothing any more.
        let (last, asked) = (SHORT * 3 / 2, Cell::new(0));
        let left = is_left_within(100, |now| {
            asked.set(asked.get() + 1);
            if now < last { Duration::ZERO } else { last }
        });
        assert!(left && asked.get() > 2, "{}", asked.get());
    }

    #[test]
    fn a_worker_that_stood_still_does_not_blame_its_peers() {
        // What came meanwhile came at its last moment, for all that the worker knows.
        let still = Cell::new(true);
        assert!(!is_left_within(10, |now| {
            if still.replace(false) {
                std::thread::sleep(SHORT * 5);
                return Duration::ZERO;
            }
            now
        }));
    }
}
