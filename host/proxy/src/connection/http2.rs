//! HTTP/2 from a client.

use std::{future::Future, pin::pin, rc::Rc, time::Duration};

use http::Request;
use hyper::{
    body::Incoming,
    rt::{Executor, bounds::Http2ServerConnExec},
    server::conn::http2::{Builder, Connection},
    service::HttpService,
};
use hyper_util::rt::TokioTimer;

use super::{
    ClientConnection, Served,
    walk::{begin, finish},
};
use crate::{body::ResponseBody, io::Io, timer::LazyTimer};

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
pub(super) async fn serve(client: Rc<ClientConnection>, io: Io) -> hyper::Result<()> {
    let service = {
        let client = Rc::clone(&client);
        hyper::service::service_fn(move |request: Request<Incoming>| {
            finish(begin(&client, request, Rc::new(LazyTimer::new(client.worker.clock))))
        })
    };
    let mut builder = Builder::new(LocalExecutor);
    builder
        .max_concurrent_streams(client.worker.limits.streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        // For WebSocket (RFC 8441).
        .enable_connect_protocol()
        // A head, decompressed: as much as HTTP/1.1 gets.
        .max_header_list_size(client.worker.limits.head.header_bytes as u32)
        .max_pending_accept_reset_streams(MAX_RESET)
        .max_local_error_reset_streams(MAX_MISTAKES)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    client.watch(pin!(builder.serve_connection(io, service))).await.map(drop)
}

impl<S> Served for Connection<Io, S, LocalExecutor>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: 'static,
    LocalExecutor: Http2ServerConnExec<S::Future, ResponseBody>,
{
    fn wind_down(self: std::pin::Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
