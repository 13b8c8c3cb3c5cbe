//! A policy gives the same picks natively, in the fast lane and in the portable lane, and has learnt the same from them.

use std::{sync::Arc, time::Duration};

use sluicegate_core::{
    AttemptResult, ClusterSnapshot, EndpointId, EndpointSpec, InFlight, Live, LiveArena, Outcome, Rng,
};
use sluicegate_plugin_bounded_load::BoundedLoad;
use sluicegate_plugin_c3::C3;
use sluicegate_plugin_least_request::LeastRequest;
use sluicegate_plugin_maglev::Maglev;
use sluicegate_plugin_p2c::P2c;
use sluicegate_plugin_peak_ewma::PeakEwmaPolicy;
use sluicegate_plugin_random::Random;
use sluicegate_plugin_rendezvous::Rendezvous;
use sluicegate_plugin_ring_hash::RingHash;
use sluicegate_plugin_round_robin::RoundRobin;
use sluicegate_plugin_subset::Subset;
use sluicegate_plugin_weighted_round_robin::WeightedRoundRobin;
use sluicegate_plugin_zone_aware::ZoneAware;
use sluicegate_policy::{Engine, Generation, GenerationSpec, Instance, Limits, RequestHead};
use sluicegate_sdk::{Plugin, Setup, native::Native};
use sluicegate_tests::{NativeCluster, wasm};

const SEED: u64 = 42;

/// One policy, natively and as WebAssembly: whatever happens, all of them must agree.
struct Alike<P> {
    native: Native<P>,
    instances: Vec<Instance>,
    snapshot: Arc<ClusterSnapshot>,
    arena: LiveArena,
    under_way: Vec<(InFlight<Live>, EndpointId)>,
    rng: Rng,
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
        Self { native, instances, snapshot, arena: LiveArena::default(), under_way: Vec::new(), rng: Rng::new(7) }
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
        self.native.endpoints_changed(now, &NativeCluster(Arc::clone(&self.snapshot)));
        for instance in &mut self.instances {
            instance.lane().endpoints_changed(now, Arc::clone(&self.snapshot)).unwrap();
        }
    }

    fn pick(&mut self, now: u64, tried: &[u32]) -> u32 {
        // One request in four is not keyed, and one has the key of many others.
        let hash = [0, 1 << 40, self.rng.next_u64(), self.rng.next_u64()][self.rng.below(4) as usize];
        let attempt = tried.len() as u32;
        let cluster = NativeCluster(Arc::clone(&self.snapshot));
        let expected = self.native.pick(now, hash, attempt, &cluster, &tried.to_vec());
        for instance in &mut self.instances {
            let tried = tried.iter().map(|index| self.snapshot.endpoints()[*index as usize].id).collect();
            let mut request = RequestHead { tried, ..RequestHead::default() };
            assert_eq!(instance.lane().pick(now, hash, &mut request).unwrap(), expected, "at {now}");
        }
        expected
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

/// Membership changes, load that comes and goes, retries, results: thousands of picks.
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
