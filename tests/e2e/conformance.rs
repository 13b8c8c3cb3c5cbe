//! A policy gives the same picks natively, in the fast lane and in the portable lane.

use std::sync::Arc;

use sluicegate_core::{ClusterSnapshot, EndpointSpec, InFlight, Live, LiveArena, Rng};
use sluicegate_plugin_least_request::LeastRequest;
use sluicegate_plugin_p2c::P2c;
use sluicegate_plugin_random::Random;
use sluicegate_plugin_round_robin::RoundRobin;
use sluicegate_policy::{Engine, Generation, GenerationSpec, Instance, Limits, RequestHead};
use sluicegate_sdk::{Plugin, Setup, native::Native};
use sluicegate_tests::{NativeCluster, wasm};

const SEED: u64 = 42;

/// One policy, three times: whatever happens, all of them must agree.
struct Trio<P> {
    native: Native<P>,
    lanes: [Instance; 2],
    snapshot: Arc<ClusterSnapshot>,
    arena: LiveArena,
    under_way: Vec<InFlight<Live>>,
    rng: Rng,
}

impl<P: Plugin> Trio<P> {
    fn new(policy: &str, config: &str) -> Self {
        let snapshot = Arc::new(ClusterSnapshot::empty("test"));
        let lanes = ["fast", "portable"].map(|lane| {
            let engine = Engine::new(Limits::default(), None).unwrap();
            let artifact = engine.load(&wasm::builtin(policy, lane)).unwrap();
            let (cluster, policy, config) = ("test".into(), policy.into(), config.into());
            let spec = GenerationSpec { cluster, policy, artifact, config, seed: SEED, workers: 4 };
            Generation::new(1, spec).instance(&engine, 2, Arc::clone(&snapshot), 0).unwrap()
        });
        // As the host derives a worker's seed.
        let setup = Setup { seed: Rng::new(SEED ^ 2).next_u64(), worker: 2, workers: 4 };
        let native = Native::configure(config, setup).unwrap();
        Self { native, lanes, snapshot, arena: LiveArena::default(), under_way: Vec::new(), rng: Rng::new(7) }
    }

    /// Other endpoints: `count` of the first 200 ports from `first` on.
    fn change(&mut self, first: u16, count: u16, now: u64) {
        let specs: Vec<_> = (first..first + count)
            .map(|port| {
                let mut spec = EndpointSpec::new(([127, 0, 0, 1], port).into());
                spec.weight = u32::from(port) % 5 + 1;
                spec
            })
            .collect();
        self.under_way.clear();
        self.snapshot = Arc::new(self.snapshot.next(&specs, &mut self.arena, now));
        self.native.endpoints_changed(now, &NativeCluster(Arc::clone(&self.snapshot)));
        for instance in &mut self.lanes {
            instance.lane().endpoints_changed(now, Arc::clone(&self.snapshot)).unwrap();
        }
    }

    fn pick(&mut self, now: u64, tried: &[u32]) -> u32 {
        let (hash, attempt) = (self.rng.next_u64(), tried.len() as u32);
        let cluster = NativeCluster(Arc::clone(&self.snapshot));
        let expected = self.native.pick(now, hash, attempt, &cluster, &tried.to_vec());
        for instance in &mut self.lanes {
            let tried = tried.iter().map(|index| self.snapshot.endpoints()[*index as usize].id).collect();
            let mut request = RequestHead { tried, ..RequestHead::default() };
            assert_eq!(instance.lane().pick(now, hash, &mut request).unwrap(), expected, "at {now}");
        }
        expected
    }
}

/// Membership changes, load that comes and goes, retries: thousands of picks.
fn agree<P: Plugin>(policy: &str, config: &str) {
    let mut trio = Trio::<P>::new(policy, config);
    let mut now = 0;
    for (first, count) in [(1, 1), (1, 2), (2, 16), (5, 64), (1, 65), (90, 100), (150, 3)] {
        trio.change(first, count, now);
        for _ in 0..500 {
            now += 1000;
            let index = trio.pick(now, &[]);
            assert!(index < u32::from(count));
            let live = trio.snapshot.get(index).unwrap().live.clone();
            trio.under_way.push(InFlight::begin(live));
            if count > 1 && trio.rng.below(10) == 0 {
                let again = trio.pick(now, &[index]);
                assert_ne!(again, index, "an endpoint that was tried is not picked again");
            }
            while !trio.under_way.is_empty() && trio.rng.below(3) > 0 {
                let done = trio.rng.below(trio.under_way.len() as u32) as usize;
                trio.under_way.swap_remove(done);
            }
        }
    }
}

#[test]
fn round_robin() {
    agree::<RoundRobin>("round-robin", "{}");
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
