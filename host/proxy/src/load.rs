//! What a cluster has to do right now, over all workers, and who has a place in it.

use std::{rc::Rc, sync::Arc};

use sluicegate_core::{
    Circuit, CircuitPermit, HasCircuit, HasRetryLoad, Live, OpenConnection, Resource, RetryLoad, RetryPermit,
};

use crate::{
    cluster::{Cluster, ClusterSettings},
    endpoint::WorkerEndpoint,
    failure::Failure,
};

/// A cluster's counts. All workers share them.
#[derive(Debug, Default)]
pub struct ClusterLoad {
    circuit: Circuit,
    retries: RetryLoad,
}

impl HasCircuit for ClusterLoad {
    fn circuit(&self) -> &Circuit {
        &self.circuit
    }
}

impl HasCircuit for Cluster {
    fn circuit(&self) -> &Circuit {
        &self.load.circuit
    }
}

impl HasRetryLoad for Cluster {
    fn retry_load(&self) -> &RetryLoad {
        &self.load.retries
    }
}

/// An attempt's place among the cluster's requests.
pub(crate) type RequestPlace = CircuitPermit<Rc<Cluster>>;

/// A request's place among those that are tried again.
#[derive(Debug)]
pub(crate) struct RetryPlace {
    _budget: RetryPermit<Rc<Cluster>>,
    _limit: Option<CircuitPermit<Rc<Cluster>>>,
}

impl RetryPlace {
    /// None when there are as many retries as there may be.
    pub(crate) fn take(cluster: &Rc<Cluster>, settings: &ClusterSettings) -> Option<Self> {
        let budget = &settings.retry.budget;
        // More requests in flight than this make no difference to the next retry.
        let enough = |active| budget.limit(active) > cluster.load.retries.retries();
        let budget = RetryPermit::try_acquire(Rc::clone(cluster), budget, cluster.in_flight(enough))?;
        let limit = place(Rc::clone(cluster), Resource::Retries, settings).ok()?;
        Some(Self { _budget: budget, _limit: limit })
    }
}

/// A connection that is being made, or that stands: counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Opened {
    _open: OpenConnection<Live>,
    _place: Option<CircuitPermit<Arc<ClusterLoad>>>,
}

impl Opened {
    /// Once it stands.
    pub(crate) fn new(endpoint: &WorkerEndpoint, place: Option<CircuitPermit<Arc<ClusterLoad>>>) -> Self {
        Self { _open: OpenConnection::begin(endpoint.endpoint.live.clone()), _place: place }
    }
}

/// Takes a place if places are limited.
pub(crate) fn place<C: HasCircuit>(
    cluster: C,
    resource: Resource,
    settings: &ClusterSettings,
) -> Result<Option<CircuitPermit<C>>, Failure> {
    let Some(limits) = &settings.limits else { return Ok(None) };
    CircuitPermit::try_acquire(cluster, resource, limits).map(Some).map_err(Failure::CircuitOpen)
}
