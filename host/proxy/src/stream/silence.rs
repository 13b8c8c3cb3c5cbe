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
    /// Whether it was asked, and has said nothing since.
    is_asked: bool,
}

impl Silence {
    pub(crate) fn new(ping: Option<PingPong>, interval: Duration, timeout: Duration) -> Self {
        Self { ping, timer: Box::pin(sleep(interval)), interval, timeout, is_asked: false }
    }

    /// Ready when the peer has given no sign of life. `quiet` says for how long nothing has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, mut quiet: impl FnMut() -> Duration) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let quiet = quiet();
            let wait = if quiet < self.interval {
                self.is_asked = false;
                self.interval - quiet
            } else if self.is_asked {
                return Poll::Ready(());
            } else {
                if let Some(ping) = &mut self.ping {
                    // An answer that was not waited for would be in the way.
                    let _ = ping.poll_pong(cx);
                    self.is_asked = ping.send_ping(Ping::opaque()).is_ok();
                }
                if self.is_asked { self.timeout } else { self.interval }
            };
            self.timer.as_mut().reset(Instant::now() + wait);
        }
        Poll::Pending
    }
}
