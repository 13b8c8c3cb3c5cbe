//! A seat with a candidate beside the policy that serves.

use std::sync::Arc;

use sluicegate_core::AttemptResult;

use super::{Installed, Picked, Seat, TrialEnded};
use crate::{
    Fault, Instance, RequestHead,
    trial::{Draw, Tally, Trial, TrialMode},
};

impl Seat {
    /// A pick while there is a trial. Whatever the candidate does, the request is served as if it had been the active
    /// policy's: by the seat's own rules.
    pub(super) fn pick_on_trial(&mut self, hash: u64, request: &mut RequestHead) -> Option<Picked> {
        let Some(mut trial) = self.trial.take() else { return self.pick_seated(hash, request) };
        let first = request.tried.is_empty();
        let mut draw = Draw { generation: trial.generation, step: trial.step, first, ..Draw::default() };
        let picked = match trial.mode {
            TrialMode::Canary { .. } => {
                // A request stays with whom it was drawn for.
                draw.candidate = if first { trial.draw(hash) } else { request.drawn_for == trial.generation };
                let picked = if draw.candidate {
                    request.drawn_for = trial.generation;
                    self.as_candidate(&mut trial, |seat| seat.pick_seated(hash, request))
                } else {
                    self.pick_seated(hash, request)
                };
                // No attempt comes of it, whose result could be counted.
                if first && picked.as_ref().is_some_and(Picked::is_rejected) {
                    trial.count_rejection(draw.candidate);
                }
                picked
            }
            TrialMode::Shadow { .. } => {
                let picked = self.pick_seated(hash, request);
                picked.map(|picked| {
                    draw.shadowed = trial.draw(hash);
                    if draw.shadowed { self.shadow(&mut trial, hash, request, picked) } else { picked }
                })
            }
        };
        self.trial = Some(trial);
        picked.map(|mut picked| {
            picked.draw = draw;
            if let Some(reply) = &mut picked.reply {
                reply.draw = draw.again();
            }
            picked
        })
    }

    /// Puts the candidate into the seat for one call.
    fn as_candidate<T>(&mut self, trial: &mut Trial, call: impl FnOnce(&mut Self) -> T) -> T {
        self.change_places(trial);
        let faults = self.faults;
        let answer = call(self);
        if self.faults != faults {
            trial.count_fault();
        }
        self.change_places(trial);
        answer
    }

    fn change_places(&mut self, trial: &mut Trial) {
        std::mem::swap(&mut self.occupant, &mut trial.instance);
        std::mem::swap(&mut self.metrics, &mut trial.metrics);
        std::mem::swap(&mut self.tick_at, &mut trial.tick_at);
    }

    /// Calls the candidate in the seat, if there is one.
    pub(super) fn tell_candidate(&mut self, call: impl FnOnce(&mut Self)) {
        if let Some(mut trial) = self.trial.take() {
            self.as_candidate(&mut trial, call);
            self.trial = Some(trial);
        }
    }

    /// Asks the candidate what it would have picked.
    fn shadow(&mut self, trial: &mut Trial, hash: u64, request: &mut RequestHead, picked: Picked) -> Picked {
        let Some(candidate) = &mut trial.instance else { return picked };
        let start = self.clock.now();
        let answer = candidate.lane.pick(start, hash, request);
        let at = self.clock.now();
        let cost_ns = at.saturating_sub(start).saturating_sub(self.clock.overhead_ns());
        trial.cost(cost_ns);
        if let Some(metrics) = &trial.metrics {
            metrics.pick.record(cost_ns);
        }
        let fault = match answer {
            Ok(index) => trial.compare(&self.snapshot, &request.tried, picked.index, index),
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            self.trial_fault(trial, fault);
        }
        // What it says beside its answer is not used; what it wants to know, it may find out.
        if trial.instance.as_ref().is_some_and(|candidate| candidate.uses.asking) {
            self.as_candidate(trial, |seat| drop(seat.settle()));
        }
        // The attempt's own time begins after it.
        Picked { at, ..picked }
    }

    fn trial_fault(&self, trial: &mut Trial, fault: Fault) {
        trial.fault(&fault);
        self.report(trial.generation, fault);
    }

    /// Tells those whom it concerns how an attempt went. A shadow hears of the requests that it was asked about, which
    /// went where the active policy sent them.
    pub fn hear(&mut self, now: u64, draw: Draw, result: &AttemptResult) {
        if draw.generation == 0 {
            return self.on_result(now, result);
        }
        let Some(mut trial) = self.trial.take_if(|trial| trial.generation == draw.generation) else {
            // The trial is over: whoever sits here now hears of what it was asked about, and of nothing else.
            let was_asked = match self.generation() == draw.generation {
                true => draw.candidate || draw.shadowed,
                false => !draw.candidate,
            };
            if was_asked {
                self.on_result(now, result);
            }
            return;
        };
        let is_canary = matches!(trial.mode, TrialMode::Canary { .. });
        if is_canary && draw.first && draw.step == trial.step {
            trial.take_in(draw.candidate, result);
        }
        if draw.candidate {
            self.as_candidate(&mut trial, |seat| seat.on_result(now, result));
        } else {
            self.on_result(now, result);
        }
        if let Some(candidate) = &mut trial.instance
            && draw.shadowed
            && candidate.exports.feedback
            && let Err(fault) = candidate.lane.on_result(now, result)
        {
            self.trial_fault(&mut trial, fault);
        }
        if draw.shadowed {
            self.as_candidate(&mut trial, |seat| drop(seat.settle()));
        }
        self.trial = Some(trial);
    }

    fn generation(&self) -> u64 {
        self.occupant.as_ref().map_or(0, |occupant| occupant.generation.number)
    }

    /// Begins a trial, or gives the one under way a new instance, which starts fresh. `carry`: with a copy of the state of
    /// whoever sits here.
    pub(super) fn begin_trial(
        &mut self,
        mut instance: Instance,
        mode: TrialMode,
        carry: bool,
    ) -> Result<Installed, Fault> {
        if instance.shown_generation() != self.snapshot.generation {
            instance.endpoints_changed(self.clock.now(), Arc::clone(&self.snapshot))?;
        }
        let is_under_way = self.trial.as_ref().is_some_and(|trial| trial.generation == instance.generation.number);
        let saved = if carry && !is_under_way && instance.exports.state { self.save() } else { None };
        let carried = match &saved {
            Some(saved) => Some(instance.carry(saved, &self.snapshot, self.clock.now())?),
            None => None,
        };
        let explains = self.wants_explanations();
        match mode {
            TrialMode::Canary { .. } => instance.lane.seated_beside(self.worker, explains),
            // No request is its own yet: what it counts would be added to what the active policy does.
            TrialMode::Shadow { .. } => instance.lane.wants_explanations(explains),
        }
        let at = self.clock.now();
        let tick_at = if instance.exports.timer { at } else { u64::MAX };
        let replaced = match self.trial.as_mut().filter(|_| is_under_way) {
            Some(trial) => {
                trial.tick_at = tick_at;
                trial.instance.replace(instance)
            }
            None => {
                let mut trial = Trial::new(instance, mode, self.seed);
                trial.tick_at = tick_at;
                trial.see(&self.snapshot);
                self.trial.replace(Box::new(trial)).and_then(|before| before.instance)
            }
        };
        self.tell_candidate(|seat| drop(seat.settle()));
        Ok(Installed { carried, at, _replaced: replaced })
    }

    /// Ends the trial. The candidate takes the seat if it is to be promoted and is alive.
    pub(super) fn end_trial(&mut self, promote: bool) -> TrialEnded {
        let Some(mut trial) = self.trial.take() else { return TrialEnded { promoted: false, _left: None } };
        let Some(mut candidate) = trial.instance.take_if(|_| promote) else {
            return TrialEnded { promoted: false, _left: trial.instance };
        };
        // What it counts from now on is the active policy's.
        candidate.lane.seated(self.worker, self.wants_explanations());
        self.metrics = trial.metrics;
        self.tick_at = trial.tick_at;
        TrialEnded { promoted: true, _left: self.occupant.replace(candidate) }
    }

    pub(super) fn tally(&self) -> Option<Tally> {
        self.trial.as_ref().map(|trial| trial.tally())
    }

    pub(super) fn show_trial(&mut self) {
        let Some(mut trial) = self.trial.take() else { return };
        if let Err(fault) = trial.set_snapshot(self.clock.now(), &self.snapshot) {
            self.trial_fault(&mut trial, fault);
        }
        self.as_candidate(&mut trial, |seat| drop(seat.settle()));
        self.trial = Some(trial);
    }
}
