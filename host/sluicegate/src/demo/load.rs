//! The load: requests at a steady rate, whatever becomes of them.
//!
//! It is an open loop: requests are sent when they are due and not when an earlier one is answered, and each is timed
//! from the moment it was due. A closed loop, or a clock that starts when a late request is at last sent, would leave
//! out just the requests that had to wait ("coordinated omission").

use std::{
    cell::RefCell,
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use sluicegate_core::Histogram;
use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions},
    sync::oneshot,
    time::timeout,
};

/// Requests that may be under way. Whoever is that far behind does not catch up, and each has a connection.
const MAX_IN_FLIGHT: u64 = 4096;

/// How long a request may take: many times what the slowest origin does.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often requests that are due are sent: as fine as the runtime's timer.
const TICK: Duration = Duration::from_millis(1);

/// How long a connection may lie idle. Less than any server waits before it closes one, so that no request is sent
/// on a connection that is being closed.
const MAX_IDLE: Duration = Duration::from_secs(2);

/// What clients have seen.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// The times of all answers, in nanoseconds.
    pub(super) latency: Histogram,
    /// Answers are counted here, too: the policy's that served when they were due.
    era: Mutex<Arc<Histogram>>,
    failed: AtomicU64,
    in_flight: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl Stats {
    /// From now on, requests are counted in this histogram as well.
    pub(super) fn enter(&self, era: Arc<Histogram>) {
        *lock(&self.era) = era;
    }

    /// Requests that got anything but a 200 with all of its body.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// How the last request that failed did so.
    pub(super) fn last_failure(&self) -> Option<String> {
        lock(&self.last_failure).clone()
    }

    fn fail(&self, reason: String) {
        self.failed.fetch_add(1, Relaxed);
        *lock(&self.last_failure) = Some(reason);
    }
}

/// A running load.
#[derive(Debug)]
pub(super) struct Load {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl Load {
    /// Sends `rate` requests a second to `address`, from a thread of its own.
    pub(super) fn start(address: SocketAddr, rate: u32, stats: Arc<Stats>) -> Result<Self> {
        let (stop, stopping) = oneshot::channel();
        let (done, stopped) = oneshot::channel();
        let spawned = thread::Builder::new().name("load".into()).spawn(move || {
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(generate(Rc::new(Client::new(address, stats)), rate, stopping)),
                Err(error) => stats.fail(format!("the load can't start: {error}")),
            }
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        });
        spawned.context("can't start the thread that sends the load")?;
        Ok(Self { stop, stopped })
    }

    /// Sends no more requests, and waits until all that were sent have come to an end.
    pub(super) async fn stop(self) {
        // If either end is gone, so is the load.
        let _ = self.stop.send(());
        let _ = self.stopped.await;
    }
}

async fn generate(client: Rc<Client>, rate: u32, mut stopping: oneshot::Receiver<()>) {
    let period = Duration::from_secs(1) / rate;
    let mut due = Instant::now();
    loop {
        let now = Instant::now();
        while due <= now {
            client.begin(due);
            due += period;
        }
        let pause = due.saturating_duration_since(now).max(TICK);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = &mut stopping => break,
        }
    }
    while client.stats.in_flight() > 0 {
        tokio::time::sleep(TICK).await;
    }
}

type Sender = SendRequest<Empty<Bytes>>;

/// Everything that one client needs. It stays on one thread.
struct Client {
    address: SocketAddr,
    stats: Arc<Stats>,
    /// Connections, with the time since when they are idle, the one that was idle for longest first.
    idle: RefCell<VecDeque<(Sender, Instant)>>,
}

impl Client {
    fn new(address: SocketAddr, stats: Arc<Stats>) -> Self {
        Self { address, stats, idle: RefCell::default() }
    }

    /// Sends a request that was due at a certain time.
    fn begin(self: &Rc<Self>, due: Instant) {
        if self.stats.in_flight() >= MAX_IN_FLIGHT {
            self.stats.fail(format!("more than {MAX_IN_FLIGHT} requests are under way: try a lower --rate"));
            return;
        }
        self.stats.in_flight.fetch_add(1, Relaxed);
        let era = Arc::clone(&lock(&self.stats.era));
        let client = Rc::clone(self);
        tokio::task::spawn_local(async move {
            match timeout(REQUEST_TIMEOUT, client.exchange()).await {
                Ok(Ok(())) => {
                    let ns = due.elapsed().as_nanos() as u64;
                    client.stats.latency.record(ns);
                    era.record(ns);
                }
                Ok(Err(error)) => client.stats.fail(format!("{error:#}")),
                Err(_) => client.stats.fail(format!("no answer in {} s", REQUEST_TIMEOUT.as_secs())),
            }
            client.stats.in_flight.fetch_sub(1, Relaxed);
        });
    }

    /// One request and its answer, to the end of the body.
    async fn exchange(&self) -> Result<()> {
        let mut sender = match self.take_idle() {
            Some(sender) => sender,
            None => self.connect().await.context("can't connect to the proxy")?,
        };
        let request = Request::get("/").header(HOST, "demo.example").body(Empty::new())?;
        let response = sender.send_request(request).await.context("no answer from the proxy")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
        if status != StatusCode::OK {
            bail!("status {status}: {}", String::from_utf8_lossy(&body).trim());
        }
        ensure!(!body.is_empty(), "the answer has no body");
        if !sender.is_closed() {
            self.idle.borrow_mut().push_back((sender, Instant::now()));
        }
        Ok(())
    }

    /// The connection that was used last. Others that nobody has used for long are closed.
    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|(_, since)| since.elapsed() > MAX_IDLE) {
            idle.pop_front();
        }
        // A connection that is not ready yet is about to be: its last answer has just ended.
        idle.pop_back().map(|(sender, _)| sender)
    }

    async fn connect(&self) -> Result<Sender> {
        let stream = TcpStream::connect(self.address).await?;
        // Without it a request could wait for the acknowledgement of the one before; it fails only on a dead socket.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // Whoever waits for an answer is told the error, too.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// Nothing in here is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
