//! Candidates on trial: shadows and canaries.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use sluicegate_core::{Canary, CanarySpec, CanaryVerdict};

use super::{Loaded, Supervisor, Swapped, TrialStatus, faults::RecentFaults, off_thread};
use crate::{
    Cause, Generation, Plugin, Refusal, Report,
    history::{Change, Event, Times},
    metrics::TrialMetrics,
    trial::{Tally, TrialMode},
};

/// How a candidate is to be tried.
#[derive(Clone, Debug, PartialEq)]
pub enum TrialSpec {
    /// Beside the active policy, for this share of the requests (from 0 to 1).
    Shadow(f64),
    /// In its place, for a growing share.
    Canary(CanarySpec),
}

/// The control side of a trial.
pub(super) struct Trial {
    generation: Arc<Generation>,
    since: SystemTime,
    mode: TrialMode,
    canary: Option<Canary>,
    tally: Tally,
    recent: RecentFaults,
    /// How often it faulted, ever.
    faults: u64,
    metrics: TrialMetrics,
}

impl Trial {
    pub(super) fn status(&self) -> TrialStatus {
        let share = match self.mode {
            TrialMode::Shadow { share } | TrialMode::Canary { share, .. } => share,
        };
        TrialStatus {
            generation: Arc::clone(&self.generation),
            since: self.since,
            share,
            canary: self.canary.as_ref().map(|canary| (canary.spec().clone(), canary.step())),
            tally: self.tally.clone(),
            faults: self.faults,
        }
    }

    pub(super) fn is_of(&self, generation: u64) -> bool {
        self.generation.number == generation
    }
}

impl Supervisor {
    /// Whether [`Self::tick`] has something to look after.
    pub fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// Puts a candidate on trial: compiled, inspected and rehearsed like one that is to serve. It takes the place of a
    /// candidate before it.
    pub async fn put_on_trial(&mut self, plugin: Plugin, spec: TrialSpec, cause: &Cause) -> Result<Swapped, Refusal> {
        let loaded = self.load(&plugin).await;
        self.put_loaded_on_trial(plugin, loaded, spec, cause).await
    }

    /// The same with code that has been loaded already, or could not be.
    pub async fn put_loaded_on_trial(
        &mut self,
        plugin: Plugin,
        loaded: Result<Loaded, Refusal>,
        spec: TrialSpec,
        cause: &Cause,
    ) -> Result<Swapped, Refusal> {
        let result = match loaded {
            Ok(loaded) => self.try_put_on_trial(plugin, loaded, spec, cause).await,
            Err(refusal) => Err(refusal),
        };
        self.metrics.ended(result.as_ref().map_or_else(Refusal::label, |_| "on_trial"));
        self.last_refusal = result.as_ref().err().map(ToString::to_string);
        result
    }

    async fn try_put_on_trial(
        &mut self,
        plugin: Plugin,
        loaded: Loaded,
        spec: TrialSpec,
        cause: &Cause,
    ) -> Result<Swapped, Refusal> {
        let Loaded { artifact, time: load } = loaded;
        let start = Instant::now();
        if self.active.is_none() {
            return Err(Refusal::NothingToCompare);
        }
        if self.active.as_ref().is_some_and(|active| active.is_same(&artifact, &plugin.config)) {
            return Err(Refusal::SameAsActive);
        }
        let cached = artifact.cached;
        let (candidate, saved) = self.candidate(&plugin, artifact, Generation::beside).await?;
        let rehearsed = Instant::now();
        let (instances, rehearsal) = self.prepare(&candidate, saved).await?;
        let rehearse = rehearsed.elapsed();
        self.numbers += 1;
        let replaced = format!("another candidate, generation {}, takes its place", candidate.number);
        self.end_trial(&Cause { why: replaced.into(), at: cause.at }).await;
        let now = self.clock.now();
        let (mode, canary, event) = match spec {
            TrialSpec::Shadow(share) => (TrialMode::Shadow { share }, None, Event::ShadowStarted),
            TrialSpec::Canary(spec) => {
                let by_hash = spec.by_hash;
                let canary = Canary::new(spec, now);
                (TrialMode::Canary { share: canary.share(), by_hash }, Some(canary), Event::CanaryStarted)
            }
        };
        let switched = Instant::now();
        let refused = rehearsal.restored.clone().filter(Result::is_err);
        let carry = refused.is_none();
        let orders: Vec<_> =
            self.seats.iter().zip(instances).map(|(seat, it)| seat.put_on_trial(it, mode, carry)).collect();
        let carried = match super::all_installed(orders).await {
            Ok(carried) => carried.or(refused),
            Err(refusal) => {
                self.empty_trial_seats().await;
                return Err(refusal);
            }
        };
        let times = Times { load, rehearse, switch: switched.elapsed() };
        let change = Change::new(event, cause, Some(&candidate));
        self.history.add(Change { carried: carried.clone(), times, ..change });
        let generation = candidate.number;
        self.trial = Some(Trial {
            metrics: TrialMetrics::new(&candidate),
            generation: candidate,
            since: cause.at,
            mode,
            canary,
            tally: Tally::default(),
            recent: RecentFaults::default(),
            faults: 0,
        });
        let (load_time, total_time) = (load, load + start.elapsed());
        let rehearsal = Some(rehearsal);
        Ok(Swapped { generation, unchanged: false, carried, rehearsal, cached, load_time, total_time })
    }

    /// The candidate serves all requests from now on, with what it has learnt, and without a compile. Its number.
    pub async fn promote(&mut self, cause: &Cause) -> Result<u64, Refusal> {
        let Some(trial) = &self.trial else { return Err(Refusal::NoTrial) };
        if let Err(refusal) = self.vet(&trial.generation) {
            self.end_trial(&Cause { why: format!("it can't be promoted: {refusal}").into(), at: cause.at }).await;
            return Err(refusal);
        }
        let Some(trial) = self.trial.take() else { return Err(Refusal::NoTrial) };
        let (start, candidate) = (Instant::now(), Arc::clone(&trial.generation));
        for index in 0..self.seats.len() {
            let seat = self.seats[index].clone();
            if seat.end_trial(true).await.map_err(|_| Refusal::ShuttingDown)?.promoted {
                continue;
            }
            // It died there a moment ago.
            let installed = match self.instance(&candidate, seat.worker()).await {
                Ok(instance) => seat.install(instance, true).await.map_err(|_| Refusal::ShuttingDown)?,
                Err(refusal) => {
                    self.undo_promotion(cause, &candidate).await;
                    return Err(refusal);
                }
            };
            if let Err(fault) = installed {
                self.undo_promotion(cause, &candidate).await;
                return Err(fault.into());
            }
        }
        let times = Times { switch: start.elapsed(), ..Times::default() };
        self.history.add(Change { times, ..Change::new(Event::Promoted, cause, Some(&candidate)) });
        self.metrics.ended("promoted");
        let generation = candidate.number;
        tracing::info!(
            cluster = %self.cluster, policy = %candidate.spec.policy, generation, why = %cause.why, "policy promoted"
        );
        self.take_over(candidate);
        Ok(generation)
    }

    async fn undo_promotion(&mut self, cause: &Cause, candidate: &Generation) {
        self.empty_trial_seats().await;
        self.restore_active().await;
        self.history.add(Change::new(Event::CanaryRolledBack, cause, Some(candidate)));
    }

    /// Ends the trial, if there is one: the active policy has all requests again. The candidate's number.
    pub async fn end_trial(&mut self, cause: &Cause) -> Option<u64> {
        let trial = self.trial.take()?;
        self.empty_trial_seats().await;
        let event = if trial.canary.is_some() { Event::CanaryRolledBack } else { Event::ShadowEnded };
        self.metrics.ended(event.label());
        let (generation, policy) = (trial.generation.number, &trial.generation.spec.policy);
        tracing::info!(cluster = %self.cluster, %policy, generation, why = %cause.why, "{}", event.label());
        self.history.add(Change::new(event, cause, Some(&trial.generation)));
        Some(generation)
    }

    async fn empty_trial_seats(&self) {
        for seat in &self.seats {
            // A worker that is gone tries nothing.
            let _ = seat.end_trial(false).await;
        }
    }

    /// Looks at the trial under way: to be called about once a second. `at` is for the history.
    pub async fn tick(&mut self, at: SystemTime) {
        if self.trial.is_none() {
            return;
        }
        let mut tally = Tally::default();
        for seat in &self.seats {
            if let Ok(Some(of_worker)) = seat.observe().await {
                tally.merge(&of_worker);
            }
        }
        let now = self.clock.now();
        let Some(trial) = &mut self.trial else { return };
        trial.tally = tally;
        trial.metrics.show(&trial.tally);
        let Some(canary) = &mut trial.canary else { return };
        let verdict = canary.judge(now, &trial.tally.active, &trial.tally.candidate);
        match verdict {
            CanaryVerdict::Hold => {}
            CanaryVerdict::Next => self.next_step(at).await,
            CanaryVerdict::Promote => {
                let cause = Cause { why: "the canary's plan is done".into(), at };
                if let Err(refusal) = self.promote(&cause).await {
                    tracing::error!(cluster = %self.cluster, %refusal, "the candidate could not be promoted");
                }
            }
            CanaryVerdict::Worse(finding) => {
                tracing::error!(cluster = %self.cluster, "the canary is worse, and rolled back: {finding}");
                self.end_trial(&Cause { why: format!("it is worse: {finding}").into(), at }).await;
            }
        }
    }

    async fn next_step(&mut self, at: SystemTime) {
        let Some(trial) = &mut self.trial else { return };
        let Some(canary) = &trial.canary else { return };
        let (share, step) = (canary.share(), canary.step() as u32);
        if let TrialMode::Canary { share: now, .. } = &mut trial.mode {
            *now = share;
        }
        trial.metrics.step_is_over(&trial.tally);
        trial.tally = Tally { faults: trial.tally.faults, ..Tally::default() };
        for seat in &self.seats {
            // A worker that is gone tries nothing.
            let _ = seat.set_share(step, share).await;
        }
        let why = format!("step {}: {} % of the requests", step + 1, share * 100.0).into();
        let generation = trial.generation.number;
        tracing::info!(cluster = %self.cluster, generation, share_percent = share * 100.0, "canary advanced");
        self.history.add(Change::new(Event::CanaryAdvanced, &Cause { why, at }, Some(&trial.generation)));
    }

    /// Takes in a candidate's fault: a new instance in place of one that died, or the end of the trial when there are
    /// too many.
    pub(super) async fn trial_faulted(&mut self, report: &Report, at: SystemTime) {
        let Report { worker, fault, at: faulted_at, .. } = report;
        let (worker, limits) = (*worker, self.engine.limits().clone());
        let Some(trial) = &mut self.trial else { return };
        trial.faults += 1;
        let recent = trial.recent.add(*faulted_at, limits.fault_window);
        let (candidate, mode) = (Arc::clone(&trial.generation), trial.mode);
        let (policy, generation) = (&candidate.spec.policy, candidate.number);
        tracing::warn!(cluster = %self.cluster, %policy, generation, worker, label = fault.label(), "candidate's fault: {fault}");
        if recent >= limits.faults {
            let why = format!("{recent} faults, the last one: {fault}").into();
            self.end_trial(&Cause { why, at }).await;
        } else if fault.is_fatal() {
            let made = self.instance(&candidate, worker).await;
            let seat = self.seats.iter().find(|seat| seat.worker() == worker);
            let put = match (made, seat) {
                (Ok(instance), Some(seat)) => matches!(seat.put_on_trial(instance, mode, false).await, Ok(Ok(_))),
                _ => false,
            };
            if !put {
                self.end_trial(&Cause { why: format!("it can't be built again after: {fault}").into(), at }).await;
            }
        }
    }

    /// One instance, made off the workers.
    pub(super) async fn instance(&self, generation: &Arc<Generation>, worker: u32) -> Result<crate::Instance, Refusal> {
        let (engine, clock, snapshot) = (Arc::clone(&self.engine), self.clock, Arc::clone(&self.snapshot));
        let generation = Arc::clone(generation);
        off_thread(move || generation.instance(&engine, worker, snapshot, clock.now())).await
    }
}
