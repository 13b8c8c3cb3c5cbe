//! A policy gives the same picks natively, in the fast lane and in the portable lane, says the same beside them, asks for
//! the same probes, and has learnt the same.

use std::{cell::RefCell, mem, sync::Arc, time::Duration};

use http::{HeaderValue, header::COOKIE};
use sluicegate_core::{
    AttemptResult, ClusterSnapshot, EndpointId, EndpointSpec, InFlight, Live, LiveArena, LoadReport, Outcome,
    ProbeResult, Rng,
};
use sluicegate_plugin_bounded_load::BoundedLoad;
use sluicegate_plugin_c3::C3;
use sluicegate_plugin_least_request::LeastRequest;
use sluicegate_plugin_maglev::Maglev;
use sluicegate_plugin_orca_weighted::OrcaWeighted;
use sluicegate_plugin_p2c::P2c;
use sluicegate_plugin_peak_ewma::PeakEwmaPolicy;
use sluicegate_plugin_prefix_affinity::PrefixAffinity;
use sluicegate_plugin_prequal::Prequal;
use sluicegate_plugin_random::Random;
use sluicegate_plugin_rendezvous::Rendezvous;
use sluicegate_plugin_ring_hash::RingHash;
use sluicegate_plugin_round_robin::RoundRobin;
use sluicegate_plugin_sticky::Sticky;
use sluicegate_plugin_subset::Subset;
use sluicegate_plugin_weighted_round_robin::WeightedRoundRobin;
use sluicegate_plugin_zone_aware::ZoneAware;
use sluicegate_policy::{Engine, Generation, GenerationSpec, Instance, Limits, RequestHead};
use sluicegate_sdk::{
    Plugin, Setup,
    native::{Head, Native, Said},
};
use sluicegate_tests::{NativeCluster, wasm};

const SEED: u64 = 42;

/// One policy, natively and as WebAssembly: whatever happens, all of them must agree.
struct Alike<P> {
    native: Native<P>,
    instances: Vec<Instance>,
    snapshot: Arc<ClusterSnapshot>,
    arena: LiveArena,
    under_way: Vec<(InFlight<Live>, EndpointId)>,
    /// Those that were asked to be probed and have not answered.
    probed: Vec<EndpointId>,
    /// Values of the cookies that were set lately.
    cookies: Vec<String>,
    rng: Rng,
}

/// The cookie that the test's clients have, if any.
const COOKIE_NAME: &str = "sluicegate";

/// A request, as a native policy sees it.
struct Request<'a> {
    tried: &'a [u32],
    cookie: Option<&'a str>,
    body: &'a [u8],
    said: RefCell<Vec<(String, String)>>,
}

impl Head for Request<'_> {
    fn tried(&self, nth: u32) -> u32 {
        self.tried.get(nth as usize).copied().unwrap_or(u32::MAX)
    }

    fn cookie(&self, name: &str) -> Option<String> {
        self.cookie.filter(|_| name == COOKIE_NAME).map(str::to_owned)
    }

    fn body(&self, start: u32, length: u32) -> Vec<u8> {
        self.body.iter().copied().skip(start as usize).take(length as usize).collect()
    }

    fn take(&self, said: Said<'_>) {
        let Said::ResponseHeader(name, value) = said else { panic!("compare this too: {said:?}") };
        self.said.borrow_mut().push((name.into(), value.into()));
    }
}

impl<P: Plugin> Alike<P> {
    /// `seen`: the seed as the policy sees it.
    fn new(modules: &[Vec<u8>], config: &str, seen: fn(u64) -> u64) -> Self {
        let snapshot = Arc::new(ClusterSnapshot::empty("test"));
        let instances = modules.iter().map(|module| {
            // Interpreters collect their garbage now and then, and the machine may be busy.
            let limits = Limits { pick_timeout: Duration::from_secs(5), ..Limits::default() };
            let engine = Engine::new(limits, None).unwrap();
            let artifact = engine.load(module).unwrap();
            let (cluster, policy, config) = ("test".into(), "policy".into(), config.into());
            let spec = GenerationSpec { cluster, policy, artifact, config, seed: SEED, workers: 4 };
            Generation::new(1, spec).instance(&engine, 2, Arc::clone(&snapshot), 0).unwrap()
        });
        let instances = instances.collect();
        // As the host derives a worker's seed.
        let setup = Setup { seed: seen(Rng::new(SEED ^ 2).next_u64()), worker: 2, workers: 4 };
        let native = Native::configure(config, setup).unwrap();
        let (arena, rng) = (LiveArena::default(), Rng::new(7));
        let (under_way, probed, cookies) = (Vec::new(), Vec::new(), Vec::new());
        Self { native, instances, snapshot, arena, under_way, probed, cookies, rng }
    }

    /// Other endpoints: `count` of those from `first` on, of several weights, in two zones and in none.
    fn change(&mut self, first: u16, count: u16, now: u64) {
        let specs: Vec<_> = (first..first + count)
            .map(|port| {
                let mut spec = EndpointSpec::new(([127, 0, 0, 1], port).into());
                spec.weight = u32::from(port) % 5 + 1;
                spec.zone = ["", "a", "b"][usize::from(port) % 3].into();
                spec
            })
            .collect();
        self.snapshot = Arc::new(self.snapshot.next(&specs, &mut self.arena, now));
        let cluster = NativeCluster::new(Arc::clone(&self.snapshot), now);
        self.native.endpoints_changed(now, &cluster);
        for instance in &mut self.instances {
            instance.lane().endpoints_changed(now, Arc::clone(&self.snapshot)).unwrap();
        }
        self.have_asked(cluster);
    }

    /// After each call: all have asked to probe the same endpoints.
    fn have_asked(&mut self, cluster: NativeCluster) {
        let id = |index: u32| self.snapshot.endpoints()[index as usize].id;
        let asked: Vec<EndpointId> = cluster.asked().into_iter().map(id).collect();
        for instance in &mut self.instances {
            let lane = mem::take(instance.lane().asked());
            assert_eq!((lane.probes, lane.dropped_probes, lane.wrong.is_none()), (asked.clone(), 0, true));
        }
        self.probed.extend(asked);
    }

    fn pick(&mut self, now: u64, tried: &[u32]) -> u32 {
        // One request in four is not keyed, and one has the key of many others.
        let hash = [0, 1 << 40, self.rng.next_u64(), self.rng.next_u64()][self.rng.below(4) as usize];
        let attempt = tried.len() as u32;
        let (cookie, mut body) = (self.cookie(), self.prompt());
        body.truncate(self.native.world().needs().body_prefix as usize);
        let request = Request { tried, cookie: cookie.as_deref(), body: &body, said: RefCell::default() };
        let cluster = NativeCluster::new(Arc::clone(&self.snapshot), now);
        let expected = self.native.pick(now, hash, attempt, &cluster, &request);
        let said = request.said.into_inner();
        for instance in &mut self.instances {
            assert_eq!(instance.lane().needs().body_prefix, self.native.world().needs().body_prefix);
            let tried = tried.iter().map(|index| self.snapshot.endpoints()[*index as usize].id).collect();
            let mut request = RequestHead { tried, body_prefix: body.clone().into(), ..RequestHead::default() };
            if let Some(cookie) = &cookie {
                let header = format!("a=b; {COOKIE_NAME}={cookie}; c=d");
                request.parts.headers.all_mut().insert(COOKIE, HeaderValue::from_str(&header).unwrap());
            }
            assert_eq!(instance.lane().pick(now, hash, &mut request).unwrap(), expected, "at {now}");
            let reply = instance.lane().asked().reply.take().map(|reply| *reply).unwrap_or_default();
            let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
            let headers = reply.response_headers.iter().map(|(name, value)| (name.to_string(), text(value)));
            assert_eq!(headers.collect::<Vec<_>>(), said, "at {now}");
        }
        self.have_asked(cluster);
        self.cookies.extend(said.iter().filter_map(|(_, cookie)| cookie.split(['=', ';']).nth(1)).map(str::to_owned));
        expected
    }

    /// One client in four has no cookie, one has one that somebody has changed, and two have what they were given.
    fn cookie(&mut self) -> Option<String> {
        let given = self.cookies.len() as u32;
        let mut cookie = self.cookies.get(self.rng.below(given.max(1)) as usize)?.clone();
        match self.rng.below(4) {
            0 => None,
            1 => {
                cookie.pop();
                Some(cookie + "0")
            }
            _ => Some(cookie),
        }
    }

    /// The beginning of one of a few texts, of any length.
    fn prompt(&mut self) -> Vec<u8> {
        let (text, length) = (self.rng.below(20), self.rng.below(2000));
        let line = format!("This is what the text with the number {text} is made of. ");
        line.bytes().cycle().take(length as usize).collect()
    }

    /// What passes with time: an endpoint reports its load, a probe comes back, and sometimes there is a tick.
    fn live_on(&mut self, now: u64) {
        let cluster = || NativeCluster::new(Arc::clone(&self.snapshot), now);
        let reports = self.rng.below(self.snapshot.endpoints().len() as u32);
        let report = LoadReport {
            utilization_ppm: self.rng.below(1_000_000),
            queue_depth: self.rng.below(20),
            requests_milli_per_s: self.rng.below(100_000),
            errors_milli_per_s: self.rng.below(10_000),
        };
        self.snapshot.endpoints()[reports as usize].live.report(&report, now);
        if self.rng.below(20) == 0 {
            let cluster = cluster();
            let next = self.native.tick(now, &cluster);
            for instance in &mut self.instances {
                assert_eq!(instance.lane().tick(now).unwrap(), next);
            }
            self.have_asked(cluster);
        }
        while !self.probed.is_empty() && self.rng.below(4) > 0 {
            let endpoint = self.probed.swap_remove(self.rng.below(self.probed.len() as u32) as usize);
            let mut said = || [None, Some(self.rng.below(1000).into())][self.rng.below(4).min(1) as usize];
            let (load, latency_us) = (said(), said());
            let (ok, round_trip_us) = (self.rng.below(5) > 0, self.rng.below(5000));
            let probe = ProbeResult { endpoint, ok, round_trip_us, load, latency_us };
            let native = sluicegate_sdk::ProbeResult { endpoint: endpoint.0, ok, round_trip_us, load, latency_us };
            let cluster = NativeCluster::new(Arc::clone(&self.snapshot), now);
            self.native.on_probe(now, &native, &cluster);
            for instance in &mut self.instances {
                instance.lane().on_probe(now, &probe).unwrap();
            }
            self.have_asked(cluster);
        }
    }

    /// Ends one of the attempts that are under way, somehow.
    fn finish(&mut self, now: u64) {
        let done = self.rng.below(self.under_way.len() as u32) as usize;
        let (_, endpoint) = self.under_way.swap_remove(done);
        let (outcome, native, status) = OUTCOMES[self.rng.below(OUTCOMES.len() as u32) as usize];
        let total_us = self.rng.below(100_000);
        let first_byte_us = if outcome == Outcome::Answered { total_us / 2 } else { 0 };
        let result = AttemptResult { endpoint, outcome, status, connect_us: 0, first_byte_us, total_us };
        for instance in &mut self.instances {
            instance.lane().on_result(now, &result).unwrap();
        }
        let (endpoint, status) = (endpoint.0, u32::from(status));
        let result =
            sluicegate_sdk::AttemptResult { endpoint, outcome: native, status, connect_us: 0, first_byte_us, total_us };
        self.native.on_result(now, &result);
    }

    fn has_learnt_the_same(&mut self) {
        let expected = self.native.save();
        for instance in &mut self.instances {
            let saved = instance.lane().save().unwrap().map(|saved| (saved.schema, saved.bytes));
            assert_eq!(saved, expected);
        }
    }
}

const OUTCOMES: [(Outcome, sluicegate_sdk::Outcome, u16); 7] = [
    (Outcome::Answered, sluicegate_sdk::Outcome::Answered, 200),
    (Outcome::Answered, sluicegate_sdk::Outcome::Answered, 200),
    (Outcome::Answered, sluicegate_sdk::Outcome::Answered, 503),
    (Outcome::ConnectFailed, sluicegate_sdk::Outcome::ConnectFailed, 0),
    (Outcome::Broken, sluicegate_sdk::Outcome::Broken, 200),
    (Outcome::TimedOut, sluicegate_sdk::Outcome::TimedOut, 0),
    (Outcome::Cancelled, sluicegate_sdk::Outcome::Cancelled, 0),
];

fn agree<P: Plugin>(policy: &str, config: &str) {
    agree_in::<P>(&["fast", "portable"].map(|lane| wasm::builtin(policy, lane)), config, |seed| seed);
}

/// Membership changes, load that comes and goes, retries, results, cookies, prompts, reports, probes and time: thousands of
/// picks.
pub(crate) fn agree_in<P: Plugin>(modules: &[Vec<u8>], config: &str, seen: fn(u64) -> u64) {
    let mut alike = Alike::<P>::new(modules, config, seen);
    let mut now = 0;
    for (first, count) in [(1, 1), (1, 2), (2, 16), (5, 64), (1, 65), (90, 100), (100, 10_000), (150, 3)] {
        alike.change(first, count, now);
        for _ in 0..if count > 1000 { 100 } else { 500 } {
            now += 1_000_000;
            let index = alike.pick(now, &[]);
            assert!(index < u32::from(count));
            let picked = alike.snapshot.get(index).unwrap();
            alike.under_way.push((InFlight::begin(picked.live.clone()), picked.id));
            if count > 1 && alike.rng.below(10) == 0 {
                let again = alike.pick(now, &[index]);
                assert_ne!(again, index, "an endpoint that was tried is not picked again");
            }
            while !alike.under_way.is_empty() && alike.rng.below(3) > 0 {
                alike.finish(now);
            }
            alike.live_on(now);
        }
        alike.has_learnt_the_same();
    }
}

#[test]
fn round_robin() {
    agree::<RoundRobin>("round-robin", "{}");
}

#[test]
fn weighted_round_robin() {
    agree::<WeightedRoundRobin>("weighted-round-robin", "{}");
}

#[test]
fn random() {
    agree::<Random>("random", "{}");
}

#[test]
fn least_request() {
    agree::<LeastRequest>("least-request", "{}");
}

#[test]
fn p2c() {
    agree::<P2c>("p2c", "{}");
    agree::<P2c>("p2c", r#"{"choices": 5}"#);
}

#[test]
fn peak_ewma() {
    agree::<PeakEwmaPolicy>("peak-ewma", "{}");
    agree::<PeakEwmaPolicy>("peak-ewma", r#"{"decay_ms": 50, "choices": 3}"#);
}

#[test]
fn c3() {
    agree::<C3>("c3", "{}");
    agree::<C3>("c3", r#"{"choices": 8, "proxies": 3}"#);
}

#[test]
fn orca_weighted() {
    agree::<OrcaWeighted>("orca-weighted", "{}");
    let quick = r#"{"blackout_period_ms": 20, "weight_expiration_period_ms": 200, "weight_update_period_ms": 100}"#;
    agree::<OrcaWeighted>("orca-weighted", quick);
}

#[test]
fn prefix_affinity() {
    agree::<PrefixAffinity>("prefix-affinity", "{}");
    let tight =
        r#"{"block_bytes": 20, "max_blocks": 30, "capacity": 1024, "slack": 0, "epsilon": 0.05, "min_match": 0}"#;
    agree::<PrefixAffinity>("prefix-affinity", tight);
}

#[test]
fn prequal() {
    agree::<Prequal>("prequal", "{}");
    agree::<Prequal>("prequal", r#"{"probe_rate": 1.3, "remove_rate": 0.4, "q_rif": 0.5, "max_age_ms": 20}"#);
}

#[test]
fn sticky() {
    agree::<Sticky>("sticky", r#"{"key": "000102030405060708090a0b0c0d0e0f"}"#);
}

#[test]
fn rendezvous() {
    agree::<Rendezvous>("rendezvous", "{}");
}

#[test]
fn ring_hash() {
    agree::<RingHash>("ring-hash", "{}");
    agree::<RingHash>("ring-hash", r#"{"points": 40}"#);
}

#[test]
fn maglev() {
    agree::<Maglev>("maglev", "{}");
    agree::<Maglev>("maglev", r#"{"table_size": 1009}"#);
}

#[test]
fn bounded_load() {
    agree::<BoundedLoad>("bounded-load", "{}");
    agree::<BoundedLoad>("bounded-load", r#"{"epsilon": 0.01, "points": 8}"#);
}

#[test]
fn zone_aware() {
    agree::<ZoneAware>("zone-aware", r#"{"zone": "a"}"#);
    agree::<ZoneAware>("zone-aware", r#"{"zone": "b", "proxies": {"b": 5, "a": 1}, "choices": 3}"#);
}

#[test]
fn subset() {
    agree::<Subset>("subset", "{}");
    agree::<Subset>("subset", r#"{"proxies": 7, "proxy": 2}"#);
}
