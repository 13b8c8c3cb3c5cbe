//! Orders for a cluster's actor.

use std::{future::Future, sync::Arc, time::Instant};

use sluicegate_core::{ClusterSnapshot, EndpointSpec};
use sluicegate_policy::{Cause, Generation, Plugin, Refusal, SeatHandle, SeenPick, Supervisor, Swapped, TrialSpec};
use sluicegate_proxy::{ClusterLoad, ClusterSettings, ControlError};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Actor, ClusterStatus, Command, EVENTS, Event, Means, RolledBack, Swap};
use crate::{config::Eligibility, endpoints::Endpoints, probe::Prober};

/// Speaks to a cluster's actor.
#[derive(Clone, Debug)]
pub(crate) struct ClusterHandle {
    commands: mpsc::UnboundedSender<Command>,
    pub(crate) status: watch::Receiver<ClusterStatus>,
    seats: Arc<[SeatHandle]>,
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
        let Means { engine, clock, workers, seed, trust } = means;
        let (results, events) = mpsc::channel(EVENTS);
        let mut prober = Prober::new(clock, seed, results.clone());
        // A report that finds no room is made again when the endpoint has failed as often once more.
        let report = Arc::new(move |suspect| drop(results.try_send(Event::Suspected(suspect))));
        let mut endpoints = Endpoints::new(name, rules, report, clock.now());
        endpoints.set(specs, clock.now());
        let empty = ClusterSnapshot::empty(name);
        let snapshot = Arc::new(endpoints.show(&empty, clock.now()).unwrap_or(empty));
        let count = workers.len() as u32;
        let (mut supervisor, inboxes, reports) = Supervisor::new(engine, clock, Arc::clone(&snapshot), seed, count);
        // A key may be taken away from under what it has signed, which needs no file to serve again.
        let vet = move |generation: &Generation| trust.borrow().check_again(generation.spec.artifact.digest);
        supervisor.set_vetting(Arc::new(vet));
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
    pub(crate) fn set_policy(
        &self,
        name: Arc<str>,
        plugin: Result<Plugin, Refusal>,
        since: Option<Instant>,
        cause: Cause,
    ) -> impl Future<Output = Result<Swapped, Refusal>> + use<> {
        let swap = Box::new(Swap { name, plugin, since, cause });
        let answer = self.ask(|done| Command::Policy(swap, done));
        async move { answer.await.unwrap_or(Err(Refusal::ShuttingDown)) }
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

    pub(crate) fn set_endpoints(
        &self,
        specs: Vec<EndpointSpec>,
    ) -> impl Future<Output = Result<(), ControlError>> + use<> {
        let answer = self.ask(|done| Command::Endpoints { specs, done });
        async move { answer.await.unwrap_or(Err(ControlError::WorkerGone)) }
    }

    pub(crate) async fn set_eligibility(&self, rules: Eligibility) -> Result<(), ControlError> {
        self.ask(|done| Command::Eligibility { rules: rules.into(), done })
            .await
            .unwrap_or(Err(ControlError::WorkerGone))
    }

    pub(crate) fn set_settings(
        &self,
        settings: ClusterSettings,
    ) -> impl Future<Output = Result<(), ControlError>> + use<> {
        let answer = self.ask(|done| Command::Settings { settings: settings.into(), done });
        async move { answer.await.unwrap_or(Err(ControlError::WorkerGone)) }
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

    /// Gives an order at once, so that orders come in the order of these calls, whoever waits for the answers and when.
    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> oneshot::Receiver<T> {
        let (done, answer) = oneshot::channel();
        // Without an actor nobody holds the other end, and the answer is that there is none.
        let _ = self.commands.send(command(done));
        answer
    }
}
