//! A generation: one policy, from one file, with one configuration, and the instances made of it.

use std::{sync::Arc, time::Duration};

use metrics::Label;
use sluicegate_core::{AttemptResult, ClusterSnapshot, Outcome, ProbeResult, Rng};

use crate::{
    Artifact, Asked, Clock, DECLINE, Engine, Exports, Fault, Lane, Needs, Refusal, RequestHead, Saved, Uses,
    artifact::Code,
    lane::{AnyLane, fast::FastLane, portable::PortableLane},
    shared::SharedSlots,
    state::Surroundings,
};

/// How many picks a rehearsal makes: enough to visit every endpoint of most clusters, and a few microseconds long.
const REHEARSED_PICKS: u64 = 64;

/// A policy before it is loaded: what the operator asks for.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The policy's name, for people: a built-in's, or the file's.
    pub name: Arc<str>,
    /// The file.
    pub bytes: Arc<[u8]>,
    /// Its configuration, as JSON.
    pub config: Arc<str>,
}

impl Plugin {
    /// Loads the plugin and rehearses it with these endpoints, and that is all: nothing is published. Takes as long
    /// as compiling takes.
    pub fn try_out(
        &self,
        engine: &Engine,
        clock: &Clock,
        snapshot: &Arc<ClusterSnapshot>,
    ) -> Result<(Arc<Artifact>, Rehearsal), Refusal> {
        let artifact = engine.load(&self.bytes)?;
        let spec = GenerationSpec {
            cluster: Arc::clone(&snapshot.name),
            policy: Arc::clone(&self.name),
            artifact: Arc::clone(&artifact),
            config: Arc::clone(&self.config),
            seed: 0,
            workers: 1,
        };
        let rehearsal = Generation::new(0, spec).rehearse(engine, clock, snapshot, None)?;
        Ok((artifact, rehearsal))
    }
}

/// What a generation is made of.
#[derive(Clone, Debug)]
pub struct GenerationSpec {
    /// The cluster it balances.
    pub cluster: Arc<str>,
    /// The policy's name, for people: a built-in's, or the file's.
    pub policy: Arc<str>,
    /// The code.
    pub artifact: Arc<Artifact>,
    /// Its configuration, as JSON.
    pub config: Arc<str>,
    /// What the workers' seeds are made of.
    pub seed: u64,
    /// How many workers there are.
    pub workers: u32,
}

/// One policy, from one file, with one configuration, as it serves one cluster.
#[derive(Debug)]
pub struct Generation {
    /// Counts up from 1 in each cluster, and is never used twice.
    pub number: u64,
    /// What it is made of.
    pub spec: GenerationSpec,
    /// What its instances share.
    shared: Arc<SharedSlots>,
}

/// A configured policy for one worker.
pub struct Instance {
    pub(crate) generation: Arc<Generation>,
    pub(crate) exports: Exports,
    pub(crate) uses: Uses,
    pub(crate) needs: Needs,
    pub(crate) lane: AnyLane,
    engine: Arc<Engine>,
    shared: Arc<SharedSlots>,
    worker: u32,
    shown: u64,
}

/// What a rehearsal has shown.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// How many picks were asked for: none when there were no endpoints.
    pub picks: u64,
    /// The median cost of a pick, in nanoseconds.
    pub pick_ns: u64,
    /// Bytes of memory after it.
    pub memory_bytes: usize,
    /// Whether it took over the state of its predecessor: none when there was none to take.
    pub restored: Option<Result<(), String>>,
    /// How many picks were left to the proxy.
    pub declined: u64,
}

impl Generation {
    /// A generation with this number.
    pub fn new(number: u64, spec: GenerationSpec) -> Arc<Self> {
        Arc::new(Self { number, spec, shared: Arc::default() })
    }

    /// The one that comes after another: the same policy goes on with what its instances shared.
    pub(crate) fn after(before: Option<&Self>, number: u64, spec: GenerationSpec) -> Arc<Self> {
        let before = before.filter(|before| before.spec.policy == spec.policy);
        let shared = before.map_or_else(Arc::default, |before| Arc::clone(&before.shared));
        Arc::new(Self { number, spec, shared })
    }

    /// One that is tried beside another: it begins with what the other's instances share, and does not change that.
    pub(crate) fn beside(other: Option<&Self>, number: u64, spec: GenerationSpec) -> Arc<Self> {
        let other = other.filter(|other| other.spec.policy == spec.policy);
        let shared = other.map_or_else(Arc::default, |other| other.shared.copy());
        Arc::new(Self { number, spec, shared })
    }

    /// Whether this is the same code with the same configuration.
    pub fn is_same(&self, artifact: &Artifact, config: &str) -> bool {
        self.spec.artifact.digest == artifact.digest && *self.spec.config == *config
    }

    pub(crate) fn labels(&self) -> Vec<Label> {
        vec![
            Label::new("cluster", self.spec.cluster.to_string()),
            Label::new("policy", self.spec.policy.to_string()),
            Label::new("generation", self.number.to_string()),
        ]
    }

    /// Makes and configures an instance, and shows it the endpoints.
    pub fn instance(
        self: &Arc<Self>,
        engine: &Engine,
        worker: u32,
        snapshot: Arc<ClusterSnapshot>,
        now: u64,
    ) -> Result<Instance, Refusal> {
        self.instance_with(engine, worker, snapshot, now, Arc::clone(&self.shared))
    }

    fn instance_with(
        self: &Arc<Self>,
        engine: &Engine,
        worker: u32,
        snapshot: Arc<ClusterSnapshot>,
        now: u64,
        shared: Arc<SharedSlots>,
    ) -> Result<Instance, Refusal> {
        let Artifact { exports, uses, .. } = *self.spec.artifact;
        let lane = self.lane(engine, Arc::clone(&shared))?;
        let (generation, needs, engine) = (Arc::clone(self), Needs::default(), engine.owned());
        let mut instance = Instance { generation, exports, uses, needs, lane, engine, shared, worker, shown: 0 };
        instance.configure()?.map_err(|reason| Refusal::Configure { reason })?;
        instance.endpoints_changed(now, snapshot)?;
        Ok(instance)
    }

    fn lane(&self, engine: &Engine, shared: Arc<SharedSlots>) -> Result<AnyLane, Refusal> {
        let Artifact { exports, uses, code, .. } = &*self.spec.artifact;
        let surroundings = Surroundings { policy: Arc::clone(&self.spec.policy), uses: *uses, shared };
        Ok(match code {
            Code::Fast(pre) => AnyLane::Fast(FastLane::new(engine, pre, *exports, surroundings)?),
            Code::Portable(pre) => AnyLane::Portable(Box::new(PortableLane::new(engine, pre, *exports, surroundings)?)),
        })
    }

    /// Tries everything that will be asked of the policy, on an instance that no request sees.
    pub fn rehearse(
        self: &Arc<Self>,
        engine: &Engine,
        clock: &Clock,
        snapshot: &Arc<ClusterSnapshot>,
        saved: Option<&Saved>,
    ) -> Result<Rehearsal, Refusal> {
        let shared = self.shared.copy();
        let mut instance = self.instance_with(engine, 0, Arc::clone(snapshot), clock.now(), shared)?;
        let restored = match saved.filter(|_| instance.exports.state) {
            Some(saved) => Some(instance.carry(saved, snapshot, clock.now())?),
            None => None,
        };
        let (mut costs, mut declined) = (Vec::new(), 0);
        let mut request = RequestHead::default();
        let count = snapshot.endpoints().len() as u32;
        for turn in 0..if count == 0 { 0 } else { REHEARSED_PICKS } {
            request.tried.clear();
            if turn % 8 == 7 && count > 1 {
                request.tried.push(snapshot.endpoints()[(turn % u64::from(count)) as usize].id);
            }
            let start = clock.now();
            let index = instance.lane.pick(start, turn.wrapping_mul(0x9e37_79b9_7f4a_7c15), &mut request)?;
            let end = clock.now();
            costs.push((end - start).saturating_sub(clock.overhead_ns()));
            let Asked { reply, wrong, .. } = std::mem::take(instance.lane.asked());
            if let Some(wrong) = wrong {
                return Err(wrong.into());
            }
            match snapshot.get(index) {
                _ if reply.is_some_and(|reply| reply.rejection.is_some()) => {}
                Some(endpoint) => instance.lane.on_result(end, &rehearsed(endpoint.id))?,
                None if index == DECLINE => declined += 1,
                None => return Err(Fault::BadIndex { index, count }.into()),
            }
        }
        if let Some(endpoint) = snapshot.endpoints().first() {
            let (load, latency_us) = (Some(1), Some(1000));
            let probe = ProbeResult { endpoint: endpoint.id, ok: true, round_trip_us: 1000, load, latency_us };
            instance.lane.on_probe(clock.now(), &probe)?;
        }
        instance.lane.tick(clock.now())?;
        if instance.exports.state {
            instance.lane.save()?;
        }
        costs.sort_unstable();
        let pick_ns = costs.get(costs.len() / 2).copied().unwrap_or(0);
        let picks = costs.len() as u64;
        Ok(Rehearsal { picks, pick_ns, memory_bytes: instance.lane.memory_bytes(), restored, declined })
    }
}

fn rehearsed(endpoint: sluicegate_core::EndpointId) -> AttemptResult {
    AttemptResult {
        endpoint,
        outcome: Outcome::Answered,
        status: 200,
        connect_us: 0,
        first_byte_us: 1000,
        total_us: Duration::from_millis(1).as_micros() as u32,
    }
}

impl Instance {
    /// The optional calls it exports.
    pub fn exports(&self) -> Exports {
        self.exports
    }

    /// The policy itself, to be called without a seat: for measuring and for conformance tests.
    pub fn lane(&mut self) -> &mut dyn Lane {
        &mut *self.lane
    }

    fn configure(&mut self) -> Result<Result<(), String>, Fault> {
        let spec = &self.generation.spec;
        // Neighbouring workers should not draw neighbouring numbers.
        let seed = Rng::new(spec.seed ^ u64::from(self.worker)).next_u64();
        let configured = self.lane.configure(&spec.config, seed, self.worker, spec.workers);
        self.needs = self.lane.needs();
        configured
    }

    /// The generation of the snapshot that it knows.
    pub(crate) fn shown_generation(&self) -> u64 {
        self.shown
    }

    pub(crate) fn endpoints_changed(&mut self, now: u64, snapshot: Arc<ClusterSnapshot>) -> Result<(), Fault> {
        self.shown = snapshot.generation;
        self.lane.endpoints_changed(now, snapshot)
    }

    /// Gives it its predecessor's state. If it refuses, a fresh one takes its place and sees these endpoints, so that nothing
    /// half-taken stays. It does not sit yet ([`Lane::seated`]) in either case.
    pub fn carry(
        &mut self,
        saved: &Saved,
        snapshot: &Arc<ClusterSnapshot>,
        now: u64,
    ) -> Result<Result<(), String>, Fault> {
        let Err(reason) = self.lane.restore(saved)? else { return Ok(Ok(())) };
        let made = self.generation.lane(&self.engine, Arc::clone(&self.shared));
        self.lane = made.map_err(|refusal| match refusal {
            Refusal::Rehearsal { fault } => fault,
            refusal => Fault::Trap { callback: "instantiate", reason: refusal.to_string() },
        })?;
        if let Err(reason) = self.configure()? {
            return Err(Fault::Trap { callback: "configure", reason });
        }
        self.endpoints_changed(now, Arc::clone(snapshot))?;
        Ok(Err(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ByHand, Stage};

    #[test]
    fn a_state_that_is_refused_leaves_nothing_behind() {
        // Half of it was taken when it was refused; picks how often it was configured, if nothing of that is left.
        let by_hand = ByHand {
            restore: Some("(global.set $turn (i32.const 1000)) i32.const 16"),
            pick: "(if (i32.gt_u (global.get $turn) (i32.const 1000)) (then unreachable)) (global.get $configured)",
            ..ByHand::default()
        };
        let stage = Stage::new(2);
        let mut instance = stage.instance(1, &by_hand.module());
        let saved = Saved { schema: 1, bytes: vec![7] };
        assert_eq!(instance.carry(&saved, &stage.snapshot, 0).unwrap(), Err("no thanks".into()));
        assert_eq!(instance.lane.pick(0, 0, &mut RequestHead::default()).unwrap(), 1);
    }
}
