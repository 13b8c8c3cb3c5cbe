//! An instance, and the calls that are measured on it.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use sluicegate_core::{
    AttemptResult, ClusterSnapshot, EndpointId, InFlight, Live, LiveArena, Outcome, ProbeResult, Rng,
};
use sluicegate_policy::{
    Clock, Engine, Fault, Generation, GenerationSpec, Instance, Lane, Plugin, RequestHead,
    measure::{batch, calls_in_batch, quantile},
};

use crate::conformance::traffic::{Clients, endpoints};

/// Different requests: more than a processor remembers the branches of, and few enough to stay in its caches.
const REQUESTS: usize = 64;

/// Picks that are counted in instructions.
const COUNTED: u32 = 1000;

/// How often the calls are measured that are no part of a request.
const RARE: usize = 30;

/// As many single calls as a p99.9 needs, and no more than memory is for.
const MOST_SINGLES: usize = 1_000_000;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Pick,
    OnResult,
    OnProbe,
    Tick,
    /// Every endpoint is another one.
    AllNew,
    /// One endpoint has left, or come back.
    OneMore,
    Save,
    Restore,
}

impl Call {
    /// Short and stable.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pick => "pick",
            Self::OnResult => "on-result",
            Self::OnProbe => "on-probe",
            Self::Tick => "tick",
            Self::AllNew => "endpoints-all-new",
            Self::OneMore => "endpoints-one-more",
            Self::Save => "save",
            Self::Restore => "restore",
        }
    }
}

/// What a call costs, in nanoseconds.
pub(super) struct Costs {
    /// How many were timed one by one.
    pub(super) calls: usize,
    /// Over batches for what requests wait for; of the single calls otherwise.
    pub(super) mean: f64,
    /// Of the single calls: the p50, p99, p99.9 and the largest.
    pub(super) quantiles: [f64; 4],
}

impl Costs {
    fn of(mut singles: Vec<f64>, mean: Option<f64>) -> Self {
        let sum: f64 = singles.iter().sum();
        let mean = mean.unwrap_or(sum / singles.len() as f64);
        let quantiles = [0.5, 0.99, 0.999, 1.0].map(|q| quantile(&mut singles, q));
        Self { calls: singles.len(), mean, quantiles }
    }
}

/// So many endpoints.
pub(super) fn cluster(count: u32) -> Arc<ClusterSnapshot> {
    Arc::new(ClusterSnapshot::empty("bench").next(&endpoints(0, count), &mut LiveArena::default(), 0))
}

/// One generation of the policy: what its instances share is theirs alone.
pub(super) fn generation(engine: &Engine, plugin: &Plugin) -> Result<Arc<Generation>> {
    let spec = GenerationSpec {
        cluster: "bench".into(),
        policy: Arc::clone(&plugin.name),
        artifact: engine.load(&plugin.bytes)?,
        config: Arc::clone(&plugin.config),
        seed: 1,
        workers: 1,
    };
    Ok(Generation::new(1, spec))
}

/// How many instructions a pick takes, in the mean. `engine` counts them.
pub(super) fn instructions(
    engine: &Engine,
    generation: &Arc<Generation>,
    snapshot: &Arc<ClusterSnapshot>,
) -> Result<f64> {
    let instance = generation.instance(engine, 0, Arc::clone(snapshot), 0)?;
    let mut stand = Stand::new(instance, Arc::clone(snapshot), Clock::start());
    stand.warm_up()?;
    let before = stand.instance.lane().instructions().unwrap_or(0);
    for number in 0..u64::from(COUNTED) {
        stand.pick(number)?;
    }
    let after = stand.instance.lane().instructions().unwrap_or(0);
    Ok((after - before) as f64 / f64::from(COUNTED))
}

/// An instance with its endpoints, some of which are busy.
pub(super) struct Stand {
    instance: Instance,
    snapshot: Arc<ClusterSnapshot>,
    clock: Clock,
    requests: Vec<(RequestHead, u64)>,
    now: u64,
    _busy: Vec<InFlight<Live>>,
}

impl Stand {
    pub(super) fn new(mut instance: Instance, snapshot: Arc<ClusterSnapshot>, clock: Clock) -> Self {
        let (mut rng, clients) = (Rng::new(1), Clients::default());
        let body_prefix = instance.lane().needs().body_prefix;
        let requests = (0..REQUESTS).map(|_| clients.request(&mut rng, body_prefix)).collect();
        let endpoints = snapshot.endpoints().iter();
        let busy = endpoints.flat_map(|endpoint| {
            let requests = rng.below(4) as usize;
            std::iter::repeat_with(|| InFlight::begin(endpoint.live.clone())).take(requests).collect::<Vec<_>>()
        });
        let busy = busy.collect();
        instance.lane().seated(0, false);
        Self { instance, snapshot, clock, requests, now: 1_000_000_000, _busy: busy }
    }

    pub(super) fn memory_bytes(&mut self) -> usize {
        self.instance.lane().memory_bytes()
    }

    /// Who hears results has heard of every endpoint.
    fn warm_up(&mut self) -> Result<(), Fault> {
        for number in 0..self.snapshot.endpoints().len() {
            self.on_result(number as u64)?;
        }
        (0..100).try_for_each(|number| self.pick(number).map(drop))
    }

    fn endpoint(&self, number: u64) -> EndpointId {
        let endpoints = self.snapshot.endpoints();
        endpoints[number as usize % endpoints.len()].id
    }

    #[inline]
    fn pick(&mut self, number: u64) -> Result<u32, Fault> {
        self.now += 1_000;
        let (request, hash) = &mut self.requests[number as usize % REQUESTS];
        let lane = self.instance.lane();
        let index = lane.pick(self.now, *hash, request)?;
        let asked = lane.asked();
        // Taken out as the proxy does, which looks only after policies that can ask.
        if asked.reply.is_some() || !asked.probes.is_empty() {
            *asked = Default::default();
        }
        Ok(black_box(index))
    }

    fn on_result(&mut self, number: u64) -> Result<(), Fault> {
        self.now += 1_000;
        let (endpoint, latency_us) =
            (self.endpoint(number), (number as u32).wrapping_mul(2_654_435_761) % 10_000 + 100);
        let result = AttemptResult {
            endpoint,
            outcome: Outcome::Answered,
            status: 200,
            connect_us: 0,
            first_byte_us: latency_us,
            total_us: latency_us,
        };
        self.instance.lane().on_result(self.now, &result)
    }

    fn on_probe(&mut self, number: u64) -> Result<(), Fault> {
        self.now += 1_000;
        let (load, latency_us) = (Some(number % 20), Some(1_000));
        let probe = ProbeResult { endpoint: self.endpoint(number), ok: true, round_trip_us: 900, load, latency_us };
        self.instance.lane().on_probe(self.now, &probe)
    }

    fn tick(&mut self) -> Result<(), Fault> {
        self.now += 1_000_000;
        self.instance.lane().tick(self.now).map(drop)
    }

    /// All calls that the policy has, most of the time those that requests wait for.
    pub(super) fn measure(&mut self, time: Duration) -> Result<Vec<(Call, Costs)>, Fault> {
        self.warm_up()?;
        let exports = self.instance.exports();
        let mut costs = vec![(Call::Pick, self.often(time, |stand, number| stand.pick(number).map(drop))?)];
        if exports.feedback {
            costs.push((Call::OnResult, self.often(time / 2, Self::on_result)?));
        }
        if exports.probing {
            costs.push((Call::OnProbe, self.often(time / 4, Self::on_probe)?));
        }
        if exports.timer {
            costs.push((Call::Tick, self.often(time / 8, |stand, _| stand.tick())?));
        }
        if exports.state {
            let saved = self.instance.lane().save()?;
            costs.push((Call::Save, self.rarely(|lane| lane.save().map(drop))?));
            if let Some(saved) = saved {
                costs.push((Call::Restore, self.rarely(|lane| lane.restore(&saved).map(drop))?));
            }
        }
        // Last: with endpoints that are gone goes what was learnt of them.
        let [all, one] = self.changes()?;
        costs.extend([(Call::AllNew, all), (Call::OneMore, one)]);
        Ok(costs)
    }

    /// Batches and single calls in turn, so that a slow moment of the machine hits both alike.
    fn often(&mut self, time: Duration, call: impl Fn(&mut Self, u64) -> Result<(), Fault>) -> Result<Costs, Fault> {
        let mut failed = None;
        let mut once = |stand: &mut Self, number| {
            if let Err(fault) = call(stand, number) {
                failed.get_or_insert(fault);
            }
        };
        let begun = Instant::now();
        (0..16).for_each(|number| once(self, number));
        let calls = calls_in_batch(begun.elapsed() / 16);
        let (mut means, mut singles) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        while begun.elapsed() < time || means.len() < 3 {
            means.push(batch(calls, |number| once(self, number)));
            if singles.len() < MOST_SINGLES {
                for number in 0..u64::from(calls) {
                    let start = self.clock.now();
                    once(self, number);
                    let took = (self.clock.now() - start).saturating_sub(self.clock.overhead_ns());
                    singles.push(took as f64);
                }
            }
        }
        let mean = quantile(&mut means, 0.5);
        failed.map_or(Ok(Costs::of(singles, Some(mean))), Err)
    }

    /// Calls that no request waits for.
    fn rarely(&mut self, call: impl Fn(&mut dyn Lane) -> Result<(), Fault>) -> Result<Costs, Fault> {
        let mut times = Vec::new();
        for _ in 0..RARE {
            let start = self.clock.now();
            call(self.instance.lane())?;
            times.push((self.clock.now() - start) as f64);
        }
        Ok(Costs::of(times, None))
    }

    /// That all endpoints are others, and that one has left or come back.
    fn changes(&mut self) -> Result<[Costs; 2], Fault> {
        let (mut arena, count) = (LiveArena::default(), self.snapshot.endpoints().len() as u32);
        let mut next =
            |before: &ClusterSnapshot, first, count| Arc::new(before.next(&endpoints(first, count), &mut arena, 0));
        let other = next(&self.snapshot, count, count);
        let short = next(&self.snapshot, 0, count - 1);
        let whole = Arc::clone(&self.snapshot);
        let mut times = [Vec::new(), Vec::new()];
        for (of, there) in [(1, short), (0, other)] {
            for turn in 0..RARE {
                let snapshot = if turn % 2 == 0 { &there } else { &whole };
                let start = self.clock.now();
                self.instance.lane().endpoints_changed(self.now, Arc::clone(snapshot))?;
                times[of].push((self.clock.now() - start) as f64);
            }
        }
        Ok(times.map(|times| Costs::of(times, None)))
    }
}
