//! Circuit breakers: how much a cluster may be given to do at the same time.

use std::{
    error, fmt,
    ops::Deref,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Resource {
    /// Connections to the cluster's endpoints, busy and idle.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests that were sent and are not yet answered in full.
    Requests,
    /// Requests that are on their second attempt or a later one.
    Retries,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connections, Self::Pending, Self::Requests, Self::Retries];

    /// A short, stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending",
            Self::Requests => "requests",
            Self::Retries => "retries",
        }
    }
}

/// How much there may be of each at the same time, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitLimits {
    /// Connections.
    pub connections: u32,
    /// Waiting requests.
    pub pending: u32,
    /// Requests under way.
    pub requests: u32,
    /// Retries under way.
    pub retries: u32,
}

/// 1024 each, as in Envoy: far above what a cluster of a few endpoints does when all is well, and low enough that one
/// that hangs does not take the proxy's memory and sockets with it. Envoy's retries are 3, but only as long as there
/// is no retry budget, which takes the limit's place. Here there always is one, and a limit of 3 would be the
/// tighter of the two from 20 requests on; so this one is only a ceiling.
impl Default for CircuitLimits {
    fn default() -> Self {
        Self { connections: 1024, pending: 1024, requests: 1024, retries: 1024 }
    }
}

impl CircuitLimits {
    /// The limit of one resource.
    #[inline]
    pub fn of(&self, resource: Resource) -> u32 {
        match resource {
            Resource::Connections => self.connections,
            Resource::Pending => self.pending,
            Resource::Requests => self.requests,
            Resource::Retries => self.retries,
        }
    }
}

/// A limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    /// Whose.
    pub resource: Resource,
    /// And which.
    pub limit: u32,
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the cluster's limit of {} is reached", self.resource.label(), self.limit)
    }
}

impl error::Error for CircuitOpen {}

/// How much a cluster has to do right now. All workers share it: they are the reason for the limits together.
///
/// The limits come with each call, from the snapshot, so that a reload changes them and the counts stay right.
#[derive(Debug, Default)]
pub struct Circuit {
    counts: [AtomicU32; Resource::ALL.len()],
}

impl Circuit {
    /// How much there is of one resource.
    #[inline]
    pub fn count(&self, resource: Resource) -> u32 {
        self.counts[resource as usize].load(Relaxed)
    }

    /// Counting first and looking afterwards would be one instruction less, but the count would be above its limit
    /// for a moment, and a worker that looks at that moment would refuse a request that had a place.
    #[inline]
    fn enter(&self, resource: Resource, limit: u32) -> Result<(), CircuitOpen> {
        let count = &self.counts[resource as usize];
        let more = |count: u32| (count < limit).then(|| count + 1);
        count.fetch_update(Relaxed, Relaxed, more).map(|_| ()).map_err(|_| CircuitOpen { resource, limit })
    }
}

/// Whoever knows a cluster's circuit. Workers count through a handle of their own, so that a request costs no shared
/// reference count.
pub trait HasCircuit {
    /// The cluster's circuit.
    fn circuit(&self) -> &Circuit;
}

impl HasCircuit for Circuit {
    fn circuit(&self) -> &Circuit {
        self
    }
}

impl<P: Deref<Target: HasCircuit>> HasCircuit for P {
    fn circuit(&self) -> &Circuit {
        (**self).circuit()
    }
}

/// A place within a cluster's limits, taken for as long as this lives.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct CircuitPermit<C: HasCircuit> {
    cluster: C,
    resource: Resource,
}

impl<C: HasCircuit> CircuitPermit<C> {
    /// Takes a place.
    ///
    /// # Errors
    ///
    /// When there is none, with the limit that is reached.
    #[inline]
    pub fn try_acquire(cluster: C, resource: Resource, limits: &CircuitLimits) -> Result<Self, CircuitOpen> {
        cluster.circuit().enter(resource, limits.of(resource))?;
        Ok(Self { cluster, resource })
    }

    /// What it is a place for.
    pub fn resource(&self) -> Resource {
        self.resource
    }
}

impl<C: HasCircuit> Drop for CircuitPermit<C> {
    fn drop(&mut self) {
        self.cluster.circuit().counts[self.resource as usize].fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{hint, sync::Arc, thread};

    use proptest::prelude::*;

    use super::*;

    fn limits(limit: u32) -> CircuitLimits {
        CircuitLimits { connections: limit, pending: limit, requests: limit, retries: limit }
    }

    #[test]
    fn the_answer_says_which_limit_is_reached() {
        let circuit = Circuit::default();
        let distinct = CircuitLimits { connections: 1, pending: 2, requests: 3, retries: 0 };
        for (resource, limit) in Resource::ALL.into_iter().zip([1, 2, 3, 0]) {
            let permits: Vec<_> =
                (0..limit).map(|_| CircuitPermit::try_acquire(&circuit, resource, &distinct).unwrap()).collect();
            assert!(permits.iter().all(|permit| permit.resource() == resource));
            let refused = CircuitPermit::try_acquire(&circuit, resource, &distinct).unwrap_err();
            assert_eq!(refused, CircuitOpen { resource, limit });
            assert_eq!(circuit.count(resource), limit);
        }
        assert_eq!(Resource::ALL.map(|resource| circuit.count(resource)), [0; 4], "permits give back what they took");
        let text = CircuitOpen { resource: Resource::Pending, limit: 2 }.to_string();
        assert_eq!(text, "pending: the cluster's limit of 2 is reached");
    }

    #[test]
    fn a_lower_limit_waits_for_those_who_are_in() {
        let circuit = Arc::new(Circuit::default());
        let acquire = |limit| CircuitPermit::try_acquire(Arc::clone(&circuit), Resource::Requests, &limits(limit));
        let mut permits: Vec<_> = (0..5).map(|_| acquire(5).unwrap()).collect();
        assert!(acquire(2).is_err());
        permits.truncate(2);
        assert!(acquire(2).is_err());
        permits.truncate(1);
        assert!(acquire(2).is_ok());
    }

    #[test]
    fn workers_together_never_exceed_the_limit() {
        let circuit = Circuit::default();
        // One place, kept for a moment: the workers are at the limit all the time, and whoever is too many is seen.
        let worker = || {
            let mut granted = 0;
            for round in 0..400_000 {
                let permit = CircuitPermit::try_acquire(&circuit, Resource::Requests, &limits(1));
                (0..20).for_each(|_| hint::spin_loop());
                assert!(circuit.count(Resource::Requests) <= 1, "round {round}");
                granted += u32::from(permit.is_ok());
            }
            granted
        };
        let granted = thread::scope(|scope| [(); 4].map(|()| scope.spawn(worker)).map(|worker| worker.join().unwrap()));
        assert!(granted.iter().sum::<u32>() > 0);
        assert_eq!(circuit.count(Resource::Requests), 0);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_permits(
            limit in 0..6_u32, steps in prop::collection::vec((0..4_usize, any::<bool>()), 0..80),
        ) {
            let circuit = Circuit::default();
            let mut permits = Resource::ALL.map(|_| Vec::new());
            for (index, acquire) in steps {
                let (resource, held) = (Resource::ALL[index], &mut permits[index]);
                if acquire {
                    let full = held.len() as u32 == limit;
                    match CircuitPermit::try_acquire(&circuit, resource, &limits(limit)) {
                        Ok(permit) => held.push(permit),
                        Err(refused) => prop_assert_eq!(refused, CircuitOpen { resource, limit }),
                    }
                    prop_assert!(!full || held.len() as u32 == limit, "refused only when full, and always then");
                } else {
                    held.pop();
                }
                for (resource, held) in Resource::ALL.into_iter().zip(&permits) {
                    prop_assert_eq!(circuit.count(resource), held.len() as u32);
                    prop_assert!(held.len() as u32 <= limit);
                }
            }
        }
    }
}
