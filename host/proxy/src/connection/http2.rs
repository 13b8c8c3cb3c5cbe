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
    Reason,
    server::{Builder, Connection},
};
use sluicegate_wire::http2;

use super::{ClientConnection, Served, guarded::Guarded, stream::answer};
use crate::{io::Io, stream::Silence};

/// What a client may send of one body before any of it is taken. One round trip of 5 ms at 400 Mbit/s: more only
/// piles up here when the endpoint is slower than the client.
const STREAM_WINDOW: u32 = 256 << 10;

/// The same for all bodies of a connection together: what a client can make this proxy hold.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What is held of one response until the client takes it.
const SEND_BUFFER: usize = 64 << 10;

/// Requests that a client has reset before anybody looked at them ("rapid reset", CVE-2023-44487).
const MAX_RESET: usize = 20;

/// How long a client may be silent under its requests before it is asked for a sign of life. Without requests the worker
/// closes its connection sooner than that.
const PING_INTERVAL: Duration = Duration::from_secs(75);

/// How long it may take to give one: a phone may be out of reach for a moment.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a client's requests, each a task of its own.
pub(super) async fn serve(client: Rc<ClientConnection>, io: Io) -> Result<(), h2::Error> {
    let frames = Rc::new(RefCell::new(http2::Connection::default()));
    // The worker looks at them once a second.
    let _ = client.frames.set(Rc::clone(&frames));
    if client.worker.is_draining.get() {
        // It gets an answer to what it has sent already, and goes elsewhere with the next.
        client.close();
    }
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
            // `Guarded` counts mistakes, and knows which of them are none: who opens many streams at once, before they know
            // how many they may, is only refused.
            .max_local_error_reset_streams(None)
            .handshake::<_, Bytes>(Guarded::new(io, frames))
    );
    let connection =
        poll_fn(|cx| if client.is_cut(cx) { Poll::Ready(None) } else { handshake.as_mut().poll(cx).map(Some) });
    let Some(mut connection) = connection.await.transpose()? else { return Ok(()) };
    let silence = Silence::new(connection.ping_pong(), PING_INTERVAL, PING_TIMEOUT);
    client.watch(pin!(Serving { client: Rc::clone(&client), connection, silence, heard: 0 })).await.map(drop)
}

struct Serving {
    client: Rc<ClientConnection>,
    connection: Connection<Guarded, Bytes>,
    silence: Silence,
    /// How often it was found that something had come.
    heard: u64,
}

impl Serving {
    /// Takes requests in. Ready when the connection is over.
    fn accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while let Some((request, respond)) = ready!(self.connection.poll_accept(cx)).transpose()? {
            tokio::task::spawn_local(answer(Rc::clone(&self.client), request, respond));
        }
        Poll::Ready(Ok(()))
    }
}

impl Future for Serving {
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let served = self.accept(cx);
        let Self { client, connection, silence, heard } = &mut *self;
        let last = || {
            let has_spoken = client.traffic.received.take();
            *heard += u64::from(has_spoken);
            (*heard, if has_spoken { Duration::ZERO } else { Duration::MAX })
        };
        if served.is_pending() && silence.poll(cx, last).is_ready() {
            connection.abrupt_shutdown(Reason::NO_ERROR);
            return self.accept(cx);
        }
        served
    }
}

impl Served for Serving {
    type Error = h2::Error;

    fn wind_down(mut self: Pin<&mut Self>) {
        self.connection.graceful_shutdown();
    }
}
