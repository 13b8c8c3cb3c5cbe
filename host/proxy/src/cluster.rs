//! A worker's own side of a cluster: its policy's seat, its endpoints and its settings.

use std::{cell::RefCell, collections::HashMap, fmt, rc::Rc, sync::Arc, time::Duration};

use sluicegate_core::{AttemptResult, ClusterSnapshot, EndpointId};
use sluicegate_policy::{Picked, RequestHead, Seat, SeatInbox};
use tokio::task::JoinHandle;

use crate::{
    connect::{UpstreamProtocol, UpstreamTls},
    endpoint::WorkerEndpoint,
    metrics::ClusterMetrics,
};

/// How requests to a cluster are handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// What the endpoints speak.
    pub protocol: UpstreamProtocol,
    /// How connections to them are secured; none for plain TCP.
    pub tls: Option<UpstreamTls>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an endpoint may take, once it has been sent the request, until the head of its response is there.
    /// While the client is still sending the request's body, every piece of it starts this time anew.
    pub response_timeout: Duration,
    /// How many endpoints a request may be sent to, at most, before it is given up.
    pub max_attempts: u32,
    /// How many idle connections each worker keeps to each endpoint.
    pub max_idle_per_endpoint: usize,
    /// For how long. It should be less than the time after which the endpoints close them.
    pub idle_timeout: Duration,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            // A connection within a data centre takes a millisecond; three seconds leave time for one lost SYN.
            connect_timeout: Duration::from_secs(3),
            // What NGINX and Envoy users are used to.
            response_timeout: Duration::from_secs(60),
            // One retry hides a dead endpoint, a second one hides two of them: more only delay the bad news.
            max_attempts: 3,
            // Enough for a worker's share of a busy endpoint's concurrency.
            max_idle_per_endpoint: 256,
            // Below the 60 to 75 seconds after which common servers close their side.
            idle_timeout: Duration::from_secs(50),
        }
    }
}

impl ClusterSettings {
    /// A connection that is idle since before this is too old.
    pub(crate) fn oldest_idle(&self, now: u64) -> u64 {
        now.saturating_sub(u64::try_from(self.idle_timeout.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A cluster, as one worker uses it.
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    settings: RefCell<Rc<ClusterSettings>>,
    pub(crate) metrics: ClusterMetrics,
    seat: Rc<RefCell<Seat>>,
    seat_task: JoinHandle<()>,
    /// Aligned with the seat's snapshot: a pick's index counts in both.
    endpoints: RefCell<Vec<Rc<WorkerEndpoint>>>,
    /// Results that came while the seat was busy, for the next pick to deliver.
    untold: RefCell<Vec<AttemptResult>>,
}

impl Cluster {
    /// Opens the seat; to be called on the worker's thread.
    pub(crate) fn open(
        name: Arc<str>,
        settings: ClusterSettings,
        snapshot: Arc<ClusterSnapshot>,
        inbox: SeatInbox,
    ) -> Rc<Self> {
        let endpoints = snapshot.endpoints().iter().map(|endpoint| WorkerEndpoint::new(&name, endpoint)).collect();
        let (seat, task) = inbox.open(snapshot);
        Rc::new(Self {
            metrics: ClusterMetrics::new(&name),
            name,
            settings: RefCell::new(Rc::new(settings)),
            seat,
            seat_task: tokio::task::spawn_local(task),
            endpoints: RefCell::new(endpoints),
            untold: RefCell::default(),
        })
    }

    /// How requests are handled now.
    pub(crate) fn settings(&self) -> Rc<ClusterSettings> {
        Rc::clone(&self.settings.borrow())
    }

    /// Handles requests in another way from now on. Connections that were made in the old way carry no more.
    pub(crate) fn set_settings(&self, settings: ClusterSettings) {
        let before = self.settings.replace(Rc::new(settings));
        let now = self.settings();
        if before.protocol != now.protocol || before.tls != now.tls {
            self.endpoints.borrow().iter().for_each(|endpoint| endpoint.forget_connections());
        }
    }

    /// Switches to other endpoints, in one step: no request sees an index of one picture in the other.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<ClusterSnapshot>) {
        let mut endpoints = self.endpoints.borrow_mut();
        let mut before: HashMap<EndpointId, Rc<WorkerEndpoint>> =
            endpoints.drain(..).map(|endpoint| (endpoint.endpoint.id, endpoint)).collect();
        endpoints.extend(
            snapshot.endpoints().iter().map(|endpoint| {
                before.remove(&endpoint.id).unwrap_or_else(|| WorkerEndpoint::new(&self.name, endpoint))
            }),
        );
        before.values().for_each(|endpoint| endpoint.retire());
        self.seat.borrow_mut().set_snapshot(snapshot);
    }

    /// Asks the policy. `hash`: of what the route is keyed by, or 0. None when there is nobody left to pick.
    pub(crate) fn pick(&self, began: u64, hash: u64, head: &mut RequestHead) -> Option<(Rc<WorkerEndpoint>, Picked)> {
        let mut seat = self.seat.borrow_mut();
        if !self.untold.borrow().is_empty() {
            self.untold.take().iter().for_each(|result| seat.on_result(began, result));
        }
        let picked = seat.pick(hash, head)?;
        let endpoint = Rc::clone(self.endpoints.borrow().get(picked.index as usize)?);
        Some((endpoint, picked))
    }

    /// Tells the policy how an attempt went. An attempt can end at any place where something is dropped.
    pub(crate) fn tell(&self, now: u64, result: AttemptResult) {
        match self.seat.try_borrow_mut() {
            Ok(mut seat) if seat.hears_results() => seat.on_result(now, &result),
            Ok(_) => {}
            Err(_) => self.untold.borrow_mut().push(result),
        }
    }

    pub(crate) fn sweep(&self, now: u64) {
        let settings = self.settings();
        self.endpoints.borrow().iter().for_each(|endpoint| endpoint.sweep(now, &settings));
    }

    /// Closes the idle connections and empties the seat's inbox. Requests that are under way finish.
    pub(crate) fn close(&self) {
        self.seat_task.abort();
        self.endpoints.borrow().iter().for_each(|endpoint| endpoint.retire());
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name).finish_non_exhaustive()
    }
}
