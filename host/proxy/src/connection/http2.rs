//! HTTP/2 from a client.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason,
    server::{Builder, Connection},
};
use hyper::rt::Executor;
use sluicegate_wire::http2;
use tokio::time::{Instant, Sleep, sleep};

use super::{ClientConnection, Served, guarded::Guarded, stream::answer};
use crate::io::Io;

/// What a client may send of one body before any of it is taken. One round trip of 5 ms at 400 Mbit/s: more only
/// piles up here when the endpoint is slower than the client.
const STREAM_WINDOW: u32 = 256 << 10;

/// The same for all bodies of a connection together: what a client can make this proxy hold.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What is held of one response until the client takes it.
const SEND_BUFFER: usize = 64 << 10;

/// Requests that a client has reset before anybody looked at them ("rapid reset", CVE-2023-44487).
const MAX_RESET: usize = 20;

/// Streams that this side had to reset for the client's mistakes, before the connection is given up.
const MAX_MISTAKES: usize = 128;

/// How long a client may be silent under its requests before it is asked for a sign of life. Without requests the worker
/// closes its connection sooner than that.
const PING_INTERVAL: Duration = Duration::from_secs(75);

/// How long it may take to give one: a phone may be out of reach for a moment.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs what hyper wants run on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Serves a client's requests, each a task of its own.
pub(super) async fn serve(client: Rc<ClientConnection>, io: Io) -> Result<(), h2::Error> {
    let frames = Rc::new(RefCell::new(http2::Connection::default()));
    // The worker looks at them once a second.
    let _ = client.frames.set(Rc::clone(&frames));
    let mut handshake = pin!(
        Builder::new()
            .max_concurrent_streams(client.worker.limits.streams)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(http2::MAX_FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            // For WebSocket (RFC 8441).
            .enable_connect_protocol()
            // A head, decompressed: as much as HTTP/1.1 gets.
            .max_header_list_size(client.worker.limits.head.header_bytes as u32)
            .max_pending_accept_reset_streams(MAX_RESET)
            .max_local_error_reset_streams(Some(MAX_MISTAKES))
            .handshake::<_, Bytes>(Guarded::new(io, frames))
    );
    let connection =
        poll_fn(|cx| if client.is_ending(cx) { Poll::Ready(None) } else { handshake.as_mut().poll(cx).map(Some) });
    let Some(mut connection) = connection.await.transpose()? else { return Ok(()) };
    let silence = Silence { ping: connection.ping_pong(), timer: Box::pin(sleep(PING_INTERVAL)), is_asked: false };
    client.watch(pin!(Serving { client: Rc::clone(&client), connection, silence })).await.map(drop)
}

struct Serving {
    client: Rc<ClientConnection>,
    connection: Connection<Guarded, Bytes>,
    silence: Silence,
}

/// Notices when a client is gone without a word.
struct Silence {
    ping: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    /// Whether the client was asked for a sign of life, and has given none.
    is_asked: bool,
}

impl Silence {
    /// Ready when the client has given no sign of life. `has_spoken`: whether it has, since this was last asked.
    fn poll(&mut self, cx: &mut Context<'_>, has_spoken: impl Fn() -> bool) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if has_spoken() {
                self.is_asked = false;
            } else if self.is_asked {
                return Poll::Ready(());
            } else if let Some(ping) = &mut self.ping {
                // An answer that was not waited for would be in the way.
                let _ = ping.poll_pong(cx);
                self.is_asked = ping.send_ping(Ping::opaque()).is_ok();
            }
            let wait = if self.is_asked { PING_TIMEOUT } else { PING_INTERVAL };
            self.timer.as_mut().reset(Instant::now() + wait);
        }
        Poll::Pending
    }
}

impl Future for Serving {
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { client, connection, silence } = &mut *self;
        if silence.poll(cx, || client.traffic.received.take()).is_ready() {
            connection.abrupt_shutdown(Reason::NO_ERROR);
        }
        while let Some((request, respond)) = ready!(connection.poll_accept(cx)).transpose()? {
            tokio::task::spawn_local(answer(Rc::clone(client), request, respond));
        }
        Poll::Ready(Ok(()))
    }
}

impl Served for Serving {
    type Error = h2::Error;

    fn wind_down(mut self: Pin<&mut Self>) {
        self.connection.graceful_shutdown();
    }
}
