//! HTTP/2 connections to an endpoint, which requests share.
//!
//! Other than with HTTP/1.1, a connection is a task of its own: it has to answer pings and window updates also when
//! no request is looking.

mod call;

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use sluicegate_core::Resource;
use sluicegate_policy::Clock;
use tokio::{sync::Mutex, time::sleep};

use crate::{
    body::BodyError,
    cluster::ClusterSettings,
    connect::{UpstreamTls, connect},
    endpoint::WorkerEndpoint,
    failure::Failure,
    io::{Io, Traffic},
    load::{Opened, place},
    stream::Silence,
    upstream::MAX_HEAD,
};

pub(crate) use call::{Broken, Call};

/// Of one body, what an endpoint may send before the client has taken any of it.
const STREAM_WINDOW: u32 = 256 << 10;

/// Of all bodies on one connection together.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What is held of one request's body until the endpoint takes it.
const SEND_BUFFER: usize = 64 << 10;

/// Requests at a time on one connection, where the endpoint allows more. Beyond this a second connection is made, so
/// that one lost packet does not hold up everybody.
const MAX_STREAMS: usize = 100;

/// What the library may hold of small frames beside their bytes, at 256 bytes each: 32,000 messages, as many as fill two
/// streams' windows. Past it, it ends the connection with all that is under way on it; each takes up memory, too.
const FRAME_BUDGET: usize = 8 << 20;

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
    /// Held while a connection is made, so that a burst of requests makes one and not as many as it has requests. In it,
    /// when an endpoint last let one time out.
    connecting: Mutex<Option<u64>>,
}

struct Connection {
    sender: SendRequest<Bytes>,
    /// How it is secured.
    tls: Option<UpstreamTls>,
    /// What its task knows of it, too.
    life: Rc<Life>,
    /// Whether it has answered anything, so that its settings are known.
    has_answered: Cell<bool>,
    idle_since: Cell<u64>,
    /// Whether requests should go elsewhere.
    is_suspect: Cell<bool>,
    _open: Opened,
}

/// How a connection is doing.
struct Life {
    clock: Clock,
    traffic: Rc<Traffic>,
    /// Requests under way.
    streams: Cell<u32>,
    /// When something last came over it.
    heard: Cell<u64>,
    is_over: Cell<bool>,
}

/// A request's place on a connection, for as long as this lives.
pub(crate) struct Place {
    connection: Rc<Connection>,
    began: u64,
    /// Or nothing was waited for that did not come.
    is_answered: bool,
}

impl Multiplexed {
    /// A place on a connection that has one left, or on a new one; and whether it is new.
    pub(crate) async fn place(
        &self,
        endpoint: &WorkerEndpoint,
        settings: &ClusterSettings,
        clock: Clock,
    ) -> Result<(Place, bool), Failure> {
        if let Some(place) = self.existing(settings) {
            return Ok((place, false));
        }
        let _waiting = place(Arc::clone(&endpoint.load), Resource::Pending, settings)?;
        let began = clock.now();
        let mut timed_out = self.connecting.lock().await;
        // Somebody else may have made one meanwhile.
        if let Some(place) = self.existing(settings) {
            return Ok((place, false));
        }
        if timed_out.is_some_and(|at| at > began) {
            // Who has waited for somebody else's connection does not begin to wait for their own.
            let (endpoint, timeout) = (Arc::clone(&endpoint.endpoint.name), settings.connect_timeout);
            return Err(Failure::ConnectTimeout { endpoint, timeout });
        }
        let connection = Connection::open(endpoint, settings, clock).await.inspect_err(|failure| {
            *timed_out = matches!(failure, Failure::ConnectTimeout { .. }).then(|| clock.now());
        })?;
        let connection = Rc::new(connection);
        self.connections.borrow_mut().push(Rc::clone(&connection));
        Ok((Place::begin(&connection), true))
    }

    fn existing(&self, settings: &ClusterSettings) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        // One that was being made while the cluster's settings changed may be secured in another way.
        connections.retain(|connection| connection.is_usable() && connection.tls == settings.tls);
        connections.iter().find(|connection| connection.has_room()).map(Place::begin)
    }

    /// Closes connections that nobody has used since `oldest`.
    pub(crate) fn sweep(&self, oldest: u64, now: u64) {
        self.connections.borrow_mut().retain(|connection| {
            if connection.life.streams.get() > 0 || connection.idle_since.get() == USED {
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
        let handshake = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD as u32)
            .initial_max_send_streams(MAX_STREAMS)
            .data_frame_budget(FRAME_BUDGET)
            // What comes for requests that were taken back is nothing that the endpoint does wrong.
            .max_concurrent_reset_streams(4 * MAX_STREAMS)
            .max_local_error_reset_streams(None)
            .enable_push(false)
            .handshake(io)
            .await;
        let name = || Arc::clone(&endpoint.endpoint.name);
        let (sender, mut connection) = handshake.map_err(|source| Failure::UpstreamClosed {
            endpoint: name(),
            source: source.into(),
            sent: false,
        })?;
        let heard = Cell::new(clock.now());
        let life = Rc::new(Life { clock, traffic, streams: Cell::new(0), heard, is_over: Cell::new(false) });
        let (of_task, endpoint) = (Rc::clone(&life), name());
        let interval = settings.ping_interval;
        let mut silence = Silence::new(connection.ping_pong(), interval, interval.min(PING_TIMEOUT));
        tokio::task::spawn_local(async move {
            let life = of_task;
            let driven = poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx).map_err(BodyError::from);
                life.listen();
                if polled.is_pending() && silence.poll(cx, || life.last()).is_ready() {
                    // The requests on it end with it.
                    return Poll::Ready(Err("it gave no sign of life".into()));
                }
                polled
            });
            let ended = driven.await;
            life.is_over.set(true);
            if let Err(error) = ended {
                tracing::debug!(%endpoint, %error, "an HTTP/2 connection broke");
            }
        });
        Ok(Self {
            sender,
            tls: settings.tls.clone(),
            life,
            has_answered: Cell::new(false),
            idle_since: Cell::new(USED),
            is_suspect: Cell::new(false),
            _open: open,
        })
    }

    fn is_usable(&self) -> bool {
        !self.life.is_over.get() && !self.is_suspect.get()
    }

    /// Whether the endpoint has said that it takes WebSockets (RFC 8441, section 3).
    fn takes_websockets(&self) -> bool {
        self.sender.is_extended_connect_protocol_enabled()
    }

    fn has_room(&self) -> bool {
        (self.life.streams.get() as usize) < self.sender.current_max_send_streams().min(MAX_STREAMS)
    }
}

impl Life {
    /// Notices whether something came. Returns the time.
    fn listen(&self) -> u64 {
        let now = self.clock.now();
        if self.traffic.received.take() {
            self.heard.set(now);
        }
        now
    }

    /// When something last came, and for how long nothing has come to the requests under way.
    fn last(&self) -> (u64, Duration) {
        let now = self.listen();
        let heard = self.heard.get();
        let quiet = if self.streams.get() == 0 { 0 } else { now.saturating_sub(heard) };
        (heard, Duration::from_nanos(quiet))
    }
}

impl Place {
    fn begin(connection: &Rc<Connection>) -> Self {
        let life = &connection.life;
        life.streams.set(life.streams.get() + 1);
        Self { connection: Rc::clone(connection), began: life.listen(), is_answered: false }
    }

    /// The answer's head is there.
    fn answered(&mut self) {
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
}

impl Drop for Place {
    fn drop(&mut self) {
        let (connection, life) = (&self.connection, &self.connection.life);
        life.streams.set(life.streams.get() - 1);
        connection.idle_since.set(USED);
        if !self.is_answered {
            let waited = life.listen().saturating_sub(self.began);
            if life.heard.get() <= self.began && waited > SILENCE {
                connection.is_suspect.set(true);
            }
        }
    }
}
