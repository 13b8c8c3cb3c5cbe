//! The control side of a cluster's policy: swaps it, rebuilds it, rolls it back.

mod faults;
mod status;
#[cfg(test)]
mod tests;
mod trials;

pub use status::{Loaded, SupervisorStatus, Swapped, TrialStatus};
pub use trials::TrialSpec;

use std::{collections::VecDeque, future::Future, sync::Arc, time::Instant};

use sluicegate_core::ClusterSnapshot;
use tokio::{sync::mpsc, task::spawn_blocking};

use self::faults::RecentFaults;
use crate::{
    Artifact, Cause, Clock, Digest, Engine, Fault, Generation, GenerationSpec, Installed, Instance, Plugin, Refusal,
    Rehearsal, Report, Saved, SeatHandle, SeatInbox, WorkerGone,
    history::{Change, Event, History, Times},
    metrics::SwapMetrics,
    seat,
};

/// How many former generations can be gone back to without a compile. Each holds on to its code, some hundred kilobytes;
/// whoever has to go back further than four versions wants a certain one, and has its file.
const KEPT: usize = 4;

/// Reports that may wait for the supervisor. When more come the counters still have them.
const REPORTS: usize = 256;

/// Says whether a generation may serve that was let in some time ago. What let it in may not count any more.
pub type Vetting = Arc<dyn Fn(&Generation) -> Result<(), Refusal> + Send + Sync>;

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
    /// Of the active generation.
    faults: RecentFaults,
    quarantined: Option<(Digest, Arc<str>)>,
    numbers: u64,
    last_refusal: Option<String>,
    last_fault: Option<String>,
    trial: Option<trials::Trial>,
    vetting: Option<Vetting>,
    history: History,
    metrics: SwapMetrics,
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
            faults: RecentFaults::default(),
            quarantined: None,
            numbers: 0,
            last_refusal: None,
            last_fault: None,
            trial: None,
            vetting: None,
            history: History::default(),
        };
        (supervisor, inboxes, reports)
    }

    /// Who is asked before a kept generation is gone back to, or a candidate promoted. Without one, all of them may.
    pub fn set_vetting(&mut self, vetting: Vetting) {
        self.vetting = Some(vetting);
    }

    fn vet(&self, generation: &Generation) -> Result<(), Refusal> {
        self.vetting.as_ref().map_or(Ok(()), |vetting| vetting(generation))
    }

    /// The workers' seats.
    pub fn seats(&self) -> &[SeatHandle] {
        &self.seats
    }

    /// What is known now.
    pub fn status(&self) -> SupervisorStatus {
        SupervisorStatus {
            active: self.active.clone(),
            kept: self.kept.iter().cloned().collect(),
            recent_faults: self.faults.count(self.clock.now(), self.engine.limits.fault_window),
            last_refusal: self.last_refusal.clone(),
            last_fault: self.last_fault.clone(),
            trial: self.trial.as_ref().map(trials::Trial::status),
            history: Arc::clone(self.history.changes()),
        }
    }

    /// The endpoints that candidates are rehearsed with and instances begin with. (The workers show changed endpoints
    /// to the instances that sit already.)
    pub fn set_snapshot(&mut self, snapshot: Arc<ClusterSnapshot>) {
        self.snapshot = snapshot;
    }

    /// Replaces the policy: compiles, inspects, rehearses, publishes. What is refused is never seen by a request, and
    /// what served before goes on.
    pub async fn swap(&mut self, plugin: Plugin, cause: &Cause) -> Result<Swapped, Refusal> {
        let loaded = self.load(&plugin).await;
        self.swap_loaded(plugin, loaded, cause).await
    }

    /// The same with code that has been loaded already, or could not be.
    pub async fn swap_loaded(
        &mut self,
        plugin: Plugin,
        loaded: Result<Loaded, Refusal>,
        cause: &Cause,
    ) -> Result<Swapped, Refusal> {
        let result = match loaded {
            Ok(loaded) => self.try_swap(plugin, loaded, cause).await,
            Err(refusal) => Err(refusal),
        };
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

    /// Takes in that a policy was refused before it came to this.
    pub fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.metrics.ended(refusal.label());
        self.last_refusal = Some(refusal.to_string());
        refusal
    }

    async fn try_swap(&mut self, plugin: Plugin, loaded: Loaded, cause: &Cause) -> Result<Swapped, Refusal> {
        let Loaded { artifact, time: load_time } = loaded;
        let start = Instant::now();
        let cached = artifact.cached;
        if let Some(active) = self.active.as_ref().filter(|active| active.is_same(&artifact, &plugin.config)) {
            let generation = active.number;
            let total_time = load_time + start.elapsed();
            let (carried, rehearsal) = (None, None);
            return Ok(Swapped { generation, unchanged: true, carried, rehearsal, cached, load_time, total_time });
        }
        let (candidate, saved) = self.candidate(&plugin, artifact, Generation::after).await?;
        let rehearsed = Instant::now();
        let (instances, rehearsal) = self.prepare(&candidate, saved).await?;
        let rehearse = rehearsed.elapsed();
        self.numbers += 1;
        let switched = Instant::now();
        let carried = match self.publish_rehearsed(instances, &rehearsal).await {
            Ok(carried) => carried,
            Err(refusal) => {
                self.restore_active().await;
                return Err(refusal);
            }
        };
        self.end_trial(&Cause { why: "what it was compared with was replaced".into(), at: cause.at }).await;
        let times = Times { load: load_time, rehearse, switch: switched.elapsed() };
        let change = Change::new(Event::Swapped, cause, Some(&candidate));
        self.history.add(Change { carried: carried.clone(), times, ..change });
        self.take_over(candidate);
        let total_time = load_time + start.elapsed();
        let rehearsal = Some(rehearsal);
        Ok(Swapped { generation: self.numbers, unchanged: false, carried, rehearsal, cached, load_time, total_time })
    }

    /// Compiles a plugin, or finds its code. It may take long, and needs nothing of the supervisor meanwhile.
    pub fn load(&self, plugin: &Plugin) -> impl Future<Output = Result<Loaded, Refusal>> + Send + use<> {
        let (start, engine, bytes) = (Instant::now(), Arc::clone(&self.engine), Arc::clone(&plugin.bytes));
        async move {
            let artifact = off_thread(move || engine.load(&bytes)).await?;
            Ok(Loaded { artifact, time: start.elapsed() })
        }
    }

    /// The next generation, which nobody knows yet, and the state that it is to be given.
    async fn candidate(
        &self,
        plugin: &Plugin,
        artifact: Arc<Artifact>,
        make: fn(Option<&Generation>, u64, GenerationSpec) -> Arc<Generation>,
    ) -> Result<(Arc<Generation>, Option<Saved>), Refusal> {
        let (policy, config) = (Arc::clone(&plugin.name), Arc::clone(&plugin.config));
        if self.quarantined.as_ref().is_some_and(|(digest, of)| *digest == artifact.digest && *of == config) {
            return Err(Refusal::Quarantined { faults: self.engine.limits.faults });
        }
        let saved = self.saved(&artifact).await?;
        let (cluster, seed, workers) = (Arc::clone(&self.cluster), self.seed, self.seats.len() as u32);
        let spec = GenerationSpec { cluster, policy, artifact, config, seed, workers };
        Ok((make(self.active.as_deref(), self.numbers + 1, spec), saved))
    }

    /// What the active policy has learnt, for a policy that may be able to use it.
    async fn saved(&self, artifact: &Artifact) -> Result<Option<Saved>, Refusal> {
        match self.seats.first() {
            Some(seat) if artifact.exports.state => seat.save().await.map_err(|_| Refusal::ShuttingDown),
            _ => Ok(None),
        }
    }

    /// Goes back to a kept generation, without a compile: the one with this number, or the latest.
    pub async fn roll_back(&mut self, to: Option<u64>, cause: &Cause) -> Result<u64, Refusal> {
        let index = match to {
            Some(number) => self.kept.iter().position(|kept| kept.number == number),
            None => self.kept.len().checked_sub(1),
        };
        let Some(former) = index.and_then(|index| self.kept.get(index)).cloned() else {
            return Err(Refusal::NotKept { asked: to, kept: self.kept.iter().map(|kept| kept.number).collect() });
        };
        self.vet(&former)?;
        let (start, saved) = (Instant::now(), self.saved(&former.spec.artifact).await?);
        let (instances, rehearsal) = self.prepare(&former, saved).await?;
        let (rehearse, switched) = (start.elapsed(), Instant::now());
        let carried = match self.publish_rehearsed(instances, &rehearsal).await {
            Ok(carried) => carried,
            Err(refusal) => {
                self.restore_active().await;
                return Err(refusal);
            }
        };
        self.end_trial(&Cause { why: "what it was compared with was rolled back".into(), at: cause.at }).await;
        let times = Times { rehearse, switch: switched.elapsed(), ..Times::default() };
        self.history.add(Change { carried, times, ..Change::new(Event::RolledBack, cause, Some(&former)) });
        let (from, number) = (self.active.as_ref().map(|active| active.number), former.number);
        tracing::warn!(cluster = %self.cluster, from, to = number, why = %cause.why, "policy rolled back");
        self.metrics.ended("rolled_back");
        self.kept.retain(|kept| kept.number != number);
        self.take_over(former);
        Ok(number)
    }

    /// This generation sits in all seats now.
    fn take_over(&mut self, generation: Arc<Generation>) {
        self.kept.extend(self.active.replace(generation));
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        self.quarantined = None;
        self.became_active();
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
        all_installed(orders).await
    }

    /// The same, with the predecessor's state, unless the rehearsal has shown that it is refused: then the instances start
    /// as fresh as they are.
    async fn publish_rehearsed(
        &self,
        instances: Vec<Instance>,
        rehearsal: &Rehearsal,
    ) -> Result<Option<Result<(), String>>, Refusal> {
        match &rehearsal.restored {
            Some(Err(reason)) => self.publish(instances, false).await.map(|_| Some(Err(reason.clone()))),
            _ => self.publish(instances, true).await,
        }
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
}

/// Waits until every worker has taken its instance in. Says what became of the predecessor's state.
async fn all_installed(
    orders: Vec<impl Future<Output = Result<Result<Installed, Fault>, WorkerGone>>>,
) -> Result<Option<Result<(), String>>, Refusal> {
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
