//! The policy under test, and the world that it sees: endpoints, requests under way, and time.
//!
//! Everything in here is made up from one seed, and nothing looks at a clock: what was seen once is seen again.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use sluicegate_core::{
    AttemptResult, ClusterSnapshot, EndpointId, EndpointSpec, InFlight, Live, LiveArena, Outcome, ProbeResult, Rng,
};
use sluicegate_policy::{
    Artifact, Asked, DECLINE, Engine, Exports, Fault, Generation, GenerationSpec, Instance, Lane, Saved,
};

use super::{Checked, Stop, traffic::Clients};

/// More outcomes that are good than bad, as in life.
const OUTCOMES: [(Outcome, u16); 8] = [
    (Outcome::Answered, 200),
    (Outcome::Answered, 200),
    (Outcome::Answered, 404),
    (Outcome::Answered, 503),
    (Outcome::ConnectFailed, 0),
    (Outcome::Broken, 200),
    (Outcome::TimedOut, 0),
    (Outcome::Cancelled, 0),
];

/// As many requests as may be under way: enough for several at every endpoint of a small cluster.
const MAX_UNDER_WAY: usize = 64;

/// Probes that were asked for and are not answered yet; more than that are forgotten, as a prober with a limit does.
const MAX_PROBES: usize = 256;

/// What a pick came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The endpoint at this index.
    Endpoint(u32),
    /// Left to the proxy.
    Declined,
    /// Turned away.
    Rejected,
}

/// What was asked of the proxy so far.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) picks: u64,
    pub(super) declined: u64,
    pub(super) rejected: u64,
    pub(super) probes: u64,
    pub(super) dropped_probes: u64,
    pub(super) hedges: u64,
    pub(super) next_choices: u64,
    pub(super) headers: u64,
    pub(super) explanations: u64,
    /// The first thing that it said beside a pick and that can't be done.
    pub(super) wrong: Option<String>,
}

/// An instance, its endpoints, and the requests that are under way.
pub(super) struct Subject {
    instance: Instance,
    pub(super) snapshot: Arc<ClusterSnapshot>,
    arena: LiveArena,
    under_way: Vec<(InFlight<Live>, EndpointId)>,
    probes: VecDeque<EndpointId>,
    clients: Clients,
    pub(super) rng: Rng,
    pub(super) now: u64,
    tick_at: u64,
    pub(super) seen: Seen,
    /// Processor time of each call, by its name, if it is wanted.
    pub(super) times: Option<BTreeMap<&'static str, Vec<Duration>>>,
}

impl Subject {
    /// A configured instance, as the proxy makes it, before it has seen any endpoints.
    pub(super) fn new(engine: &Engine, artifact: &Arc<Artifact>, config: &Arc<str>, seed: u64) -> Checked<Self> {
        let spec = GenerationSpec {
            cluster: "conformance".into(),
            policy: "policy".into(),
            artifact: Arc::clone(artifact),
            config: Arc::clone(config),
            seed,
            workers: 1,
        };
        let snapshot = Arc::new(ClusterSnapshot::empty("conformance"));
        let now = 1_000_000_000;
        let mut instance = Generation::new(1, spec)
            .instance(engine, 0, Arc::clone(&snapshot), now)
            .map_err(|refusal| Stop::refused(refusal, "when it was made and configured, without endpoints"))?;
        // As in a proxy whose access log shows explanations.
        instance.lane().seated(0, true);
        Ok(Self {
            instance,
            snapshot,
            arena: LiveArena::default(),
            under_way: Vec::new(),
            probes: VecDeque::new(),
            clients: Clients::default(),
            rng: Rng::new(seed),
            now,
            // The first one comes as soon as it sits.
            tick_at: now,
            seen: Seen::default(),
            times: None,
        })
    }

    pub(super) fn exports(&self) -> Exports {
        self.instance.exports()
    }

    pub(super) fn count(&self) -> u32 {
        self.snapshot.endpoints().len() as u32
    }

    pub(super) fn memory_bytes(&mut self) -> usize {
        self.instance.lane().memory_bytes()
    }

    /// Makes a call, and takes in what it asked for.
    fn call<T>(&mut self, name: &'static str, call: impl FnOnce(&mut dyn Lane) -> Result<T, Fault>) -> Checked<T> {
        let answer = match &mut self.times {
            None => call(self.instance.lane()),
            Some(times) => {
                let start = processor_time();
                let answer = call(self.instance.lane());
                times.entry(name).or_default().push(processor_time().saturating_sub(start));
                answer
            }
        };
        answer.map_err(|fault| Stop::Fault(fault, self.situation()))
    }

    fn situation(&self) -> String {
        format!("after {} picks, with {} endpoints", self.seen.picks, self.count())
    }

    /// A failure, and when it was seen.
    pub(super) fn failed(&self, seen: impl Into<String>) -> Stop {
        Stop::Failed(format!("{} ({})", seen.into(), self.situation()))
    }

    /// Shows it other endpoints.
    pub(super) fn show(&mut self, specs: &[EndpointSpec]) -> Checked<()> {
        self.now += 1_000_000;
        self.snapshot = Arc::new(self.snapshot.next(specs, &mut self.arena, self.now));
        let (now, snapshot) = (self.now, Arc::clone(&self.snapshot));
        self.call("endpoints-changed", |lane| lane.endpoints_changed(now, snapshot))?;
        self.settle();
        Ok(())
    }

    /// One pick, for a request that has been to these endpoints already.
    pub(super) fn pick(&mut self, tried: &[u32]) -> Checked<Answer> {
        self.now += u64::from(self.rng.below(1_000_000)) + 1;
        let needs = self.instance.lane().needs();
        let (mut request, hash) = self.clients.request(&mut self.rng, needs.body_prefix);
        let endpoints = self.snapshot.endpoints();
        request.tried = tried.iter().filter_map(|index| Some(endpoints.get(*index as usize)?.id)).collect();
        let now = self.now;
        let index = self.call("pick", |lane| lane.pick(now, hash, &mut request))?;
        self.seen.picks += 1;
        if self.settle() {
            self.seen.rejected += 1;
            return Ok(Answer::Rejected);
        }
        match index {
            index if index < self.count() => Ok(Answer::Endpoint(index)),
            DECLINE => {
                self.seen.declined += 1;
                Ok(Answer::Declined)
            }
            index => Err(Stop::Fault(Fault::BadIndex { index, count: self.count() }, self.situation())),
        }
    }

    /// A whole request, with whatever else goes on in a proxy meanwhile: a pick, an attempt, a retry now and then, results
    /// of earlier attempts, answers to probes, ticks.
    pub(super) fn serve(&mut self) -> Checked<Answer> {
        let answer = self.pick(&[])?;
        if let Answer::Endpoint(index) = answer {
            self.send(index);
            if self.count() > 1 && self.rng.below(10) == 0 {
                self.pick(&[index])?;
            }
        }
        while !self.under_way.is_empty() && (self.rng.below(3) > 0 || self.under_way.len() > MAX_UNDER_WAY) {
            self.finish()?;
        }
        if self.rng.below(2) == 0 {
            self.answer_probe()?;
        }
        self.tick_if_due()?;
        Ok(answer)
    }

    /// Many of them.
    pub(super) fn serve_many(&mut self, requests: u32) -> Checked<()> {
        (0..requests).try_for_each(|_| self.serve().map(drop))
    }

    /// Begins an attempt at an endpoint.
    pub(super) fn send(&mut self, index: u32) {
        if let Some(endpoint) = self.snapshot.get(index) {
            self.under_way.push((InFlight::begin(endpoint.live.clone()), endpoint.id));
        }
    }

    /// Ends one of the attempts that are under way, somehow. Its endpoint may be gone.
    pub(super) fn finish(&mut self) -> Checked<()> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let done = self.rng.below(self.under_way.len() as u32) as usize;
        let (attempt, endpoint) = self.under_way.swap_remove(done);
        let (outcome, status) = OUTCOMES[self.rng.below(OUTCOMES.len() as u32) as usize];
        let total_us = self.rng.below(100_000);
        let first_byte_us = if outcome == Outcome::Answered { total_us / 2 } else { 0 };
        let connect_us = if self.rng.below(4) == 0 { total_us / 4 } else { 0 };
        let result = AttemptResult { endpoint, outcome, status, connect_us, first_byte_us, total_us };
        attempt.endpoint().record(&result);
        drop(attempt);
        self.hear(&result)
    }

    /// Ends all attempts that are under way.
    pub(super) fn finish_all(&mut self) -> Checked<()> {
        while !self.under_way.is_empty() {
            self.finish()?;
        }
        Ok(())
    }

    /// Tells it how an attempt went.
    pub(super) fn hear(&mut self, result: &AttemptResult) -> Checked<()> {
        self.now += 1_000;
        let now = self.now;
        self.call("on-result", |lane| lane.on_result(now, result))?;
        self.settle();
        Ok(())
    }

    /// Answers the probe that was asked for first, if there is one.
    fn answer_probe(&mut self) -> Checked<()> {
        let Some(endpoint) = self.probes.pop_front() else { return Ok(()) };
        let ok = self.rng.below(8) > 0;
        let says = |number: u32| (ok && number > 0).then_some(u64::from(number));
        let (load, latency) = (self.rng.below(20), self.rng.below(5_000));
        let round_trip_us = self.rng.below(3_000);
        let probe = ProbeResult { endpoint, ok, round_trip_us, load: says(load), latency_us: says(latency) };
        self.hear_probe(&probe)
    }

    /// Tells it what a probe came to.
    pub(super) fn hear_probe(&mut self, probe: &ProbeResult) -> Checked<()> {
        self.now += 1_000;
        let now = self.now;
        self.call("on-probe", |lane| lane.on_probe(now, probe))?;
        self.settle();
        Ok(())
    }

    fn tick_if_due(&mut self) -> Checked<()> {
        if self.exports().timer && self.now >= self.tick_at {
            let after = self.tick()?;
            // As the seat does.
            self.tick_at = if after == 0 { u64::MAX } else { self.now.saturating_add(after.max(1_000_000)) };
        }
        Ok(())
    }

    /// Calls it because it is time to, and returns when it wants to be called again.
    pub(super) fn tick(&mut self) -> Checked<u64> {
        let now = self.now;
        let after = self.call("tick", |lane| lane.tick(now))?;
        self.settle();
        Ok(after)
    }

    /// What it has learnt.
    pub(super) fn save(&mut self) -> Checked<Option<Saved>> {
        self.call("save", |lane| lane.save())
    }

    /// Gives it what another one has learnt, as at a swap.
    pub(super) fn restore(&mut self, saved: &Saved) -> Checked<Result<(), String>> {
        let (snapshot, now) = (Arc::clone(&self.snapshot), self.now);
        let start = self.times.is_some().then(processor_time);
        let answer = self.instance.carry(saved, &snapshot, now);
        if let (Some(times), Some(start)) = (&mut self.times, start) {
            times.entry("restore").or_default().push(processor_time().saturating_sub(start));
        }
        answer.map_err(|fault| Stop::Fault(fault, self.situation()))
    }

    /// Takes in what the last call asked for. Says whether it turned the request away.
    fn settle(&mut self) -> bool {
        let Asked { reply, probes, dropped_probes, wrong } = mem::take(self.instance.lane().asked());
        let seen = &mut self.seen;
        seen.probes += probes.len() as u64;
        seen.dropped_probes += u64::from(dropped_probes);
        self.probes.extend(probes);
        self.probes.truncate(MAX_PROBES);
        if let Some(wrong) = wrong {
            seen.wrong.get_or_insert_with(|| wrong.to_string());
        }
        let Some(reply) = reply else { return false };
        seen.hedges += u64::from(reply.hedge.is_some());
        seen.next_choices += reply.then.len() as u64;
        seen.headers += (reply.response_headers.len() + reply.request_headers.len()) as u64;
        seen.explanations += u64::from(reply.explanation.is_some());
        self.clients.answered(&reply.response_headers);
        reply.rejection.is_some()
    }
}

/// Of this thread: what the machine does meanwhile is nobody's fault.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
