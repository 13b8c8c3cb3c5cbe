//! A seat whose picks somebody looks at.

use super::{Picked, Seat};
use crate::{
    RequestHead,
    picks::{Recorder, SeenPick},
};

impl Seat {
    /// What was picked since somebody has looked first; from now on, or for a while longer, picks are recorded.
    pub(super) fn look(&mut self) -> Vec<SeenPick> {
        let now = self.clock.now();
        if let Some(recorder) = &mut self.recorder {
            return recorder.look(now);
        }
        self.recorder = Some(Box::new(Recorder::new(now)));
        self.say_whether_somebody_reads();
        Vec::new()
    }

    /// Whether explanations go anywhere.
    pub(super) fn wants_explanations(&self) -> bool {
        self.explains || self.recorder.is_some()
    }

    fn say_whether_somebody_reads(&mut self) {
        let wanted = self.wants_explanations();
        let candidate = self.trial.as_mut().and_then(|trial| trial.instance.as_mut());
        for instance in self.occupant.as_mut().into_iter().chain(candidate) {
            instance.lane.wants_explanations(wanted);
        }
    }

    /// A pick while there is a trial, or somebody who looks.
    #[inline(never)]
    pub(super) fn pick_watched(&mut self, hash: u64, request: &mut RequestHead) -> Option<Picked> {
        let attempt = request.tried.len() as u32;
        let picked = match self.trial {
            None => self.pick_seated(hash, request),
            Some(_) => self.pick_on_trial(hash, request),
        };
        if self.recorder.is_some() {
            self.record(hash, attempt, picked.as_ref());
        }
        picked
    }

    fn record(&mut self, hash: u64, attempt: u32, picked: Option<&Picked>) {
        let reply = picked.and_then(|picked| picked.reply.as_deref());
        let endpoint = picked.and_then(|picked| self.snapshot.get(picked.index));
        let seen = SeenPick {
            at: picked.map_or_else(|| self.clock.now(), |picked| picked.at),
            worker: self.worker,
            generation: picked.map_or(0, |picked| picked.generation),
            candidate: picked.is_some_and(|picked| picked.draw.candidate),
            attempt,
            hash,
            endpoint: endpoint.map(|endpoint| endpoint.name.clone()),
            rejected: reply.and_then(|reply| reply.rejection.as_ref()).map(|rejection| rejection.status),
            cost_ns: picked.map_or(0, |picked| picked.cost_ns),
            explanation: reply.and_then(|reply| reply.explanation.clone()),
        };
        let Some(recorder) = &mut self.recorder else { return };
        if !recorder.record(seen) {
            self.recorder = None;
            self.say_whether_somebody_reads();
        }
    }
}
