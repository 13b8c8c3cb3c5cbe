//! A cluster's actor: the one task that changes this cluster, so that changes come one after the other. A slow compile holds
//! up no other cluster, and of its own only what is to be changed after it.

mod handle;

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use sluicegate_core::{ClusterSnapshot, EndpointSpec, Level, Suspect};
use sluicegate_policy::{
    Cause, Clock, Engine, Loaded, Plugin, Refusal, Report, Supervisor, SupervisorStatus, Swapped, TrialSpec,
};
use sluicegate_proxy::{ClusterSettings, ControlError, WorkerHandle};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};

pub(crate) use handle::ClusterHandle;

use crate::{
    config::Eligibility,
    endpoints::{EndpointView, Endpoints},
    probe::{Probed, Prober},
    trust::Trust,
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

/// A command that waits for a policy's code. Nobody else waits for it.
struct Loading {
    code: Pin<Box<dyn Future<Output = Result<Loaded, Refusal>> + Send>>,
    command: Command,
}

/// The candidate whose trial was ended, if that was all, and the generation that serves now.
type RolledBack = (Option<u64>, Option<u64>);

/// What an actor works with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Clock,
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) seed: u64,
    /// Who may have signed a policy.
    pub(crate) trust: watch::Receiver<Trust>,
}

/// Waits for the code that is loading, if any is.
async fn loaded(loading: &mut Option<Loading>) -> Result<Loaded, Refusal> {
    match loading {
        Some(loading) => loading.code.as_mut().await,
        None => pending().await,
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
        let (mut found, mut loading) = (Vec::new(), None);
        loop {
            tokio::select! {
                // Faults first: what is broken is mended before it is changed.
                biased;
                Some(report) = reports.recv() => self.supervisor.handle(report, SystemTime::now()).await,
                loaded = loaded(&mut loading) => {
                    if let Some(Loading { command, .. }) = loading.take() {
                        self.obey(command, Some(loaded)).await;
                    }
                }
                // One after the other, as they change the same.
                command = commands.recv(), if loading.is_none() => match command {
                    Some(command) => match self.load(&command) {
                        Some(code) => loading = Some(Loading { code: Box::pin(code), command }),
                        None if self.obey(command, None).await => return,
                        None => {}
                    },
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

    /// Begins to load the code that a command needs, if it needs any.
    fn load(&self, command: &Command) -> Option<impl Future<Output = Result<Loaded, Refusal>> + Send + use<>> {
        match command {
            Command::Policy(swap, _) => swap.plugin.as_ref().ok().map(|plugin| self.supervisor.load(plugin)),
            Command::Try { plugin, .. } => Some(self.supervisor.load(plugin)),
            _ => None,
        }
    }

    /// Does as told; says whether that was the last thing. `loaded`: the code that it needs, if it needs any.
    async fn obey(&mut self, command: Command, loaded: Option<Result<Loaded, Refusal>>) -> bool {
        let loaded = loaded.unwrap_or(Err(Refusal::ShuttingDown));
        // Whoever asked may have stopped waiting, so that answers may find nobody.
        match command {
            Command::Policy(swap, done) => {
                let swapped = self.swap(*swap, loaded).await;
                self.publish.send_replace(self.status());
                let _ = done.send(swapped);
            }
            Command::Try { plugin, spec, cause, done } => {
                let tried = self.put_on_trial((plugin, loaded), *spec, &cause).await;
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

    async fn put_on_trial(
        &mut self,
        (plugin, loaded): (Plugin, Result<Loaded, Refusal>),
        spec: TrialSpec,
        cause: &Cause,
    ) -> Result<Swapped, Refusal> {
        let (policy, kind) =
            (Arc::clone(&plugin.name), if let TrialSpec::Shadow(_) = spec { "shadow" } else { "canary" });
        let result = self.supervisor.put_loaded_on_trial(plugin, loaded, spec, cause).await;
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

    async fn swap(&mut self, swap: Swap, loaded: Result<Loaded, Refusal>) -> Result<Swapped, Refusal> {
        let Swap { name, plugin, since, cause } = swap;
        let result = match plugin {
            Ok(plugin) => self.supervisor.swap_loaded(plugin, loaded, &cause).await,
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
