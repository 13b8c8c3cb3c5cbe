//! All endpoints of a cluster, what is known of each, and which of them policies see.
//!
//! What changes here is what others have found out: health checks, the workers by their attempts, the operator. None
//! of that goes to a worker. The workers get a picture of who may be picked, made anew when that is different.

mod show;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use sluicegate_core::{
    ClusterSnapshot, Ejection, EjectionCause, Endpoint, EndpointId, EndpointSpec, Health, Level, LiveArena,
    OutlierDetector, OutlierWatch, Probe, Suspect, Transition,
};

use crate::{
    actor::Event,
    config::{Eligibility, HealthCheck},
    metrics::HealthMetrics,
    probe::Probed,
};

/// Where workers' suspicions go.
pub(crate) type Report = Arc<dyn Fn(Suspect) + Send + Sync>;

/// The endpoints of one cluster.
pub(crate) struct Endpoints {
    cluster: Arc<str>,
    rules: Eligibility,
    arena: LiveArena,
    /// Everybody, whether policies see them or not.
    all: ClusterSnapshot,
    standings: HashMap<EndpointId, Standing>,
    detector: Option<OutlierDetector>,
    report: Report,
    metrics: HealthMetrics,
    levels: Arc<[Level]>,
    /// Whether somebody's weight still grows.
    is_warming: bool,
    /// Until when nobody is told again that an endpoint is spared.
    quiet_until: u64,
}

/// How often it is said that an endpoint is spared, in nanoseconds.
const SPARED_INTERVAL: u64 = 10_000_000_000;

/// What is known of an endpoint.
#[derive(Default)]
struct Standing {
    health: Health,
    /// Why the last health check that mattered failed.
    failure: Option<Arc<str>>,
    ejected: Option<EjectionCause>,
    watch: Option<Arc<OutlierWatch>>,
    /// Since when it may be picked, as far as it is concerned; `None` while it may not.
    available_since: Option<u64>,
}

/// An endpoint as the operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct EndpointView {
    pub(crate) endpoint: Arc<Endpoint>,
    /// `healthy`, `unhealthy`, `ejected` or `draining`; `unknown` while no health check has come to an end.
    pub(crate) state: &'static str,
    /// Why it is not healthy.
    pub(crate) reason: Option<Arc<str>>,
    /// The weight that policies see; 0 when they don't see the endpoint.
    pub(crate) shown_weight: u32,
}

impl EndpointView {
    /// Whether nothing is known against it.
    pub(crate) fn is_well(&self) -> bool {
        !matches!(self.state, "unhealthy" | "ejected")
    }
}

impl Endpoints {
    /// Nobody yet.
    pub(crate) fn new(cluster: &str, rules: Eligibility, report: Report, now: u64) -> Self {
        let mut endpoints = Self {
            cluster: cluster.into(),
            rules: Eligibility::default(),
            arena: LiveArena::default(),
            all: ClusterSnapshot::empty(cluster),
            standings: HashMap::new(),
            detector: None,
            report,
            metrics: HealthMetrics::new(cluster),
            levels: Arc::default(),
            is_warming: false,
            quiet_until: 0,
        };
        endpoints.set_rules(rules, now);
        endpoints
    }

    /// Everybody.
    pub(crate) fn all(&self) -> &[Arc<Endpoint>] {
        self.all.endpoints()
    }

    /// How they are asked, if they are.
    pub(crate) fn check(&self) -> Option<&HealthCheck> {
        self.rules.health.as_ref()
    }

    /// Priorities and their loads, as they were shown last.
    pub(crate) fn levels(&self) -> &Arc<[Level]> {
        &self.levels
    }

    /// Whether something changes with time alone, so that [`Self::tick`] should be called now and then.
    pub(crate) fn needs_ticks(&self) -> bool {
        self.detector.is_some() || self.is_warming
    }

    /// Takes over the complete list of endpoints. Who stays keeps what is known of it.
    pub(crate) fn set(&mut self, specs: &[EndpointSpec], now: u64) {
        self.all = self.all.next(specs, &mut self.arena, now);
        let mut before = std::mem::take(&mut self.standings);
        let ids: Vec<EndpointId> = self.all.endpoints().iter().map(|endpoint| endpoint.id).collect();
        self.standings = ids.iter().map(|id| (*id, before.remove(id).unwrap_or_default())).collect();
        if let Some(returned) = self.detector.as_mut().and_then(|detector| detector.set_endpoints(&ids)) {
            self.returned(returned);
        }
        self.watch(false);
    }

    /// Takes over other rules.
    pub(crate) fn set_rules(&mut self, rules: Eligibility, now: u64) {
        if rules.health.is_none() {
            // Nobody will ever say that they are well again.
            self.standings.values_mut().for_each(|standing| (standing.health, standing.failure) = Default::default());
        }
        match (&mut self.detector, rules.outlier) {
            (Some(detector), Some(spec)) => detector.set_spec(spec),
            (detector @ None, Some(spec)) => {
                let mut new = OutlierDetector::new(spec, now);
                new.set_endpoints(&self.standings.keys().copied().collect::<Vec<_>>());
                *detector = Some(new);
            }
            (detector, None) => {
                *detector = None;
                self.standings.values_mut().for_each(|standing| standing.ejected = None);
            }
        }
        let changed = self.rules.outlier != rules.outlier;
        self.rules = rules;
        self.watch(changed);
    }

    /// Sees to it that the workers count everybody's attempts if they are to; `anew` for those, too, that they count.
    fn watch(&mut self, anew: bool) {
        let detector = self.detector.as_ref().zip(self.rules.outlier);
        for (id, standing) in &mut self.standings {
            if anew || standing.watch.is_none() {
                let monitor = detector.and_then(|(detector, spec)| Some((detector.monitor(*id)?, spec)));
                standing.watch = monitor.map(|(monitor, spec)| {
                    Arc::new(OutlierWatch::new(Arc::clone(monitor), spec, Arc::clone(&self.report)))
                });
            }
        }
    }

    /// Takes in what somebody has found out; says whether it changes anything.
    pub(crate) fn take_in(&mut self, event: Event, now: u64) -> bool {
        match event {
            Event::Probed(probed) => self.probed(probed),
            Event::Suspected(suspect) => self.suspect(&suspect, now),
        }
    }

    fn probed(&mut self, probed: Probed) -> bool {
        let Probed { endpoint, probe, failure } = probed;
        // It may have been under way when the endpoint, or the health check, was taken away.
        let (Some(check), Some(standing)) = (&self.rules.health, self.standings.get_mut(&endpoint)) else {
            return false;
        };
        self.metrics.probed(probe);
        let Some(transition) = standing.health.record(probe, &check.spec) else { return false };
        standing.failure = failure.filter(|_| probe != Probe::Passed);
        let cause = standing.failure.clone();
        let (cluster, endpoint) = (&self.cluster, self.name(endpoint));
        match transition {
            Transition::Confirmed => tracing::debug!(%cluster, endpoint, "endpoint healthy"),
            Transition::Recovered => tracing::info!(%cluster, endpoint, "endpoint healthy again"),
            Transition::Failed => tracing::warn!(%cluster, endpoint, cause = cause.as_deref(), "endpoint unhealthy"),
        }
        true
    }

    /// A worker has seen an endpoint fail too often.
    fn suspect(&mut self, suspect: &Suspect, now: u64) -> bool {
        let Some(detector) = &mut self.detector else { return false };
        let spared = detector.spared();
        let ejection = detector.suspect(&suspect.monitor, suspect.cause, now);
        if detector.spared() > spared && now >= self.quiet_until {
            // It fails on, and is spared on.
            self.quiet_until = now.saturating_add(SPARED_INTERVAL);
            let (cluster, endpoint) = (&self.cluster, self.name(suspect.monitor.endpoint()));
            tracing::warn!(
                %cluster, endpoint, cause = suspect.cause.label(),
                "endpoint not ejected: too many others are (max_ejected_percent)"
            );
        }
        ejection.is_some_and(|ejection| self.ejected(&ejection, now))
    }

    /// Takes in that time has passed; says whether it changes anything.
    pub(crate) fn tick(&mut self, now: u64) -> bool {
        let sweep = self.detector.as_mut().map(|detector| detector.sweep(now)).unwrap_or_default();
        sweep.returned.iter().for_each(|id| self.returned(*id));
        let ejected = sweep.ejected.iter().filter(|ejection| self.ejected(ejection, now)).count();
        self.is_warming || !sweep.returned.is_empty() || ejected > 0
    }

    fn ejected(&mut self, ejection: &Ejection, now: u64) -> bool {
        let Some(standing) = self.standings.get_mut(&ejection.endpoint) else { return false };
        standing.ejected = Some(ejection.cause);
        self.metrics.ejected(ejection.cause);
        let (cluster, endpoint) = (&self.cluster, self.name(ejection.endpoint));
        let time = Duration::from_nanos(ejection.until.saturating_sub(now));
        tracing::warn!(%cluster, endpoint, cause = ejection.cause.label(), time_ms = time.as_millis() as u64, "endpoint ejected");
        true
    }

    fn returned(&mut self, endpoint: EndpointId) {
        if let Some(standing) = self.standings.get_mut(&endpoint) {
            standing.ejected = None;
        }
        tracing::info!(cluster = %self.cluster, endpoint = self.name(endpoint), "endpoint back after its ejection");
    }

    fn name(&self, id: EndpointId) -> Option<&str> {
        self.all().iter().find(|endpoint| endpoint.id == id).map(|endpoint| &*endpoint.name)
    }
}
