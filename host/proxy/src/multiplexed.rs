//! HTTP/2 connections to an endpoint, which requests share.
//!
//! Other than with HTTP/1.1, a connection is a task of its own: it has to answer pings and window updates also when
//! no request is looking.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use hyper::client::conn::http2::{self, Builder, SendRequest};
use hyper_util::rt::TokioTimer;
use sluicegate_core::Resource;
use sluicegate_policy::Clock;
use tokio::{sync::Mutex, time::sleep};

use crate::{
    body::RequestBody,
    cluster::ClusterSettings,
    connect::connect,
    connection::LocalExecutor,
    endpoint::WorkerEndpoint,
    failure::Failure,
    io::{Io, Traffic},
    load::{Opened, place},
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

/// How long an endpoint that is asked for a sign of life may take to give one, at most: many round trips.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that is given up after this time, in nanoseconds, without a byte from the endpoint since it was sent says
/// that its connection is dead. One that its client takes back sooner says nothing.
const SILENCE: u64 = 100_000_000;

/// How often, and how far apart, it is looked whether a new connection's settings have come: for a second together.
/// They are the first thing that an endpoint says.
const SETTINGS_LOOKS: u32 = 200;
const SETTINGS_WAIT: Duration = Duration::from_millis(5);

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
    /// hyper's side of it, for as long as its task lives: what the endpoint has said of itself comes in without that task.
    task: Weak<RefCell<http2::Connection<Io, RequestBody, LocalExecutor>>>,
    /// Whether it has answered anything, so that its settings are known.
    has_answered: Cell<bool>,
    idle_since: Cell<u64>,
    traffic: Rc<Traffic>,
    /// When it was last noticed that something had come over it.
    heard: Cell<u64>,
    /// Whether requests should go elsewhere.
    is_suspect: Cell<bool>,
    clock: Clock,
    _open: Opened,
}

/// A request's place on a connection, for as long as this lives.
pub(crate) struct Stream {
    connection: Rc<Connection>,
    began: u64,
    is_answered: bool,
}

impl Multiplexed {
    /// A place on a connection that has one left, or on a new one; and whether it is new.
    pub(crate) async fn stream(
        &self,
        endpoint: &WorkerEndpoint,
        settings: &ClusterSettings,
        clock: Clock,
    ) -> Result<(Stream, bool), Failure> {
        if let Some(stream) = self.existing() {
            return Ok((stream, false));
        }
        let _waiting = place(Arc::clone(&endpoint.load), Resource::Pending, settings)?;
        let _turn = self.connecting.lock().await;
        // Somebody else may have made one meanwhile.
        if let Some(stream) = self.existing() {
            return Ok((stream, false));
        }
        let connection = Rc::new(Connection::open(endpoint, settings, clock).await?);
        self.connections.borrow_mut().push(Rc::clone(&connection));
        Ok((Stream::begin(&connection), true))
    }

    fn existing(&self) -> Option<Stream> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.is_usable());
        connections.iter().find(|connection| connection.has_room()).map(Stream::begin)
    }

    /// Closes connections that nobody has used since `oldest`.
    pub(crate) fn sweep(&self, oldest: u64, now: u64) {
        self.connections.borrow_mut().retain(|connection| {
            if connection.streams.get() > 0 || connection.idle_since.get() == USED {
                connection.idle_since.set(now);
            }
            connection.is_usable() && connection.idle_since.get() >= oldest
        });
    }

    /// Takes no more requests. Those under way keep their connections until they are done.
    pub(crate) fn retire(&self) {
        self.connections.borrow_mut().clear();
    }
}

impl Connection {
    async fn open(endpoint: &WorkerEndpoint, settings: &ClusterSettings, clock: Clock) -> Result<Self, Failure> {
        let (stream, open) = connect(endpoint, settings, None).await?;
        let (io, traffic) = Io::new(stream);
        let mut builder = Builder::new(LocalExecutor);
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .timer(TokioTimer::new())
            .keep_alive_interval(settings.ping_interval)
            .keep_alive_timeout(settings.ping_interval.min(PING_TIMEOUT));
        let name = || Arc::clone(&endpoint.endpoint.name);
        let handshake = builder.handshake(io).await;
        let (sender, connection) = handshake.map_err(|source| Failure::UpstreamClosed {
            endpoint: name(),
            source: source.into(),
            sent: false,
        })?;
        let endpoint = name();
        let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
        let current = Rc::clone(&allowed);
        let driven = Rc::new(RefCell::new(connection));
        let task = Rc::downgrade(&driven);
        let drive = poll_fn(move |cx| {
            let mut connection = driven.borrow_mut();
            let polled = Pin::new(&mut *connection).poll(cx);
            current.set(connection.current_max_send_streams());
            polled
        });
        tokio::task::spawn_local(async move {
            if let Err(error) = drive.await {
                tracing::debug!(%endpoint, %error, "an HTTP/2 connection broke");
            }
        });
        Ok(Self {
            sender,
            streams: Cell::new(0),
            allowed,
            task,
            has_answered: Cell::new(false),
            idle_since: Cell::new(USED),
            traffic,
            heard: Cell::new(0),
            is_suspect: Cell::new(false),
            clock,
            _open: open,
        })
    }

    /// Notices whether something came over it. Returns the time.
    fn listen(&self) -> u64 {
        let now = self.clock.now();
        if self.traffic.received.take() {
            self.heard.set(now);
        }
        now
    }

    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.is_suspect.get()
    }

    /// Whether the endpoint has said that it takes WebSockets (RFC 8441, section 3).
    fn takes_websockets(&self) -> bool {
        self.task.upgrade().is_some_and(|task| task.borrow().is_extended_connect_protocol_enabled())
    }

    fn has_room(&self) -> bool {
        (self.streams.get() as usize) < self.allowed.get().min(MAX_STREAMS)
    }
}

impl Stream {
    fn begin(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { connection: Rc::clone(connection), began: connection.listen(), is_answered: false }
    }

    /// The answer's head is there.
    pub(crate) fn answered(&mut self) {
        self.is_answered = true;
        self.connection.has_answered.set(true);
    }

    /// Whether the endpoint takes WebSockets. On a new connection, it has some time to say so. One that broke says nothing;
    /// who sends a request over it finds out.
    pub(crate) async fn takes_websockets(&self) -> bool {
        let connection = &self.connection;
        for _ in 0..SETTINGS_LOOKS {
            if connection.takes_websockets() || connection.has_answered.get() || !connection.is_usable() {
                break;
            }
            sleep(SETTINGS_WAIT).await;
        }
        connection.takes_websockets() || !connection.is_usable()
    }

    /// Where to put the request.
    pub(crate) fn sender(&self) -> SendRequest<RequestBody> {
        self.connection.sender.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.idle_since.set(USED);
        if !self.is_answered {
            let waited = connection.listen().saturating_sub(self.began);
            if connection.heard.get() <= self.began && waited > SILENCE {
                connection.is_suspect.set(true);
            }
        }
    }
}
