//! A worker's own side of an endpoint: its idle connections and its metrics.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
};

use sluicegate_core::{Endpoint, HasLive, Live, OutlierWatch};

use crate::{
    cluster::ClusterSettings,
    load::ClusterLoad,
    metrics::EndpointMetrics,
    multiplexed::Multiplexed,
    upstream::{Known, Upstream},
};

/// An endpoint, as one worker uses it. It stays the same for as long as the endpoint is in the cluster.
pub(crate) struct WorkerEndpoint {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) metrics: EndpointMetrics,
    // The last one in is the first one out: it is the least likely to have been closed by the endpoint meanwhile,
    // and those that are not needed expire.
    #[allow(clippy::vec_box)] // It comes in a box and leaves in one; it is too large to be moved otherwise.
    idle: RefCell<Vec<Box<Upstream>>>,
    /// What the heads of its answers look like.
    pub(crate) known: Rc<RefCell<Known>>,
    /// The connections that requests share, where HTTP/2 is spoken.
    pub(crate) multiplexed: Multiplexed,
    /// Where attempts are counted for outlier detection, if they are.
    pub(crate) watch: RefCell<Option<Arc<OutlierWatch>>>,
    /// The cluster's.
    pub(crate) load: Arc<ClusterLoad>,
    is_retired: Cell<bool>,
}

impl WorkerEndpoint {
    pub(crate) fn new(cluster: &str, endpoint: &Arc<Endpoint>, load: &Arc<ClusterLoad>) -> Rc<Self> {
        Rc::new(Self {
            endpoint: Arc::clone(endpoint),
            metrics: EndpointMetrics::new(cluster, &endpoint.name),
            idle: RefCell::default(),
            known: Rc::default(),
            multiplexed: Multiplexed::default(),
            watch: RefCell::new(endpoint.watch.clone()),
            load: Arc::clone(load),
            is_retired: Cell::new(false),
        })
    }

    /// An idle connection, if there is one that the endpoint has not closed. One that was in use while its cluster's
    /// settings changed may be secured in another way, or not at all: it goes.
    pub(crate) fn checkout(&self, now: u64, settings: &ClusterSettings) -> Option<Box<Upstream>> {
        let mut idle = self.idle.borrow_mut();
        let oldest = settings.oldest_idle(now);
        while let Some(mut upstream) = idle.pop() {
            if upstream.idle_since < oldest {
                // All others are older still.
                idle.clear();
            } else if upstream.tls == settings.tls && upstream.is_quiet() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection for later.
    pub(crate) fn park(&self, mut upstream: Box<Upstream>, now: u64, settings: &ClusterSettings) {
        let mut idle = self.idle.borrow_mut();
        if !self.is_retired.get() && idle.len() < settings.max_idle_per_endpoint {
            upstream.shrink();
            upstream.reused = true;
            upstream.idle_since = now;
            idle.push(upstream);
        }
    }

    /// Closes connections that were idle for too long, or that the endpoint has closed.
    pub(crate) fn sweep(&self, now: u64, settings: &ClusterSettings) {
        let oldest = settings.oldest_idle(now);
        let mut idle = self.idle.borrow_mut();
        let expired = idle.partition_point(|upstream| upstream.idle_since < oldest);
        idle.drain(..expired);
        idle.retain_mut(|upstream| upstream.is_quiet());
        self.multiplexed.sweep(oldest, now);
    }

    /// Closes the connection that is idle for longest. Whether there was one.
    pub(crate) fn close_an_idle_connection(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        !idle.is_empty() && {
            drop(idle.remove(0));
            true
        }
    }

    /// Closes the idle connections; those that requests share carry no more.
    pub(crate) fn forget_connections(&self) {
        self.idle.borrow_mut().clear();
        self.multiplexed.retire();
    }

    /// It may be picked, perhaps again.
    pub(crate) fn serve(&self, endpoint: &Endpoint) {
        self.is_retired.set(false);
        self.watch.borrow_mut().clone_from(&endpoint.watch);
    }

    /// Closes the idle connections, and every other when its request is done.
    pub(crate) fn retire(&self) {
        self.is_retired.set(true);
        self.forget_connections();
    }
}

impl HasLive for WorkerEndpoint {
    fn live(&self) -> &Live {
        &self.endpoint.live
    }
}

impl fmt::Debug for WorkerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerEndpoint").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
