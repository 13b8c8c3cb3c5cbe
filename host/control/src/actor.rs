//! A cluster's actor: the one task that changes this cluster, so that changes come one after the other, while a slow
//! compile for one cluster holds up no other.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use sluicegate_core::{ClusterSnapshot, EndpointSpec, Level, Suspect};
use sluicegate_policy::{
    Cause, Clock, Engine, Plugin, Refusal, Report, SeatHandle, SeenPick, Supervisor, SupervisorStatus, Swapped,
    TrialSpec,
};
use sluicegate_proxy::{ClusterLoad, ClusterSettings, ControlError, WorkerHandle};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};

use crate::{
    config::Eligibility,
    endpoints::{EndpointView, Endpoints},
    probe::{Probed, Prober},
};

/// How often it is looked whose ejection is over and who has warmed up: each step of a weight is shown to the policies,
/// so that more often would cost them something, and an operator counts in seconds.
const TICK: Duration = Duration::from_secs(1);

/// What is found out about endpoints and waits for the actor. Health checks wait when it is full; what workers report
/// they report again.
const EVENTS: usize = 1024;

/// What is known of a cluster at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ClusterStatus {
    /// Who may be picked.
    pub(crate) snapshot: Arc<ClusterSnapshot>,
    /// Everybody.
    pub(crate) endpoints: Arc<[EndpointView]>,
    pub(crate) levels: Arc<[Level]>,
    pub(crate) policy: SupervisorStatus,
}

/// What somebody has found out about an endpoint.
pub(crate) enum Event {
    /// By asking it.
    Probed(Probed),
    /// By its answers.
    Suspected(Suspect),
}

enum Command {
    Policy(Box<Swap>, oneshot::Sender<Result<Swapped, Refusal>>),
    Try { plugin: Plugin, spec: Box<TrialSpec>, cause: Cause, done: oneshot::Sender<Result<Swapped, Refusal>> },
    Promote { cause: Cause, done: oneshot::Sender<Result<u64, Refusal>> },
    RollBack { to: Option<u64>, cause: Cause, done: oneshot::Sender<Result<RolledBack, Refusal>> },
    Endpoints { specs: Vec<EndpointSpec>, done: oneshot::Sender<Result<(), ControlError>> },
    Eligibility { rules: Box<Eligibility>, done: oneshot::Sender<Result<(), ControlError>> },
    Settings { settings: Box<ClusterSettings>, done: oneshot::Sender<Result<(), ControlError>> },
    Remove { done: oneshot::Sender<Result<(), ControlError>> },
}

/// A policy that is to serve, or why it may not.
struct Swap {
    name: Arc<str>,
    plugin: Result<Plugin, Refusal>,
    since: Option<Instant>,
    cause: Cause,
}

/// The candidate whose trial was ended, if that was all, and the generation that serves now.
type RolledBack = (Option<u64>, Option<u64>);

/// Speaks to a cluster's actor.
#[derive(Clone, Debug)]
pub(crate) struct ClusterHandle {
    commands: mpsc::UnboundedSender<Command>,
    pub(crate) status: watch::Receiver<ClusterStatus>,
    seats: Arc<[SeatHandle]>,
}

/// What an actor works with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Clock,
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) seed: u64,
}

impl ClusterHandle {
    /// Adds a cluster to all workers, and starts its actor. Its policy has to follow; until then the native fallback
    /// picks.
    pub(crate) async fn start(
        name: &str,
        specs: &[EndpointSpec],
        rules: Eligibility,
        settings: ClusterSettings,
        means: Means,
    ) -> Result<Self, ControlError> {
        let Means { engine, clock, workers, seed } = means;
        let (results, events) = mpsc::channel(EVENTS);
        let mut prober = Prober::new(clock, seed, results.clone());
        // A report that finds no room is made again when the endpoint has failed as often once more.
        let report = Arc::new(move |suspect| drop(results.try_send(Event::Suspected(suspect))));
        let mut endpoints = Endpoints::new(name, rules, report, clock.now());
        endpoints.set(specs, clock.now());
        let empty = ClusterSnapshot::empty(name);
        let snapshot = Arc::new(endpoints.show(&empty, clock.now()).unwrap_or(empty));
        let count = workers.len() as u32;
        let (supervisor, inboxes, reports) = Supervisor::new(engine, clock, Arc::clone(&snapshot), seed, count);
        let load = Arc::<ClusterLoad>::default();
        for (worker, inbox) in workers.iter().zip(inboxes) {
            let (settings, load) = (settings.clone(), Arc::clone(&load));
            worker.add_cluster(name.into(), settings, Arc::clone(&snapshot), inbox, load).await?;
        }
        let (commands, inbox) = mpsc::unbounded_channel();
        prober.set_way(endpoints.check(), &settings, endpoints.all());
        let views = endpoints.views(&snapshot);
        let (publish, status) = watch::channel(ClusterStatus {
            snapshot: Arc::clone(&snapshot),
            endpoints: Arc::clone(&views),
            levels: Arc::clone(endpoints.levels()),
            policy: supervisor.status(),
        });
        let (name, seats) = (name.into(), supervisor.seats().into());
        let actor = Actor { name, workers, clock, settings, endpoints, views, prober, snapshot, supervisor, publish };
        tokio::spawn(actor.run(inbox, reports, events));
        Ok(Self { commands, status, seats })
    }

    /// Swaps the policy called `name`, unless it is refused already. `since`: when its file changed.
    pub(crate) async fn set_policy(
        &self,
        name: Arc<str>,
        plugin: Result<Plugin, Refusal>,
        since: Option<Instant>,
        cause: Cause,
    ) -> Result<Swapped, Refusal> {
        let swap = Box::new(Swap { name, plugin, since, cause });
        self.ask(|done| Command::Policy(swap, done)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Puts a candidate on trial beside the policy.
    pub(crate) async fn put_on_trial(&self, plugin: Plugin, spec: TrialSpec, cause: Cause) -> Result<Swapped, Refusal> {
        let spec = Box::new(spec);
        self.ask(|done| Command::Try { plugin, spec, cause, done }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Has the candidate on trial serve. Its number.
    pub(crate) async fn promote(&self, cause: Cause) -> Result<u64, Refusal> {
        self.ask(|done| Command::Promote { cause, done }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Goes back to a generation; without a number, ends the trial under way, or else goes back to the last one.
    pub(crate) async fn roll_back(&self, to: Option<u64>, cause: Cause) -> Result<RolledBack, Refusal> {
        self.ask(|done| Command::RollBack { to, cause, done }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    pub(crate) async fn set_endpoints(&self, specs: Vec<EndpointSpec>) -> Result<(), ControlError> {
        self.ask(|done| Command::Endpoints { specs, done }).await.unwrap_or(Err(ControlError::WorkerGone))
    }

    pub(crate) async fn set_eligibility(&self, rules: Eligibility) -> Result<(), ControlError> {
        self.ask(|done| Command::Eligibility { rules: rules.into(), done })
            .await
            .unwrap_or(Err(ControlError::WorkerGone))
    }

    pub(crate) async fn set_settings(&self, settings: ClusterSettings) -> Result<(), ControlError> {
        self.ask(|done| Command::Settings { settings: settings.into(), done })
            .await
            .unwrap_or(Err(ControlError::WorkerGone))
    }

    /// Takes the cluster away from the workers, which no route may lead to any more.
    pub(crate) async fn remove(&self) -> Result<(), ControlError> {
        self.ask(|done| Command::Remove { done }).await.unwrap_or(Err(ControlError::WorkerGone))
    }

    /// The last picks of all workers, the latest first, and has them recorded for a while from now on. It asks the seats
    /// and not the actor, which may be busy with a compile.
    pub(crate) async fn look(&self) -> Vec<SeenPick> {
        let mut picks = Vec::new();
        for seat in &*self.seats {
            // A worker that is gone picks nothing.
            picks.extend(seat.look().await.unwrap_or_default());
        }
        picks.sort_unstable_by_key(|pick| std::cmp::Reverse(pick.at));
        picks
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).ok()?;
        answer.await.ok()
    }
}

struct Actor {
    name: Arc<str>,
    workers: Vec<WorkerHandle>,
    clock: Clock,
    endpoints: Endpoints,
    views: Arc<[EndpointView]>,
    prober: Prober,
    settings: ClusterSettings,
    snapshot: Arc<ClusterSnapshot>,
    supervisor: Supervisor,
    publish: watch::Sender<ClusterStatus>,
}

impl Actor {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut reports: mpsc::Receiver<Report>,
        mut events: mpsc::Receiver<Event>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut found = Vec::new();
        loop {
            tokio::select! {
                // Faults first: what is broken is mended before it is changed.
                biased;
                Some(report) = reports.recv() => self.supervisor.handle(report, SystemTime::now()).await,
                command = commands.recv() => match command {
                    Some(command) => {
                        if self.obey(command).await {
                            return;
                        }
                    }
                    None => return,
                },
                // Many at once change the picture once.
                _ = events.recv_many(&mut found, EVENTS) => {
                    let now = self.clock.now();
                    let mut changed = false;
                    found.drain(..).for_each(|event| changed |= self.endpoints.take_in(event, now));
                    self.learned(changed).await;
                }
                _ = tick.tick(), if self.endpoints.needs_ticks() || self.supervisor.is_trying() => {
                    self.supervisor.tick(SystemTime::now()).await;
                    let changed = self.endpoints.needs_ticks() && self.endpoints.tick(self.clock.now());
                    self.learned(changed).await;
                }
            }
            self.publish.send_replace(self.status());
        }
    }

    fn status(&self) -> ClusterStatus {
        ClusterStatus {
            snapshot: Arc::clone(&self.snapshot),
            endpoints: Arc::clone(&self.views),
            levels: Arc::clone(self.endpoints.levels()),
            policy: self.supervisor.status(),
        }
    }

    /// Does as told; says whether that was the last thing.
    async fn obey(&mut self, command: Command) -> bool {
        // Whoever asked may have stopped waiting, so that answers may find nobody.
        match command {
            Command::Policy(swap, done) => {
                let swapped = self.swap(*swap).await;
                self.publish.send_replace(self.status());
                let _ = done.send(swapped);
            }
            Command::Try { plugin, spec, cause, done } => {
                let tried = self.put_on_trial(plugin, *spec, &cause).await;
                self.publish.send_replace(self.status());
                let _ = done.send(tried);
            }
            Command::Promote { cause, done } => {
                let promoted = self.supervisor.promote(&cause).await;
                self.publish.send_replace(self.status());
                let _ = done.send(promoted);
            }
            Command::RollBack { to, cause, done } => {
                let rolled_back = self.roll_back(to, &cause).await;
                self.publish.send_replace(self.status());
                let _ = done.send(rolled_back);
            }
            Command::Endpoints { specs, done } => {
                let changed = self.set_endpoints(&specs).await;
                self.publish.send_replace(self.status());
                let _ = done.send(changed);
            }
            Command::Eligibility { rules, done } => {
                let changed = self.set_eligibility(*rules).await;
                self.publish.send_replace(self.status());
                let _ = done.send(changed);
            }
            Command::Settings { settings, done } => {
                let way = |of: &ClusterSettings| (of.protocol, of.tls.clone(), of.proxy_protocol);
                if way(&settings) != way(&self.settings) {
                    self.prober.set_way(self.endpoints.check(), &settings, self.endpoints.all());
                }
                self.settings = ClusterSettings::clone(&settings);
                let mut changed = Ok(());
                for worker in &self.workers {
                    changed = changed.and(worker.update_cluster(Arc::clone(&self.name), self.settings.clone()).await);
                }
                let _ = done.send(changed);
            }
            Command::Remove { done } => {
                let mut removed = Ok(());
                for worker in &self.workers {
                    removed = removed.and(worker.remove_cluster(Arc::clone(&self.name)).await);
                }
                let _ = done.send(removed);
                return true;
            }
        }
        false
    }

    async fn roll_back(&mut self, to: Option<u64>, cause: &Cause) -> Result<RolledBack, Refusal> {
        let ended = if to.is_none() { self.supervisor.end_trial(cause).await } else { None };
        if ended.is_none() {
            self.supervisor.roll_back(to, cause).await?;
        }
        Ok((ended, self.supervisor.status().active.map(|active| active.number)))
    }

    async fn put_on_trial(&mut self, plugin: Plugin, spec: TrialSpec, cause: &Cause) -> Result<Swapped, Refusal> {
        let (policy, kind) =
            (Arc::clone(&plugin.name), if let TrialSpec::Shadow(_) = spec { "shadow" } else { "canary" });
        let result = self.supervisor.put_on_trial(plugin, spec, cause).await;
        match &result {
            Ok(tried) => {
                tracing::info!(cluster = %self.name, %policy, generation = tried.generation, kind, "policy on trial");
            }
            Err(refusal) => tracing::warn!(
                cluster = %self.name, %policy, kind, label = refusal.label(), "policy not tried: {refusal}"
            ),
        }
        result
    }

    async fn swap(&mut self, swap: Swap) -> Result<Swapped, Refusal> {
        let Swap { name, plugin, since, cause } = swap;
        let result = match plugin {
            Ok(plugin) => self.supervisor.swap(plugin, &cause).await,
            Err(refusal) => Err(self.supervisor.refuse(refusal)),
        };
        match &result {
            Ok(swapped) if swapped.unchanged => {
                tracing::debug!(cluster = %self.name, policy = %name, "the policy is the same as before");
            }
            Ok(swapped) => {
                let state = swapped.carried.as_ref().map(|carried| match carried {
                    Ok(()) => "carried over".to_owned(),
                    Err(reason) => format!("refused: {reason}"),
                });
                let ms = |time: std::time::Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
                tracing::info!(
                    cluster = %self.name, policy = %name, generation = swapped.generation,
                    load_ms = ms(swapped.load_time), swap_ms = ms(swapped.total_time),
                    since_change_ms = since.map(|since| ms(since.elapsed())),
                    pick_ns = swapped.rehearsal.as_ref().map(|rehearsal| rehearsal.pick_ns),
                    cached = swapped.cached, state, why = %cause.why, "policy in service"
                );
            }
            Err(refusal) => {
                let goes_on = self.supervisor.status().active.map_or("the native fallback".into(), |active| {
                    format!("{} (generation {})", active.spec.policy, active.number)
                });
                tracing::error!(
                    cluster = %self.name, policy = %name, label = refusal.label(),
                    "policy refused: {refusal}; {goes_on} goes on"
                );
            }
        }
        result
    }

    async fn set_endpoints(&mut self, specs: &[EndpointSpec]) -> Result<(), ControlError> {
        // A file that was saved again, or a name whose addresses are the same as before.
        if self.endpoints.all().iter().map(|endpoint| &endpoint.spec).eq(specs) {
            return Ok(());
        }
        self.endpoints.set(specs, self.clock.now());
        self.prober.set_endpoints(self.endpoints.all());
        self.show().await?;
        let (endpoints, shown) = (self.endpoints.all().len(), self.snapshot.endpoints().len());
        tracing::info!(cluster = %self.name, endpoints, shown, "endpoints changed");
        Ok(())
    }

    async fn set_eligibility(&mut self, rules: Eligibility) -> Result<(), ControlError> {
        let asks_anew = rules.health.as_ref() != self.endpoints.check();
        self.endpoints.set_rules(rules, self.clock.now());
        if asks_anew {
            self.prober.set_way(self.endpoints.check(), &self.settings, self.endpoints.all());
        }
        self.show().await
    }

    /// Something was found out about an endpoint.
    async fn learned(&mut self, changed: bool) {
        if changed && let Err(error) = self.show().await {
            // It is so at the very end only, and then nobody is left who would have to hear.
            tracing::debug!(cluster = %self.name, %error, "the workers don't hear of changed endpoints");
        }
    }

    /// Shows the workers who may be picked now, if that is different.
    async fn show(&mut self) -> Result<(), ControlError> {
        let next = self.endpoints.show(&self.snapshot, self.clock.now()).map(Arc::new);
        if let Some(next) = &next {
            self.snapshot = Arc::clone(next);
            self.supervisor.set_snapshot(Arc::clone(next));
        }
        self.views = self.endpoints.views(&self.snapshot);
        for worker in self.workers.iter().filter(|_| next.is_some()) {
            worker.set_endpoints(Arc::clone(&self.name), Arc::clone(&self.snapshot)).await?;
        }
        Ok(())
    }
}
