//! A cluster's actor: the one task that changes this cluster, so that changes come one after the other, while a slow
//! compile for one cluster holds up no other.

use std::{sync::Arc, time::Instant};

use sluicegate_core::{ClusterSnapshot, EndpointSpec, LiveArena};
use sluicegate_policy::{Clock, Engine, Plugin, Refusal, Report, Supervisor, SupervisorStatus, Swapped};
use sluicegate_proxy::{ClusterSettings, ControlError, WorkerHandle};
use tokio::sync::{mpsc, oneshot, watch};

/// What is known of a cluster at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ClusterStatus {
    pub(crate) snapshot: Arc<ClusterSnapshot>,
    pub(crate) policy: SupervisorStatus,
}

enum Command {
    Policy { plugin: Plugin, since: Option<Instant>, done: oneshot::Sender<Result<Swapped, Refusal>> },
    Endpoints { specs: Vec<EndpointSpec>, done: oneshot::Sender<Result<(), ControlError>> },
    Settings { settings: ClusterSettings, done: oneshot::Sender<Result<(), ControlError>> },
    Remove { done: oneshot::Sender<Result<(), ControlError>> },
}

/// Speaks to a cluster's actor.
#[derive(Clone, Debug)]
pub(crate) struct ClusterHandle {
    commands: mpsc::UnboundedSender<Command>,
    pub(crate) status: watch::Receiver<ClusterStatus>,
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
        settings: ClusterSettings,
        means: Means,
    ) -> Result<Self, ControlError> {
        let mut arena = LiveArena::default();
        let snapshot = Arc::new(ClusterSnapshot::empty(name).next(specs, &mut arena, means.clock.now()));
        let Means { engine, clock, workers, seed } = means;
        let count = workers.len() as u32;
        let (supervisor, inboxes, reports) = Supervisor::new(engine, clock, Arc::clone(&snapshot), seed, count);
        for (worker, inbox) in workers.iter().zip(inboxes) {
            worker.add_cluster(name.into(), settings.clone(), Arc::clone(&snapshot), inbox).await?;
        }
        let (commands, inbox) = mpsc::unbounded_channel();
        let (publish, status) =
            watch::channel(ClusterStatus { snapshot: Arc::clone(&snapshot), policy: supervisor.status() });
        let actor = Actor { name: name.into(), workers, clock, arena, snapshot, supervisor, publish };
        tokio::spawn(actor.run(inbox, reports));
        Ok(Self { commands, status })
    }

    /// Swaps the policy. `since`: when its file changed.
    pub(crate) async fn set_policy(&self, plugin: Plugin, since: Option<Instant>) -> Result<Swapped, Refusal> {
        let swapped = self.ask(|done| Command::Policy { plugin, since, done }).await;
        swapped.unwrap_or(Err(Refusal::ShuttingDown))
    }

    pub(crate) async fn set_endpoints(&self, specs: Vec<EndpointSpec>) -> Result<(), ControlError> {
        self.ask(|done| Command::Endpoints { specs, done }).await.unwrap_or(Err(ControlError::WorkerGone))
    }

    pub(crate) async fn set_settings(&self, settings: ClusterSettings) -> Result<(), ControlError> {
        self.ask(|done| Command::Settings { settings, done }).await.unwrap_or(Err(ControlError::WorkerGone))
    }

    /// Takes the cluster away from the workers, which no route may lead to any more.
    pub(crate) async fn remove(&self) -> Result<(), ControlError> {
        self.ask(|done| Command::Remove { done }).await.unwrap_or(Err(ControlError::WorkerGone))
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
    arena: LiveArena,
    snapshot: Arc<ClusterSnapshot>,
    supervisor: Supervisor,
    publish: watch::Sender<ClusterStatus>,
}

impl Actor {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>, mut reports: mpsc::Receiver<Report>) {
        loop {
            tokio::select! {
                // Faults first: what is broken is mended before it is changed.
                biased;
                Some(report) = reports.recv() => self.supervisor.handle(report).await,
                command = commands.recv() => match command {
                    Some(command) => {
                        if self.obey(command).await {
                            return;
                        }
                    }
                    None => return,
                },
            }
            self.publish.send_replace(self.status());
        }
    }

    fn status(&self) -> ClusterStatus {
        ClusterStatus { snapshot: Arc::clone(&self.snapshot), policy: self.supervisor.status() }
    }

    /// Does as told; says whether that was the last thing.
    async fn obey(&mut self, command: Command) -> bool {
        // Whoever asked may have stopped waiting, so that answers may find nobody.
        match command {
            Command::Policy { plugin, since, done } => {
                let swapped = self.swap(plugin, since).await;
                self.publish.send_replace(self.status());
                let _ = done.send(swapped);
            }
            Command::Endpoints { specs, done } => {
                let changed = self.set_endpoints(&specs).await;
                self.publish.send_replace(self.status());
                let _ = done.send(changed);
            }
            Command::Settings { settings, done } => {
                let mut changed = Ok(());
                for worker in &self.workers {
                    changed = changed.and(worker.update_cluster(Arc::clone(&self.name), settings.clone()).await);
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

    async fn swap(&mut self, plugin: Plugin, since: Option<Instant>) -> Result<Swapped, Refusal> {
        let name = Arc::clone(&plugin.name);
        let result = self.supervisor.swap(plugin).await;
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
                    cached = swapped.cached, state, "policy in service"
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
        if self.snapshot.endpoints().iter().map(|endpoint| &endpoint.spec).eq(specs) {
            return Ok(());
        }
        let next = Arc::new(self.snapshot.next(specs, &mut self.arena, self.clock.now()));
        self.supervisor.set_snapshot(Arc::clone(&next));
        self.snapshot = next;
        for worker in &self.workers {
            worker.set_endpoints(Arc::clone(&self.name), Arc::clone(&self.snapshot)).await?;
        }
        tracing::info!(cluster = %self.name, endpoints = self.snapshot.endpoints().len(), "endpoints changed");
        Ok(())
    }
}
