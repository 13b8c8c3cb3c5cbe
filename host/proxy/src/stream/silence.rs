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
    use std::future::poll_fn;

    use super::*;

    const SHORT: Duration = Duration::from_millis(2);

    /// After how many looks a connection is left, of twenty. `heard`: what each look finds.
    fn left_after(heard: impl Fn(u64) -> (u64, Duration)) -> Option<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut looks = 0;
        runtime.block_on(async {
            let mut silence = Silence::new(None, SHORT, SHORT);
            poll_fn(|cx| {
                let left = silence.poll(cx, || {
                    looks += 1;
                    heard(looks)
                });
                if looks > 20 { Poll::Ready(None) } else { left.map(|()| Some(looks)) }
            })
            .await
        })
    }

    #[test]
    fn nothing_at_all_is_a_sign_of_death() {
        assert_eq!(left_after(|_| (0, SHORT)), Some(2), "asked, and left");
    }

    #[test]
    fn who_says_something_each_time_stays() {
        assert_eq!(left_after(|look| (look, Duration::ZERO)), None);
    }

    #[test]
    fn a_sign_of_life_without_an_answer_does_not_end_the_watch() {
        // Asked, it says something else, and then nothing any more.
        assert_eq!(left_after(|look| if look == 2 { (2, Duration::ZERO) } else { (look.min(2), SHORT) }), Some(4));
    }

    #[test]
    fn a_worker_that_stood_still_does_not_blame_its_peers() {
        // All that it knows is that nothing has come for long: it asks first.
        assert_eq!(left_after(|look| if look == 1 { (0, 50 * SHORT) } else { (look, Duration::ZERO) }), None);
    }
}
