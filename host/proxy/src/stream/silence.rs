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
