//! A worker's own side of a cluster: its policy's seat, its endpoints and its settings.

use std::{cell::RefCell, collections::HashMap, fmt, rc::Rc, sync::Arc, time::Duration};

use sluicegate_core::{AttemptResult, CircuitLimits, ClusterSnapshot, Endpoint, EndpointId, ProbeResult};
use sluicegate_policy::{Clock, Draw, Needs, Picked, RequestHead, Seat, SeatInbox};
use tokio::task::JoinHandle;

use crate::{
    connect::{ProxyProtocol, UpstreamProtocol, UpstreamTls},
    endpoint::WorkerEndpoint,
    load::ClusterLoad,
    metrics::ClusterMetrics,
    prober::{self, ProbeSettings, Prober},
    retry::RetrySettings,
};

/// How requests to a cluster are handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// What the endpoints speak.
    pub protocol: UpstreamProtocol,
    /// How connections to them are secured; none for plain TCP.
    pub tls: Option<UpstreamTls>,
    /// Whether connections begin with whom they are for. Then each carries one request: the next one may be another
    /// client's. Not for HTTP/2, whose connections are shared.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an endpoint may take, once it has been sent the request, until the head of its response is there.
    /// While the client is still sending the request's body, every piece of it starts this time anew. When it passes
    /// because the client sends no more of a body whose length it has said, it hears so (408), and the endpoint is not
    /// blamed.
    pub response_timeout: Duration,
    /// How long an attempt may take, from the pick of an endpoint until the head of its response is there; no longer than
    /// the other times allow when there is none.
    pub attempt_timeout: Option<Duration>,
    /// How long a request may take, from its head to the end of its response; any time when there is none.
    pub request_timeout: Option<Duration>,
    /// For how long nothing may move in either direction while a response's body, or what comes after a switch of
    /// protocols, is under way.
    pub stream_idle_timeout: Duration,
    /// How long an HTTP/2 connection may be silent under a request before the endpoint is asked for a sign of life.
    pub ping_interval: Duration,
    /// How many endpoints a request may be sent to, at most, before it is given up.
    pub max_attempts: u32,
    /// What a request is tried again after, and how.
    pub retry: RetrySettings,
    /// How much the cluster may have to do at the same time; any amount when there are none.
    pub limits: Option<CircuitLimits>,
    /// How many idle connections each worker keeps to each endpoint.
    pub max_idle_per_endpoint: usize,
    /// For how long. It should be less than the time after which the endpoints close them.
    pub idle_timeout: Duration,
    /// How endpoints are probed when a policy asks for it.
    pub probe: ProbeSettings,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            // Endpoints have to expect it.
            proxy_protocol: None,
            // A connection within a data centre takes a millisecond; three seconds leave time for one lost SYN.
            connect_timeout: Duration::from_secs(3),
            // What NGINX and Envoy users are used to.
            response_timeout: Duration::from_secs(60),
            // Only the operator knows what is too long; a download or a stream may go on for hours.
            attempt_timeout: None,
            request_timeout: None,
            // Envoy's. Whoever is silent for longer should send a sign of life, which gRPC and WebSocket have.
            stream_idle_timeout: Duration::from_secs(300),
            // gRPC servers end a connection at the fourth ping within five minutes in which they sent nothing (proposal
            // A8): by then the stream is idle for too long anyway. A connection over which a request timed out in silence
            // takes no more of them in any case.
            ping_interval: Duration::from_secs(90),
            // One retry hides a dead endpoint, a second one hides two of them: more only delay the bad news.
            max_attempts: 3,
            retry: RetrySettings::DEFAULT,
            // What is too much depends on the endpoints.
            limits: None,
            // Enough for a worker's share of a busy endpoint's concurrency.
            max_idle_per_endpoint: 256,
            // Below the 60 to 75 seconds after which common servers close their side.
            idle_timeout: Duration::from_secs(50),
            probe: ProbeSettings::default(),
        }
    }
}

impl ClusterSettings {
    /// A connection that is idle since before this is too old.
    pub(crate) fn oldest_idle(&self, now: u64) -> u64 {
        now.saturating_sub(u64::try_from(self.idle_timeout.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Where a request goes.
pub(crate) enum Choice {
    /// There.
    Endpoint(Rc<WorkerEndpoint>, Picked),
    /// Nowhere: the policy rejects it.
    Rejected(Picked),
    /// There is nobody left to pick.
    Nobody,
}

/// A cluster, as one worker uses it.
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    settings: RefCell<Rc<ClusterSettings>>,
    pub(crate) metrics: ClusterMetrics,
    /// What it has to do, over all workers.
    pub(crate) load: Arc<ClusterLoad>,
    seat: Rc<RefCell<Seat>>,
    seat_task: JoinHandle<()>,
    /// Aligned with the seat's snapshot: a pick's index counts in both.
    endpoints: RefCell<Vec<Rc<WorkerEndpoint>>>,
    /// Those that can't be picked now: without connections, but what was counted of them is theirs.
    hidden: RefCell<Vec<Rc<WorkerEndpoint>>>,
    pub(crate) prober: Prober,
    /// Results that came while the seat was busy, for the next pick to deliver.
    untold: RefCell<Vec<(Draw, AttemptResult)>>,
}

impl Cluster {
    /// Opens the seat; to be called on the worker's thread. `explains`: whether somebody reads what policies explain.
    pub(crate) fn open(
        name: Arc<str>,
        settings: ClusterSettings,
        snapshot: Arc<ClusterSnapshot>,
        inbox: SeatInbox,
        load: Arc<ClusterLoad>,
        clock: Clock,
        explains: bool,
    ) -> Rc<Self> {
        let workers = |endpoints: &[Arc<Endpoint>]| {
            RefCell::new(endpoints.iter().map(|endpoint| WorkerEndpoint::new(&name, endpoint, &load)).collect())
        };
        let (endpoints, hidden) = (workers(snapshot.endpoints()), workers(snapshot.hidden()));
        let (seat, task) = inbox.open(snapshot);
        let cluster = Rc::new(Self {
            metrics: ClusterMetrics::new(&name),
            name,
            load,
            settings: RefCell::new(Rc::new(settings)),
            seat,
            seat_task: tokio::task::spawn_local(task),
            endpoints,
            hidden,
            prober: Prober::new(clock),
            untold: RefCell::default(),
        });
        cluster.seat.borrow_mut().serve(prober::of(&cluster), explains);
        cluster
    }

    /// How requests are handled now.
    pub(crate) fn settings(&self) -> Rc<ClusterSettings> {
        Rc::clone(&self.settings.borrow())
    }

    /// Handles requests in another way from now on. Connections that were made in the old way carry no more.
    pub(crate) fn set_settings(&self, settings: ClusterSettings) {
        let before = self.settings.replace(Rc::new(settings));
        let now = self.settings();
        let made = |settings: &ClusterSettings| (settings.protocol, settings.tls.clone(), settings.proxy_protocol);
        if made(&before) != made(&now) {
            self.endpoints.borrow().iter().for_each(|endpoint| endpoint.forget_connections());
        }
    }

    /// Switches to other endpoints, in one step: no request sees an index of one picture in the other.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<ClusterSnapshot>) {
        let (mut shown, mut hidden) = (self.endpoints.borrow_mut(), self.hidden.borrow_mut());
        let mut before: HashMap<EndpointId, Rc<WorkerEndpoint>> =
            shown.drain(..).chain(hidden.drain(..)).map(|endpoint| (endpoint.endpoint.id, endpoint)).collect();
        let mut known = |endpoint: &Arc<Endpoint>| {
            let new = || WorkerEndpoint::new(&self.name, endpoint, &self.load);
            before.remove(&endpoint.id).unwrap_or_else(new)
        };
        for endpoint in snapshot.endpoints() {
            let known = known(endpoint);
            known.serve(endpoint);
            shown.push(known);
        }
        hidden.extend(snapshot.hidden().iter().map(&mut known));
        hidden.iter().chain(before.values()).for_each(|endpoint| endpoint.retire());
        self.seat.borrow_mut().set_snapshot(snapshot);
    }

    /// What has to be done for the policy ahead of a pick.
    pub(crate) fn needs(&self) -> Needs {
        self.seat.try_borrow().map_or(Needs::default(), |seat| seat.needs())
    }

    /// The endpoint with this id, if it may be picked.
    pub(crate) fn endpoint(&self, id: EndpointId) -> Option<Rc<WorkerEndpoint>> {
        self.endpoints.borrow().iter().find(|endpoint| endpoint.endpoint.id == id).cloned()
    }

    /// Asks the policy. `hash`: of what the route is keyed by, or 0.
    pub(crate) fn pick(&self, began: u64, hash: u64, head: &mut RequestHead) -> Choice {
        let mut seat = self.seat.borrow_mut();
        if !self.untold.borrow().is_empty() {
            self.untold.take().iter().for_each(|(draw, result)| seat.hear(began, *draw, result));
        }
        let Some(picked) = seat.pick(hash, head) else { return Choice::Nobody };
        match self.endpoints.borrow().get(picked.index as usize) {
            Some(endpoint) => Choice::Endpoint(Rc::clone(endpoint), picked),
            None => Choice::Rejected(picked),
        }
    }

    /// How many endpoints there are to choose from.
    pub(crate) fn size(&self) -> usize {
        self.endpoints.borrow().len()
    }

    /// How many requests are at the endpoints, over all workers; counted only until there are `enough`.
    pub(crate) fn in_flight(&self, enough: impl Fn(u32) -> bool) -> u32 {
        let mut sum = 0_u32;
        for endpoint in self.endpoints.borrow().iter() {
            if enough(sum) {
                break;
            }
            sum = sum.saturating_add(endpoint.endpoint.live.in_flight());
        }
        sum
    }

    /// Closes an idle connection to any endpoint. Whether there was one.
    pub(crate) fn close_an_idle_connection(&self) -> bool {
        self.endpoints.borrow().iter().any(|endpoint| endpoint.close_an_idle_connection())
    }

    /// Tells the policy that picked how an attempt went. An attempt can end at any place where something is dropped.
    pub(crate) fn tell(&self, now: u64, draw: Draw, result: AttemptResult) {
        match self.seat.try_borrow_mut() {
            Ok(mut seat) if seat.hears_results() => seat.hear(now, draw, &result),
            Ok(_) => {}
            Err(_) => self.untold.borrow_mut().push((draw, result)),
        }
    }

    /// Tells the policy what a probe came to.
    pub(crate) fn probed(&self, now: u64, probe: &ProbeResult) {
        // Probes have tasks of their own, and no task holds the seat while it waits.
        if let Ok(mut seat) = self.seat.try_borrow_mut() {
            seat.on_probe(now, probe);
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
