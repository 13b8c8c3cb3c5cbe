//! What is going on, for the admin listener: the status as JSON, and the endpoints' gauges.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use metrics::{Gauge, gauge};
use serde_json::{Value, json};
use sluicegate_admin::Status;
use sluicegate_core::{ClusterSnapshot, Level, Signal};
use sluicegate_policy::{Clock, Generation};

use crate::{
    actor::{ClusterHandle, ClusterStatus},
    endpoints::EndpointView,
    trust::Trust,
};

mod picks;
mod policy;

pub(crate) use picks::picks_json;
use policy::policy_json;
pub(crate) use policy::{carried_json, history_json};

/// Whether the proxy takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Starting,
    Serving,
    Draining,
}

/// Shows every cluster as it is at the moment of asking.
pub struct Board {
    clock: Clock,
    phase: AtomicU8,
    clusters: Mutex<BTreeMap<Arc<str>, ClusterHandle>>,
    /// How large a policy may be, and who may sign it.
    rules: Mutex<(usize, Trust)>,
    /// The gauges of the last scrape: a series lives as long as its handle.
    gauges: Mutex<Vec<Gauge>>,
}

impl Board {
    pub(crate) fn new(clock: Clock) -> Self {
        let phase = AtomicU8::new(Phase::Starting as u8);
        Self { clock, phase, clusters: Mutex::default(), rules: Mutex::default(), gauges: Mutex::default() }
    }

    /// Says that connections are accepted.
    pub fn serving(&self) {
        self.phase.store(Phase::Serving as u8, Relaxed);
    }

    /// Says that no new connections are accepted, so that whoever balances over proxies goes elsewhere.
    pub fn draining(&self) {
        self.phase.store(Phase::Draining as u8, Relaxed);
    }

    pub(crate) fn show(&self, clusters: &BTreeMap<Arc<str>, ClusterHandle>, module_bytes: usize, trust: Trust) {
        *lock(&self.clusters) = clusters.clone();
        *lock(&self.rules) = (module_bytes, trust);
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(crate) fn rules(&self) -> (usize, Trust) {
        lock(&self.rules).clone()
    }

    pub(crate) fn cluster_handle(&self, name: &str) -> Option<ClusterHandle> {
        lock(&self.clusters).get(name).cloned()
    }

    pub(crate) fn cluster_names(&self) -> Vec<String> {
        lock(&self.clusters).keys().map(ToString::to_string).collect()
    }

    /// Every cluster's policy.
    pub(crate) fn policies(&self) -> serde_json::Map<String, Value> {
        let policy = |(name, status): (Arc<str>, ClusterStatus)| {
            (name.to_string(), policy_json(&status.policy, &status.endpoints))
        };
        self.clusters().into_iter().map(policy).collect()
    }

    /// One cluster's policy.
    pub(crate) fn policy(&self, name: &str) -> Option<Value> {
        let status = self.cluster_handle(name)?.status.borrow().clone();
        Some(policy_json(&status.policy, &status.endpoints))
    }

    /// Every cluster by name, as it is now.
    fn clusters(&self) -> Vec<(Arc<str>, ClusterStatus)> {
        let clusters = lock(&self.clusters);
        clusters.iter().map(|(name, handle)| (Arc::clone(name), handle.status.borrow().clone())).collect()
    }

    /// A cluster's endpoints, and the policy and generation that serve it; for the demo's table.
    pub fn cluster(&self, name: &str) -> Option<(Arc<ClusterSnapshot>, Option<Arc<Generation>>)> {
        let status = lock(&self.clusters).get(name)?.status.borrow().clone();
        Some((status.snapshot, status.policy.active))
    }
}

impl Status for Board {
    fn ready(&self) -> Result<(), String> {
        match self.phase.load(Relaxed) {
            phase if phase == Phase::Serving as u8 => Ok(()),
            phase if phase == Phase::Draining as u8 => Err("draining".into()),
            _ => Err("starting".into()),
        }
    }

    fn status(&self) -> Value {
        let now = self.clock.now();
        let clusters = self.clusters().into_iter().map(|(name, status)| {
            let endpoints: Vec<Value> = status.endpoints.iter().map(|view| endpoint_json(view, now)).collect();
            let cluster = json!({
                "endpoints_generation": status.snapshot.generation,
                "endpoints": endpoints,
                "priorities": status.levels.iter().map(level_json).collect::<Vec<_>>(),
                "policy": policy_json(&status.policy, &status.endpoints),
            });
            (name.to_string(), cluster)
        });
        let phase = self.ready().err().unwrap_or_else(|| "serving".into());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "phase": phase,
            "uptime_s": now / 1_000_000_000,
            "clusters": clusters.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn before_scrape(&self) {
        let now = self.clock.now();
        let mut gauges = Vec::new();
        for (cluster, status) in self.clusters() {
            gauges.extend(policy_gauges(&cluster, &status));
            for view in &*status.endpoints {
                let read = |signal| view.endpoint.live.read(signal, now) as f64;
                for (name, value) in [
                    ("sluicegate_endpoint_in_flight", read(Signal::InFlight)),
                    ("sluicegate_endpoint_connections", read(Signal::Connections)),
                    ("sluicegate_endpoint_healthy", f64::from(u8::from(view.is_well()))),
                ] {
                    let endpoint = view.endpoint.name.to_string();
                    let handle = gauge!(name, "cluster" => cluster.to_string(), "endpoint" => endpoint);
                    handle.set(value);
                    gauges.push(handle);
                }
            }
        }
        *lock(&self.gauges) = gauges;
    }
}

/// Who serves a cluster, since when, and for which reason.
fn policy_gauges(cluster: &str, status: &ClusterStatus) -> Option<Gauge> {
    let (active, change) = (status.policy.active.as_ref()?, status.policy.serving_since()?);
    let gauge = gauge!(
        "sluicegate_policy_since_seconds", "cluster" => cluster.to_owned(),
        "policy" => active.spec.policy.to_string(), "generation" => active.number.to_string(),
        "sha256" => active.spec.artifact.digest.short(), "event" => change.event.label()
    );
    gauge.set(change.at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    Some(gauge)
}

/// Nothing in here is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn endpoint_json(view: &EndpointView, now: u64) -> Value {
    let endpoint = &view.endpoint;
    let read = |signal| endpoint.live.read(signal, now);
    json!({
        "id": endpoint.id.to_string(),
        "address": endpoint.spec.address,
        "state": view.state,
        "reason": view.reason.as_deref(),
        "weight": endpoint.spec.weight,
        "shown_weight": view.shown_weight,
        "priority": endpoint.spec.priority,
        "zone": &*endpoint.spec.zone,
        "labels": endpoint.spec.labels,
        "in_flight": read(Signal::InFlight),
        "connections": read(Signal::Connections),
        "latency_us": read(Signal::LatencyUs),
        "successes": read(Signal::Successes),
        "failures": read(Signal::Failures),
        "timeouts": read(Signal::Timeouts),
        "age_ms": read(Signal::AgeMs),
    })
}

fn level_json(level: &Level) -> Value {
    json!({ "priority": level.priority, "load_percent": level.load_percent, "panicking": level.panicking })
}
