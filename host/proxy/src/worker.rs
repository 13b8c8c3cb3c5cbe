//! A worker: a thread that serves connections from its own state, which nobody else touches.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, pending},
    hash::{BuildHasher, RandomState},
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rustls::ServerConfig;
use sluicegate_core::Rng;
use sluicegate_policy::{Clock, RequestParts};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{
    cluster::Cluster,
    connection::ClientConnection,
    handle::{Command, ControlError},
    limits::{Admissions, ClientLimits},
    listener::{self, Listener},
    metrics::WorkerMetrics,
    route::{RouteTable, WorkerRoute},
    sockets::WorkerSockets,
    workers::WorkerOptions,
};

/// How often idle and slow connections are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// While it drains, for how long a worker leaves idle connections open: a request that is on its way gets an answer
/// that says `Connection: close` instead of a reset.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_millis(300);

/// What one worker knows.
pub(crate) struct Worker {
    pub(crate) clock: Clock,
    pub(crate) access_log: bool,
    pub(crate) limits: Arc<ClientLimits>,
    pub(crate) admissions: Arc<Admissions>,
    pub(crate) metrics: WorkerMetrics,
    /// For what is left to chance on a request's walk.
    pub(crate) rng: RefCell<Rng>,
    pub(crate) is_draining: Cell<bool>,
    /// Notified when draining begins.
    pub(crate) drains: Notify,
    /// Shared by the copies of requests that are under way, to count them.
    pub(crate) mirrors: Rc<()>,
    clusters: RefCell<HashMap<Arc<str>, Rc<Cluster>>>,
    routing: RefCell<Routing>,
    /// In the order of the configuration.
    listeners: RefCell<Vec<Rc<Listener>>>,
    connections: RefCell<HashMap<u64, Rc<ClientConnection>>>,
    next_connection: Cell<u64>,
    /// How many clients there are, with those that have not got past their handshakes.
    present: Cell<usize>,
    /// Notified when the last of them is gone.
    empty: Notify,
}

#[derive(Default)]
struct Routing {
    /// A copy of the worker's own: its patterns share no working memory with other workers'.
    table: RouteTable,
    /// Aligned with the table's routes.
    routes: Vec<Rc<WorkerRoute>>,
}

/// A client that has come, for as long as this lives.
pub(crate) struct Presence(Rc<Worker>);

/// A connection in the worker's list, for as long as this lives.
pub(crate) struct Registration {
    worker: Rc<Worker>,
    key: u64,
}

impl Worker {
    pub(crate) fn new(options: &WorkerOptions, admissions: Arc<Admissions>) -> Rc<Self> {
        Rc::new(Self {
            clock: options.clock,
            access_log: options.access_log,
            limits: Arc::clone(&options.limits),
            admissions,
            metrics: WorkerMetrics::new(),
            rng: RefCell::new(Rng::new(RandomState::new().hash_one("requests"))),
            is_draining: Cell::new(false),
            drains: Notify::new(),
            mirrors: Rc::new(()),
            clusters: RefCell::default(),
            routing: RefCell::default(),
            listeners: RefCell::default(),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            present: Cell::new(0),
            empty: Notify::new(),
        })
    }

    /// The route that a request takes.
    pub(crate) fn route(&self, head: &RequestParts) -> Option<Rc<WorkerRoute>> {
        let routing = self.routing.borrow();
        routing.table.find(head).map(|index| Rc::clone(&routing.routes[index]))
    }

    /// Counts a client.
    pub(crate) fn enter(self: &Rc<Self>) -> Presence {
        self.present.set(self.present.get() + 1);
        Presence(Rc::clone(self))
    }

    /// Puts a connection on the worker's list.
    pub(crate) fn register(self: &Rc<Self>, client: &Rc<ClientConnection>) -> Registration {
        let key = self.next_connection.replace(self.next_connection.get() + 1);
        self.connections.borrow_mut().insert(key, Rc::clone(client));
        self.metrics.opened.increment(1);
        Registration { worker: Rc::clone(self), key }
    }

    /// Does what it is told, until it has drained or nobody is left to tell it. Returns whom to tell how many connections
    /// are cut off, if anybody wants to know.
    pub(crate) async fn run(
        self: Rc<Self>,
        mut sockets: WorkerSockets,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) -> Option<(oneshot::Sender<usize>, usize)> {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // While it drains, the others have to be treated as before: their endpoints change, and they may be slow.
        let (mut drain, mut drained) = (None, None);
        loop {
            let command = tokio::select! {
                command = commands.recv(), if !commands.is_closed() || drain.is_none() => match command {
                    Some(command) => command,
                    None if drain.is_some() => continue,
                    None => return None,
                },
                _ = sweep.tick() => {
                    self.sweep();
                    continue;
                }
                cut = finish(&mut drain) => return drained.map(|drained| (drained, cut)),
            };
            // A requester who no longer waits is no reason to fail.
            match command {
                Command::Start(ack) => drop(ack.send(self.start(std::mem::take(&mut sockets)))),
                Command::AddCluster(name, settings, snapshot, inbox, load, ack) => {
                    let (clock, explains) = (self.clock, self.access_log);
                    let open = || Cluster::open(Arc::clone(&name), settings, snapshot, *inbox, load, clock, explains);
                    drop(ack.send(self.add(&name, open)));
                }
                Command::UpdateCluster(name, settings, ack) => {
                    drop(ack.send(self.cluster(&name).map(|cluster| cluster.set_settings(settings))));
                }
                Command::SetEndpoints(name, snapshot, ack) => {
                    drop(ack.send(self.cluster(&name).map(|cluster| cluster.set_snapshot(snapshot))));
                }
                Command::RemoveCluster(name, ack) => drop(ack.send(self.remove(&name))),
                Command::SetRoutes(table, ack) => drop(ack.send(self.set_routes(&table))),
                Command::SetTls(index, config, ack) => drop(ack.send(self.set_tls(index, config))),
                Command::Drain(timeout, grace, done) => {
                    drain.get_or_insert_with(|| Box::pin(Rc::clone(&self).drain(timeout, grace)));
                    drained = Some(done);
                }
            }
        }
    }

    /// Lets go of everything, when the runtime is gone.
    pub(crate) fn close(&self) {
        self.routing.take();
        self.clusters.take();
    }

    fn start(self: &Rc<Self>, sockets: WorkerSockets) -> Result<(), (SocketAddr, io::Error)> {
        for (settings, sockets) in sockets {
            let listener = Rc::new(Listener::new(settings));
            self.listeners.borrow_mut().push(Rc::clone(&listener));
            for socket in sockets {
                let socket = listener::listen(socket).map_err(|error| (listener.settings.address, error))?;
                tokio::task::spawn_local(listener::run(Rc::clone(self), Rc::clone(&listener), socket));
            }
        }
        Ok(())
    }

    fn set_tls(&self, index: usize, config: Arc<ServerConfig>) -> Result<(), ControlError> {
        let listeners = self.listeners.borrow();
        listeners.get(index).map(|listener| listener.set_tls(config)).ok_or(ControlError::UnknownListener(index))
    }

    fn cluster(&self, name: &Arc<str>) -> Result<Rc<Cluster>, ControlError> {
        self.clusters.borrow().get(name).cloned().ok_or_else(|| ControlError::UnknownCluster(Arc::clone(name)))
    }

    fn add(&self, name: &Arc<str>, open: impl FnOnce() -> Rc<Cluster>) -> Result<(), ControlError> {
        if self.clusters.borrow().contains_key(name) {
            return Err(ControlError::ClusterExists(Arc::clone(name)));
        }
        self.clusters.borrow_mut().insert(Arc::clone(name), open());
        Ok(())
    }

    fn remove(&self, name: &Arc<str>) -> Result<(), ControlError> {
        let cluster = self.cluster(name)?;
        if self.routing.borrow().routes.iter().any(|route| route.leads_to(&cluster)) {
            return Err(ControlError::ClusterInUse(Arc::clone(name)));
        }
        self.clusters.borrow_mut().remove(name);
        cluster.close();
        Ok(())
    }

    fn set_routes(&self, table: &RouteTable) -> Result<(), ControlError> {
        let routes = (0..table.routes().len()).map(|index| WorkerRoute::new(table, index, |name| self.cluster(name)));
        let routes = routes.collect::<Result<_, _>>()?;
        *self.routing.borrow_mut() = Routing { table: table.clone(), routes };
        Ok(())
    }

    fn sweep(&self) {
        let now = self.clock.now();
        self.clusters.borrow().values().for_each(|cluster| cluster.sweep(now));
        self.connections.borrow().values().for_each(|client| {
            if client.is_slow(now) {
                client.cut();
            } else {
                client.rest(now);
            }
        });
    }

    /// Returns how many clients are still there after `timeout`. Idle ones are left for `grace`; those that speak HTTP/2
    /// hear at once that they should send no more, which costs them no request.
    async fn drain(self: Rc<Self>, timeout: Duration, grace: Duration) -> usize {
        let begin = Instant::now();
        self.is_draining.set(true);
        self.drains.notify_waiters();
        // The listeners are told, but have not yet taken in what is waiting.
        tokio::task::yield_now().await;
        self.connections.borrow().values().filter(|client| client.is_http2()).for_each(|client| client.close());
        sleep(DRAIN_GRACE.min(timeout / 2)).await;
        self.until_empty(begin + grace.min(timeout / 2)).await;
        self.connections.borrow().values().for_each(|client| client.close());
        self.until_empty(begin + timeout).await;
        self.present.get()
    }

    /// Waits until the last client is gone, or for as long as this.
    async fn until_empty(&self, deadline: Instant) {
        while self.present.get() > 0 {
            tokio::select! {
                () = self.empty.notified() => {}
                () = sleep_until(deadline) => break,
            }
        }
    }
}

/// Waits for what has begun.
async fn finish<T>(begun: &mut Option<Pin<Box<impl Future<Output = T>>>>) -> T {
    match begun {
        Some(begun) => begun.await,
        None => pending().await,
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let left = self.0.present.get() - 1;
        self.0.present.set(left);
        if left == 0 {
            self.0.empty.notify_one();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a connection's task panicked; the connection is closed, the worker goes on");
        }
        self.worker.connections.borrow_mut().remove(&self.key);
        self.worker.metrics.closed.increment(1);
    }
}
