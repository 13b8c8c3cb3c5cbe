//! HTTP/2 connections to an endpoint, which requests share.
//!
//! Other than with HTTP/1.1, a connection is a task of its own: it has to answer pings and window updates also when
//! no request is looking.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
};

use hyper::client::conn::http2::{Builder, SendRequest};
use sluicegate_core::{Endpoint, Live, OpenConnection};
use tokio::sync::Mutex;

use crate::{
    body::RequestBody, cluster::ClusterSettings, connect::connect, connection::LocalExecutor, failure::Failure, io::Io,
};

/// Of one body, what an endpoint may send before the client has taken any of it.
const STREAM_WINDOW: u32 = 256 << 10;

/// Of all bodies on one connection together.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What is held of one request's body until the endpoint takes it.
const SEND_BUFFER: usize = 64 << 10;

/// Requests at a time on one connection, where the endpoint allows more. Beyond this a second connection is made, so
/// that one lost packet does not hold up everybody.
const MAX_STREAMS: usize = 100;

/// Instead of a time: it was used since the last sweep, which is exact enough and saves a look at the clock.
const USED: u64 = u64::MAX;

/// A worker's HTTP/2 connections to one endpoint.
#[derive(Default)]
pub(crate) struct Multiplexed {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held while a connection is made, so that a burst of requests makes one and not as many as it has requests.
    connecting: Mutex<()>,
}

struct Connection {
    sender: SendRequest<RequestBody>,
    streams: Cell<u32>,
    /// How many the endpoint allows; the connection's task keeps it up to date.
    allowed: Rc<Cell<usize>>,
    idle_since: Cell<u64>,
    _open: OpenConnection<Live>,
}

/// A request's place on a connection, for as long as this lives.
pub(crate) struct Stream(Rc<Connection>);

impl Multiplexed {
    /// A place on a connection that has one left, or on a new one; and whether it is new.
    pub(crate) async fn stream(
        &self,
        endpoint: &Endpoint,
        settings: &ClusterSettings,
    ) -> Result<(Stream, bool), Failure> {
        if let Some(stream) = self.existing() {
            return Ok((stream, false));
        }
        let _turn = self.connecting.lock().await;
        // Somebody else may have made one meanwhile.
        if let Some(stream) = self.existing() {
            return Ok((stream, false));
        }
        let connection = Rc::new(Connection::open(endpoint, settings).await?);
        self.connections.borrow_mut().push(Rc::clone(&connection));
        Ok((Stream::begin(&connection), true))
    }

    fn existing(&self) -> Option<Stream> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed());
        connections.iter().find(|connection| connection.has_room()).map(Stream::begin)
    }

    /// Closes connections that nobody has used since `oldest`.
    pub(crate) fn sweep(&self, oldest: u64, now: u64) {
        self.connections.borrow_mut().retain(|connection| {
            if connection.streams.get() > 0 || connection.idle_since.get() == USED {
                connection.idle_since.set(now);
            }
            !connection.sender.is_closed() && connection.idle_since.get() >= oldest
        });
    }

    /// Takes no more requests. Those under way keep their connections until they are done.
    pub(crate) fn retire(&self) {
        self.connections.borrow_mut().clear();
    }
}

impl Connection {
    async fn open(endpoint: &Endpoint, settings: &ClusterSettings) -> Result<Self, Failure> {
        let (io, _) = Io::new(connect(endpoint, settings).await?);
        let mut builder = Builder::new(LocalExecutor);
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        let name = || Arc::clone(&endpoint.name);
        let handshake = builder.handshake(io).await;
        let (sender, mut connection) = handshake.map_err(|source| Failure::UpstreamClosed {
            endpoint: name(),
            source: source.into(),
            sent: false,
        })?;
        let (endpoint, open) = (name(), OpenConnection::begin(endpoint.live.clone()));
        let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
        let current = Rc::clone(&allowed);
        let drive = poll_fn(move |cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            current.set(connection.current_max_send_streams());
            polled
        });
        tokio::task::spawn_local(async move {
            if let Err(error) = drive.await {
                tracing::debug!(%endpoint, %error, "an HTTP/2 connection broke");
            }
        });
        Ok(Self { sender, streams: Cell::new(0), allowed, idle_since: Cell::new(USED), _open: open })
    }

    fn has_room(&self) -> bool {
        (self.streams.get() as usize) < self.allowed.get().min(MAX_STREAMS)
    }
}

impl Stream {
    fn begin(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self(Rc::clone(connection))
    }

    /// Where to put the request.
    pub(crate) fn sender(&self) -> SendRequest<RequestBody> {
        self.0.sender.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since.set(USED);
    }
}
