//! The control side of a cluster's policy: swaps it, rebuilds it, rolls it back.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use sluicegate_core::ClusterSnapshot;
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    Clock, Digest, Engine, Fault, Generation, GenerationSpec, Instance, Plugin, Refusal, Rehearsal, Report, Saved,
    SeatHandle, SeatInbox, metrics::SwapMetrics, seat,
};

/// How many former generations can be gone back to without a compile.
const KEPT: usize = 4;

/// Reports that may wait for the supervisor. When more come the counters still have them.
const REPORTS: usize = 256;

/// Looks after one cluster's policy.
pub struct Supervisor {
    engine: Arc<Engine>,
    clock: Clock,
    cluster: Arc<str>,
    seed: u64,
    snapshot: Arc<ClusterSnapshot>,
    seats: Vec<SeatHandle>,
    active: Option<Arc<Generation>>,
    /// Former generations that did no wrong, the latest last.
    kept: VecDeque<Arc<Generation>>,
    /// When the active generation faulted, on the data path's clock.
    faults: VecDeque<u64>,
    quarantined: Option<(Digest, Arc<str>)>,
    numbers: u64,
    last_refusal: Option<String>,
    metrics: SwapMetrics,
}

/// A swap that took place.
#[derive(Clone, Debug)]
pub struct Swapped {
    /// The generation that serves now.
    pub generation: u64,
    /// Whether there was nothing to do: the same code and configuration serve already.
    pub unchanged: bool,
    /// Whether the state of the predecessor was carried over: none when there was none to carry, an error when a
    /// worker's instance refused it and started fresh.
    pub carried: Option<Result<(), String>>,
    /// What the rehearsal has shown.
    pub rehearsal: Option<Rehearsal>,
    /// Whether the code came from the cache.
    pub cached: bool,
    /// To compile it, or to read it from the cache.
    pub load_time: Duration,
    /// From the call to the last worker's switch.
    pub total_time: Duration,
}

/// What is known of a cluster's policy at one moment.
#[derive(Clone, Debug, Default)]
pub struct SupervisorStatus {
    /// The generation that serves; none when the native fallback does.
    pub active: Option<Arc<Generation>>,
    /// Generations that can be gone back to, the latest last.
    pub kept: Vec<Arc<Generation>>,
    /// Faults of the active generation within the window.
    pub recent_faults: usize,
    /// Why the last change was refused; none when the last change was not.
    pub last_refusal: Option<String>,
}

impl Supervisor {
    /// A supervisor for `workers` seats, the workers' ends of those seats, and where the seats' reports arrive: each
    /// is to be given to [`Self::handle`].
    pub fn new(
        engine: Arc<Engine>,
        clock: Clock,
        snapshot: Arc<ClusterSnapshot>,
        seed: u64,
        workers: u32,
    ) -> (Self, Vec<SeatInbox>, mpsc::Receiver<Report>) {
        let (reporter, reports) = mpsc::channel(REPORTS);
        let (seats, inboxes) = (0..workers).map(|worker| seat(worker, seed, clock, reporter.clone())).unzip();
        let supervisor = Self {
            engine,
            clock,
            metrics: SwapMetrics::new(&snapshot.name),
            cluster: Arc::clone(&snapshot.name),
            seed,
            snapshot,
            seats,
            active: None,
            kept: VecDeque::new(),
            faults: VecDeque::new(),
            quarantined: None,
            numbers: 0,
            last_refusal: None,
        };
        (supervisor, inboxes, reports)
    }

    /// What is known now.
    pub fn status(&self) -> SupervisorStatus {
        SupervisorStatus {
            active: self.active.clone(),
            kept: self.kept.iter().cloned().collect(),
            recent_faults: self.faults.len(),
            last_refusal: self.last_refusal.clone(),
        }
    }

    /// The endpoints that candidates are rehearsed with and instances begin with. (The workers show changed endpoints
    /// to the instances that sit already.)
    pub fn set_snapshot(&mut self, snapshot: Arc<ClusterSnapshot>) {
        self.snapshot = snapshot;
    }

    /// Replaces the policy: compiles, inspects, rehearses, publishes. What is refused is never seen by a request, and
    /// what served before goes on.
    pub async fn swap(&mut self, plugin: Plugin) -> Result<Swapped, Refusal> {
        let result = self.try_swap(plugin).await;
        let label = match &result {
            Ok(swapped) if swapped.unchanged => "unchanged",
            Ok(swapped) => {
                self.metrics.took(swapped.total_time);
                "swapped"
            }
            Err(refusal) => refusal.label(),
        };
        self.metrics.ended(label);
        self.last_refusal = result.as_ref().err().map(ToString::to_string);
        result
    }

    async fn try_swap(&mut self, plugin: Plugin) -> Result<Swapped, Refusal> {
        let start = Instant::now();
        let Plugin { name: policy, bytes, config } = plugin;
        let engine = Arc::clone(&self.engine);
        let artifact = off_thread(move || engine.load(&bytes)).await?;
        let (cached, load_time) = (artifact.cached, artifact.load_time);
        if let Some(active) = self.active.as_ref().filter(|active| active.is_same(&artifact, &config)) {
            let generation = active.number;
            let total_time = start.elapsed();
            let (carried, rehearsal) = (None, None);
            return Ok(Swapped { generation, unchanged: true, carried, rehearsal, cached, load_time, total_time });
        }
        if self.quarantined.as_ref().is_some_and(|(digest, of)| *digest == artifact.digest && *of == config) {
            return Err(Refusal::Quarantined { faults: self.engine.limits.faults });
        }
        let carries = artifact.exports.state;
        let saved = match self.seats.first() {
            Some(seat) if carries => seat.save().await.map_err(|_| Refusal::ShuttingDown)?,
            _ => None,
        };
        let (cluster, seed, workers) = (Arc::clone(&self.cluster), self.seed, self.seats.len() as u32);
        let spec = GenerationSpec { cluster, policy, artifact, config, seed, workers };
        let candidate = Generation::after(self.active.as_deref(), self.numbers + 1, spec);
        let (instances, rehearsal) = self.prepare(&candidate, saved).await?;
        self.numbers += 1;
        let carried = match self.publish(instances, true).await {
            Ok(carried) => carried,
            Err(refusal) => {
                self.restore_active().await;
                return Err(refusal);
            }
        };
        self.kept.extend(self.active.replace(candidate));
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        self.quarantined = None;
        self.became_active();
        let total_time = start.elapsed();
        let rehearsal = Some(rehearsal);
        Ok(Swapped { generation: self.numbers, unchanged: false, carried, rehearsal, cached, load_time, total_time })
    }

    fn became_active(&mut self) {
        self.faults.clear();
        let number = self.active.as_ref().map_or(0, |active| active.number);
        self.metrics.serves(number);
    }

    /// Rehearses a generation and makes an instance for every seat, off the workers.
    async fn prepare(
        &self,
        generation: &Arc<Generation>,
        saved: Option<Saved>,
    ) -> Result<(Vec<Instance>, Rehearsal), Refusal> {
        let (engine, clock, snapshot) = (Arc::clone(&self.engine), self.clock, Arc::clone(&self.snapshot));
        let (generation, workers) = (Arc::clone(generation), self.seats.len() as u32);
        off_thread(move || {
            let rehearsal = generation.rehearse(&engine, &clock, &snapshot, saved.as_ref())?;
            let instances = (0..workers)
                .map(|worker| generation.instance(&engine, worker, Arc::clone(&snapshot), clock.now()))
                .collect::<Result<Vec<_>, _>>()?;
            Ok((instances, rehearsal))
        })
        .await
    }

    /// Seats an instance in every worker. They switch at the same time, each between two requests of its own. Says
    /// what became of the predecessor's state.
    async fn publish(&self, instances: Vec<Instance>, carry: bool) -> Result<Option<Result<(), String>>, Refusal> {
        let orders: Vec<_> =
            self.seats.iter().zip(instances).map(|(seat, instance)| seat.install(instance, carry)).collect();
        let mut result = Ok(None);
        for order in orders {
            match (order.await.map_err(|_| Refusal::ShuttingDown)?, &mut result) {
                (Err(fault), _) => result = Err(fault.into()),
                // One refusal among the workers is what the operator should hear of.
                (Ok(_), Ok(Some(Err(_))) | Err(_)) => {}
                (Ok(installed), Ok(carried)) => *carried = installed.carried.or(carried.take()),
            }
        }
        result
    }

    /// Puts the active generation back into all seats, after a publication that failed half-way.
    async fn restore_active(&self) {
        let Some(active) = &self.active else { return self.empty_seats().await };
        match self.prepare(active, None).await {
            Ok((instances, _)) => {
                if let Err(error) = self.publish(instances, true).await {
                    tracing::error!(cluster = %self.cluster, %error, "the policy could not be put back");
                }
            }
            Err(error) => tracing::error!(cluster = %self.cluster, %error, "the policy could not be put back"),
        }
    }

    async fn empty_seats(&self) {
        for seat in &self.seats {
            // A worker that is gone has nothing to empty.
            let _ = seat.remove().await;
        }
    }

    /// Takes in a fault: rebuilds the instance if it died, or rolls the generation back if it faults too often.
    pub async fn handle(&mut self, report: Report) {
        let Some(active) = self.active.clone().filter(|active| active.number == report.generation) else { return };
        let now = self.clock.now();
        let window = self.engine.limits.fault_window.as_nanos() as u64;
        self.faults.push_back(now);
        while self.faults.front().is_some_and(|at| now.saturating_sub(*at) > window) {
            self.faults.pop_front();
        }
        let Report { worker, fault, .. } = report;
        let policy = &active.spec.policy;
        let generation = active.number;
        tracing::warn!(cluster = %self.cluster, %policy, generation, worker, label = fault.label(), "policy fault: {fault}");
        if self.faults.len() >= self.engine.limits.faults {
            self.quarantine(&active).await;
        } else if fault.is_fatal() {
            self.rebuild(&active, worker).await;
        }
    }

    async fn rebuild(&mut self, active: &Arc<Generation>, worker: u32) {
        let (engine, clock, snapshot) = (Arc::clone(&self.engine), self.clock, Arc::clone(&self.snapshot));
        let generation = Arc::clone(active);
        let made = off_thread(move || generation.instance(&engine, worker, snapshot, clock.now())).await;
        let seat = self.seats.iter().find(|seat| seat.worker() == worker);
        let installed = match (made, seat) {
            (Ok(instance), Some(seat)) => seat.install(instance, false).await.ok(),
            (Err(refusal), _) => {
                tracing::error!(cluster = %self.cluster, worker, %refusal, "the policy could not be rebuilt");
                None
            }
            (_, None) => None,
        };
        if !matches!(installed, Some(Ok(_))) {
            self.quarantine(active).await;
        }
    }

    /// Takes the active generation out of service for good, and goes back to the last one that did no wrong.
    async fn quarantine(&mut self, active: &Arc<Generation>) {
        self.quarantined = Some((active.spec.artifact.digest, Arc::clone(&active.spec.config)));
        self.active = None;
        self.metrics.ended("rolled_back");
        while let Some(former) = self.kept.pop_back() {
            let Ok((instances, _)) = self.prepare(&former, None).await else { continue };
            if self.publish(instances, false).await.is_ok() {
                tracing::error!(
                    cluster = %self.cluster, from = active.number, to = former.number,
                    "policy quarantined for its faults: rolled back"
                );
                self.active = Some(former);
                break;
            }
        }
        if self.active.is_none() {
            self.empty_seats().await;
            tracing::error!(
                cluster = %self.cluster, generation = active.number,
                "policy quarantined for its faults: the native fallback serves until it is replaced"
            );
        }
        self.last_refusal = Some(Refusal::Quarantined { faults: self.faults.len() }.to_string());
        self.became_active();
    }
}

/// Runs what takes long on the runtime's pool for blocking work.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Fault::Trap {
            callback: "load",
            reason: "the engine panicked over it (a bug there: please report it)".into(),
        }
        .into()),
        Err(_) => Err(Refusal::ShuttingDown),
    }
}
