//! A worker's seat for a cluster's policy: where an instance sits, is called, timed, and replaced.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use sluicegate_core::{AttemptResult, ClusterSnapshot, EndpointId, ProbeResult};
use tokio::sync::mpsc;

use crate::{
    Clock, Fault, Needs, Reply, RequestHead, Saved,
    fallback::Fallback,
    generation::Instance,
    metrics::{FallbackMetrics, FallbackReason, GenerationMetrics},
    picks::Recorder,
    trial::{Draw, Trial},
};

mod looking;
mod on_trial;
mod orders;
#[cfg(test)]
mod tests;
mod ticks;

use orders::Order;
pub(crate) use orders::TrialEnded;
pub use orders::{Installed, Report, SeatHandle, WorkerGone};

/// The contract's answer for "the proxy may choose".
pub const DECLINE: u32 = u32::MAX;

/// Takes probes that the policy asks for: whom to ask, and how many more were asked for than may be in one call.
pub type Prober = Box<dyn Fn(&[EndpointId], u32)>;

/// An endpoint for a request.
#[derive(Debug)]
pub struct Picked {
    /// Its index in [`Seat::snapshot`]; [`DECLINE`] when the policy rejects the request.
    pub index: u32,
    /// The generation of the policy that chose; 0 when the fallback did.
    pub generation: u64,
    /// When the pick was done, on the data path's clock: where the attempt's own time begins.
    pub at: u64,
    /// What the pick cost, in nanoseconds.
    pub cost_ns: u64,
    /// What else the policy said, if it said anything.
    pub reply: Option<Box<Reply>>,
    /// What it had to do with a trial: to be given back with the result.
    pub draw: Draw,
}

impl Picked {
    /// Whether the policy turns the request away.
    fn is_rejected(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.rejection.is_some())
    }
}

/// The worker's end of a seat, to be [opened](Self::open) on the worker's thread.
#[derive(Debug)]
pub struct SeatInbox {
    worker: u32,
    seed: u64,
    clock: Clock,
    orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::Sender<Report>,
}

/// Both ends of a seat for `worker`. `reports` is where its faults go.
pub fn seat(worker: u32, seed: u64, clock: Clock, reports: mpsc::Sender<Report>) -> (SeatHandle, SeatInbox) {
    let (sender, orders) = mpsc::unbounded_channel();
    (SeatHandle::new(worker, sender), SeatInbox { worker, seed, clock, orders, reports })
}

impl SeatInbox {
    /// The seat, with nobody in it yet, and the task that takes in what the control side sends; it ends when the
    /// control side lets go of its handle.
    pub fn open(self, snapshot: Arc<ClusterSnapshot>) -> (Rc<RefCell<Seat>>, impl Future<Output = ()> + use<>) {
        let Self { worker, seed, clock, mut orders, reports } = self;
        let seat = Rc::new(RefCell::new(Seat {
            worker,
            seed: seed ^ u64::from(worker),
            trial: None,
            faults: 0,
            fallback: Fallback::new(seed ^ u64::from(worker)),
            fallback_metrics: FallbackMetrics::new(&snapshot.name),
            snapshot,
            occupant: None,
            metrics: None,
            clock,
            reports,
            prober: None,
            explains: false,
            recorder: None,
            tick_at: u64::MAX,
        }));
        let task = {
            let seat = Rc::clone(&seat);
            async move {
                loop {
                    let until_tick = seat.borrow().until_tick();
                    let order = tokio::select! {
                        order = orders.recv() => order,
                        () = ticks::wait(until_tick) => {
                            seat.borrow_mut().tick();
                            continue;
                        }
                    };
                    let Some(order) = order else { return };
                    seat.borrow_mut().obey(order);
                }
            }
        };
        (seat, task)
    }
}

/// One worker's place for one cluster's policy.
///
/// Nothing in here is shared with another thread: what comes from the control side is taken in between two
/// requests, so a request costs no lock, no reference count and not even a look at a version number.
pub struct Seat {
    worker: u32,
    snapshot: Arc<ClusterSnapshot>,
    occupant: Option<Instance>,
    /// A candidate beside it.
    trial: Option<Box<Trial>>,
    seed: u64,
    /// How many there were, ever.
    faults: u64,
    /// Of the last generation that sat here: faults are counted when their instance is gone already.
    metrics: Option<GenerationMetrics>,
    fallback: Fallback,
    fallback_metrics: FallbackMetrics,
    clock: Clock,
    reports: mpsc::Sender<Report>,
    prober: Option<Prober>,
    /// Whether the access log shows what the policy explains.
    explains: bool,
    /// The last picks, while somebody looks at them.
    recorder: Option<Box<Recorder>>,
    /// When the occupant's next tick is due; the end of time when it has none.
    tick_at: u64,
}

impl Seat {
    fn obey(&mut self, order: Order) {
        // A requester who no longer waits is no reason to fail.
        match order {
            Order::Install { instance, carry, done } => drop(done.send(self.install(*instance, carry))),
            Order::Remove { done } => {
                self.tick_at = u64::MAX;
                drop(done.send(self.occupant.take()));
            }
            Order::Save { done } => drop(done.send(self.save())),
            Order::Try { instance, mode, carry, done } => {
                drop(done.send(self.begin_trial(*instance, mode, carry)));
            }
            Order::Share { step, share, done } => {
                if let Some(trial) = &mut self.trial {
                    trial.set_share(step, share);
                }
                let _ = done.send(());
            }
            Order::Observe { done } => drop(done.send(self.tally())),
            Order::EndTrial { promote, done } => drop(done.send(self.end_trial(promote))),
            Order::Look { done } => drop(done.send(self.look())),
        }
    }

    /// Who can be picked; a pick's index counts in here.
    pub fn snapshot(&self) -> &Arc<ClusterSnapshot> {
        &self.snapshot
    }

    /// Whether anybody hears how requests went. If not, [`Self::hear`] does nothing.
    pub fn hears_results(&self) -> bool {
        self.trial.is_some() || self.occupant.as_ref().is_some_and(|occupant| occupant.exports.feedback)
    }

    /// Who carries out the probes that policies ask for, and whether somebody reads what they explain.
    pub fn serve(&mut self, prober: Prober, explains: bool) {
        self.prober = Some(prober);
        self.explains = explains;
    }

    /// What has to be done for the policy ahead of a pick.
    pub fn needs(&self) -> Needs {
        let needs = |instance: Option<&Instance>| instance.map_or(Needs::default(), |instance| instance.needs);
        let own = needs(self.occupant.as_ref());
        match &self.trial {
            None => own,
            Some(trial) => own.and(needs(trial.instance.as_ref())),
        }
    }

    /// Shows the policy other endpoints from now on.
    pub fn set_snapshot(&mut self, snapshot: Arc<ClusterSnapshot>) {
        self.snapshot = snapshot;
        if let Some(occupant) = &mut self.occupant {
            let start = self.clock.now();
            let result = occupant.endpoints_changed(start, Arc::clone(&self.snapshot));
            if let Some(metrics) = &self.metrics {
                metrics.endpoints_changed.record(self.clock.now().saturating_sub(start));
            }
            self.settle();
            if let Err(fault) = result {
                self.fault(fault);
            }
        }
        self.show_trial();
    }

    /// An endpoint for a request. `hash`: of what the route is keyed by, or 0. None only when the request has been to
    /// all endpoints there are.
    #[inline]
    pub fn pick(&mut self, hash: u64, request: &mut RequestHead) -> Option<Picked> {
        match (&self.trial, &self.recorder) {
            (None, None) => self.pick_seated(hash, request),
            _ => self.pick_watched(hash, request),
        }
    }

    fn pick_seated(&mut self, hash: u64, request: &mut RequestHead) -> Option<Picked> {
        let now = self.clock.now();
        let Some(occupant) = &mut self.occupant else {
            return self.fall_back(now, request, FallbackReason::NoPolicy);
        };
        if self.snapshot.endpoints().len() <= request.tried.len() && exhausted(&self.snapshot, request) {
            return None;
        }
        let answer = occupant.lane.pick(now, hash, request);
        let asking = occupant.uses.asking;
        let at = self.clock.now();
        let cost_ns = at.saturating_sub(now).saturating_sub(self.clock.overhead_ns());
        if let Some(metrics) = &self.metrics {
            metrics.pick.record(cost_ns);
        }
        let generation = occupant.generation.number;
        let mut reply = if asking { self.settle() } else { None };
        if let Some(reply) = &mut reply {
            reply.generation = generation;
        }
        let reason = match answer {
            Ok(_) if reply.as_ref().is_some_and(|reply| reply.rejection.is_some()) => {
                let draw = Draw::default();
                return Some(Picked { index: DECLINE, generation, at, cost_ns, draw, reply });
            }
            Ok(index) => match self.snapshot.get(index) {
                Some(endpoint) if request.tried.is_empty() || !request.tried.contains(&endpoint.id) => {
                    let draw = Draw::default();
                    return Some(Picked { index, generation, at, cost_ns, draw, reply });
                }
                Some(_) => FallbackReason::TriedAgain,
                None if index == DECLINE => FallbackReason::Declined,
                None => {
                    let count = self.snapshot.endpoints().len() as u32;
                    reply = None;
                    self.fault(Fault::BadIndex { index, count });
                    FallbackReason::Fault
                }
            },
            Err(fault) => {
                reply = None;
                self.fault(fault);
                FallbackReason::Fault
            }
        };
        self.fall_back(now, request, reason).map(|picked| Picked { reply, ..picked })
    }

    /// After a call of a policy that may have asked for something: what it was, of a pick.
    #[inline(never)]
    fn settle(&mut self) -> Option<Box<Reply>> {
        let occupant = self.occupant.as_mut().filter(|occupant| occupant.uses.asking)?;
        let asked = occupant.lane.asked();
        if !asked.probes.is_empty() {
            if let Some(prober) = &self.prober {
                prober(&asked.probes, asked.dropped_probes);
            }
            asked.probes.clear();
            asked.dropped_probes = 0;
        }
        let (reply, wrong) = (asked.reply.take(), asked.wrong.take());
        if let Some(wrong) = wrong {
            self.fault(wrong);
        }
        reply
    }

    #[cold]
    fn fall_back(&mut self, began: u64, request: &RequestHead, reason: FallbackReason) -> Option<Picked> {
        let index = self.fallback.pick(&self.snapshot, &request.tried)?;
        self.fallback_metrics.picked(reason);
        let at = self.clock.now();
        let (draw, reply) = (Draw::default(), None);
        Some(Picked { index, generation: 0, at, cost_ns: at.saturating_sub(began), draw, reply })
    }

    /// Tells the policy in the seat how an attempt went.
    fn on_result(&mut self, now: u64, result: &AttemptResult) {
        let Some(occupant) = &mut self.occupant else { return };
        if !occupant.exports.feedback {
            return;
        }
        let answer = occupant.lane.on_result(now, result);
        if let Some(metrics) = &self.metrics {
            metrics.on_result.record(self.clock.now().saturating_sub(now).saturating_sub(self.clock.overhead_ns()));
        }
        self.settle();
        if let Err(fault) = answer {
            self.fault(fault);
        }
    }

    /// Tells the policy what a probe came to, and a candidate beside it, whoever has asked for it.
    pub fn on_probe(&mut self, now: u64, probe: &ProbeResult) {
        self.on_probe_seated(now, probe);
        self.tell_candidate(|seat| seat.on_probe_seated(now, probe));
    }

    fn on_probe_seated(&mut self, now: u64, probe: &ProbeResult) {
        let Some(occupant) = self.occupant.as_mut().filter(|occupant| occupant.exports.probing) else { return };
        let answer = occupant.lane.on_probe(now, probe);
        if let Some(on_probe) = self.metrics.as_ref().and_then(|metrics| metrics.on_probe.as_ref()) {
            on_probe.record(self.clock.now().saturating_sub(now).saturating_sub(self.clock.overhead_ns()));
        }
        self.settle();
        if let Err(fault) = answer {
            self.fault(fault);
        }
    }

    #[cold]
    fn fault(&mut self, fault: Fault) {
        let Some(occupant) = &self.occupant else { return };
        if let Some(metrics) = &mut self.metrics {
            metrics.fault(&fault);
        }
        self.faults += 1;
        let generation = occupant.generation.number;
        if fault.is_fatal() {
            // Nobody sits here until the control side has built a new instance, off this thread.
            self.occupant = None;
            self.tick_at = u64::MAX;
        }
        self.report(generation, fault);
    }

    /// Tells the control side. A full channel means that it knows more than enough already: the counters have it all. But
    /// half of it is for faults that leave a seat empty, of which it has to know each.
    fn report(&self, generation: u64, fault: Fault) {
        if fault.is_fatal() || self.reports.capacity() > self.reports.max_capacity() / 2 {
            let at = self.clock.now();
            let _ = self.reports.try_send(Report { worker: self.worker, generation, fault, at });
        }
    }

    fn install(&mut self, mut instance: Instance, carry: bool) -> Result<Installed, Fault> {
        if instance.shown_generation() != self.snapshot.generation {
            instance.endpoints_changed(self.clock.now(), Arc::clone(&self.snapshot))?;
        }
        let saved = if carry && instance.exports.state { self.save() } else { None };
        let carried = match &saved {
            Some(saved) => Some(instance.carry(saved, &self.snapshot, self.clock.now())?),
            None => None,
        };
        if self.metrics.as_ref().is_none_or(|metrics| metrics.generation != instance.generation.number) {
            self.metrics = Some(GenerationMetrics::new(&instance.generation));
        }
        instance.lane.seated(self.worker, self.wants_explanations());
        let at = self.clock.now();
        self.tick_at = if instance.exports.timer { at } else { u64::MAX };
        let replaced = self.occupant.replace(instance);
        // What it asked for when it was shown the endpoints.
        self.settle();
        Ok(Installed { carried, at, _replaced: replaced })
    }

    fn save(&mut self) -> Option<Saved> {
        let occupant = self.occupant.as_mut().filter(|occupant| occupant.exports.state)?;
        match occupant.lane.save() {
            Ok(saved) => saved,
            Err(fault) => {
                self.fault(fault);
                None
            }
        }
    }
}

/// Whether a request has been everywhere.
fn exhausted(snapshot: &ClusterSnapshot, request: &RequestHead) -> bool {
    snapshot.endpoints().iter().all(|endpoint| request.tried.contains(&endpoint.id))
}
