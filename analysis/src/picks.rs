//! What a pick costs, and what a change of the endpoints costs.
//!
//! Calls are timed in batches, because a clock read costs about as much as a call; the batches of all lanes alternate, so
//! that a slow moment of the machine hits them alike. Each pick has another key. The proxy's own timing of each call
//! is left out here: it costs one read of the time-stamp counter, which the request needs anyway.

use std::{
    cell::RefCell,
    hint::black_box,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use http::{HeaderValue, header::COOKIE};
use sluicegate_core::{AttemptResult, ClusterSnapshot, EndpointSpec, LiveArena, Outcome, ProbeResult};
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
use sluicegate_policy::{
    Engine, Fault, Generation, GenerationSpec, Instance, Limits, RequestHead,
    measure::{BATCH, batch, calls_in_batch, quantile},
};
use sluicegate_sdk::{
    Plugin, Setup, mix,
    native::{Head, Native, Said},
};
use sluicegate_tests::{NativeCluster, wasm};

/// How often the endpoints change.
const CHANGES: usize = 10;

/// The endpoints of a row: all of them, all but one, and none.
struct Clusters {
    whole: Arc<ClusterSnapshot>,
    short: Arc<ClusterSnapshot>,
    empty: Arc<ClusterSnapshot>,
}

/// Where a policy can run.
pub(crate) const LANES: [&str; 3] = ["native", "fast", "portable"];

/// What was measured of a policy.
pub(crate) struct Row {
    /// Nanoseconds for a pick, each value the mean of a batch, for each of [`LANES`].
    pub(crate) picks: [Vec<f64>; 3],
    /// Microseconds until it knows of other endpoints, in the fast lane: all are new, and one has left or come back.
    pub(crate) changes: [f64; 2],
}

/// Measures a policy with so many endpoints, each lane for so long.
type Measure = fn(&str, u16, Duration) -> Result<Row>;

/// Those that ship.
pub(crate) const POLICIES: [(&str, Measure); 17] = [
    ("round-robin", row::<RoundRobin>),
    ("weighted-round-robin", row::<WeightedRoundRobin>),
    ("random", row::<Random>),
    ("p2c", row::<P2c>),
    ("least-request", row::<LeastRequest>),
    ("peak-ewma", row::<PeakEwmaPolicy>),
    ("c3", row::<C3>),
    ("maglev", row::<Maglev>),
    ("ring-hash", row::<RingHash>),
    ("rendezvous", row::<Rendezvous>),
    ("bounded-load", row::<BoundedLoad>),
    ("zone-aware", row::<ZoneAware>),
    ("subset", row::<Subset>),
    ("orca-weighted", row::<OrcaWeighted>),
    ("prequal", row::<Prequal>),
    ("sticky", row::<Sticky>),
    ("prefix-affinity", row::<PrefixAffinity>),
];

/// What a policy has to be told to do anything; the zones are those of [`Clusters::new`]. The answers that `prequal` gets
/// ahead of a batch last for all of it: for that, its pool is twice as large as by default.
fn config(policy: &str) -> &'static str {
    match policy {
        "prequal" => r#"{"pool_size": 32, "remove_rate": 0, "delta": 100}"#,
        "sticky" => r#"{"key": "000102030405060708090a0b0c0d0e0f"}"#,
        "zone-aware" => r#"{"zone": "a"}"#,
        _ => "{}",
    }
}

/// Prints the table for one number of endpoints, each cell of it measured for so long.
pub(crate) fn measure(endpoints: u16, cell: Duration) -> Result<()> {
    println!("\npick, {endpoints} endpoints: p50 (p99) in ns, of means over up to {BATCH} calls");
    println!(
        "{:20} {:>18} {:>18} {:>18} {:>14} {:>12} {:>12}",
        "policy", "native", "fast lane", "portable lane", "fast - native", "one more, us", "all new, us"
    );
    for (policy, measure) in POLICIES {
        let Row { picks, changes: [all, one] } = measure(policy, endpoints, cell)?;
        let [native, fast, portable] = picks.map(|mut times| (quantile(&mut times, 0.5), quantile(&mut times, 0.99)));
        let show = |(p50, p99): (f64, f64)| format!("{p50:7.1} ({p99:.1})");
        let difference = fast.0 - native.0;
        let (native, fast, portable) = (show(native), show(fast), show(portable));
        println!("{policy:20} {native:>18} {fast:>18} {portable:>18} {difference:>14.1} {one:>12.1} {all:>12.1}");
    }
    Ok(())
}

impl Clusters {
    fn new(endpoints: u16) -> Self {
        let specs: Vec<_> = (1..=endpoints)
            .map(|port| {
                let mut spec = EndpointSpec::new(([127, 0, 0, 1], port).into());
                spec.zone = ["a", "b"][usize::from(port % 2)].into();
                spec
            })
            .collect();
        let mut arena = LiveArena::default();
        let empty = ClusterSnapshot::empty("bench");
        let whole = empty.next(&specs, &mut arena, 0);
        let short = whole.next(&specs[1..], &mut arena, 0);
        Self { whole: Arc::new(whole), short: Arc::new(short), empty: Arc::new(empty) }
    }
}

fn row<P: Plugin>(policy: &str, endpoints: u16, cell: Duration) -> Result<Row> {
    let (clusters, config) = (Clusters::new(endpoints), config(policy));
    let cluster = NativeCluster::new(Arc::clone(&clusters.whole), 0);
    let setup = Setup { seed: 1, worker: 0, workers: 1 };
    let mut native = Native::<P>::configure(config, setup).map_err(|error| anyhow::anyhow!("{error}"))?;
    native.endpoints_changed(0, &cluster);
    let mut fast = instance(policy, config, "fast", &clusters.whole)?;
    let mut portable = instance(policy, config, "portable", &clusters.whole)?;
    let changes = changes(&mut fast, &clusters)?;
    for endpoint in clusters.whole.endpoints() {
        // Who hears results has heard of every endpoint.
        let latency_us = (mix(endpoint.id.0) % 10_000) as u32 + 100;
        native.on_result(0, &native_result(endpoint.id.0, latency_us));
        for instance in [&mut fast, &mut portable] {
            instance.lane().on_result(0, &result(endpoint.id, latency_us))?;
        }
    }
    for policy in [&mut fast, &mut portable] {
        policy.lane().tick(0)?;
    }
    native.tick(0, &cluster);
    let (mut request, seen) = request(&mut native, &cluster);
    let begun = Instant::now();
    (0..16).for_each(|now| _ = black_box(portable.lane().pick(now, mix(now + 1), &mut request)));
    let calls = calls_in_batch(begun.elapsed() / 16);
    let mut picks = [Vec::new(), Vec::new(), Vec::new()];
    let begun = Instant::now();
    while begun.elapsed() < 3 * cell || picks[0].len() < 3 {
        // What was asked for in a batch is thrown away after it.
        let cluster = NativeCluster::new(Arc::clone(&clusters.whole), 0);
        for endpoint in clusters.whole.endpoints().iter().take(64) {
            let (ok, round_trip_us, load, latency_us) = (true, 100, Some(1), Some(mix(endpoint.id.0) % 1000));
            let id = endpoint.id;
            let probe = sluicegate_sdk::ProbeResult { endpoint: id.0, ok, round_trip_us, load, latency_us };
            native.on_probe(0, &probe, &cluster);
            for instance in [&mut fast, &mut portable] {
                instance.lane().on_probe(0, &ProbeResult { endpoint: id, ok, round_trip_us, load, latency_us })?;
                drop(mem::take(instance.lane().asked()));
            }
        }
        picks[0].push(batch(calls, |now| {
            black_box(native.pick(black_box(now), mix(now + 1), 0, &cluster, &seen));
        }));
        for (times, instance) in picks[1..].iter_mut().zip([&mut fast, &mut portable]) {
            times.push(batch(calls, |now| {
                let _ = black_box(instance.lane().pick(black_box(now), mix(now + 1), &mut request));
            }));
        }
    }
    Ok(Row { picks, changes })
}

/// A request as lanes and native policies see it: with the cookie that the policy sets, and a prompt, if it looks at any.
fn request<P: Plugin>(native: &mut Native<P>, cluster: &NativeCluster) -> (RequestHead, Seen) {
    let body = vec![b'x'; (native.world().needs().body_prefix as usize).min(PROMPT)];
    let mut seen = Seen { cookie: RefCell::default(), body };
    native.pick(0, 1, 0, cluster, &seen);
    let set_cookie = seen.cookie.take();
    let cookie = set_cookie.split(';').next().unwrap_or_default().to_owned();
    let mut head = RequestHead { body_prefix: seen.body.clone().into(), ..RequestHead::default() };
    if let Ok(value) = HeaderValue::from_str(&cookie)
        && !cookie.is_empty()
    {
        head.parts.headers.all_mut().insert(COOKIE, value);
    }
    seen.cookie = RefCell::new(cookie);
    (head, seen)
}

/// Bytes in a prompt: a page of text.
const PROMPT: usize = 4096;

/// The request, as native policies see it.
struct Seen {
    /// Name and value; what was set last, while there is none.
    cookie: RefCell<String>,
    body: Vec<u8>,
}

impl Head for Seen {
    fn tried(&self, _nth: u32) -> u32 {
        u32::MAX
    }

    fn cookie(&self, name: &str) -> Option<String> {
        let cookie = self.cookie.borrow();
        cookie.split_once('=').filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    fn body(&self, start: u32, length: u32) -> Vec<u8> {
        let rest = self.body.get(start as usize..).unwrap_or_default();
        rest[..rest.len().min(length as usize)].to_vec()
    }

    fn take(&self, said: Said<'_>) {
        if let Said::ResponseHeader("set-cookie", value) = said {
            value.clone_into(&mut self.cookie.borrow_mut());
        }
    }
}

/// What it takes, in microseconds, until a policy knows of other endpoints: that all have come, and that one has left
/// or come back.
fn changes(instance: &mut Instance, clusters: &Clusters) -> Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..CHANGES {
        let snapshots = [&clusters.empty, &clusters.whole, &clusters.short, &clusters.whole];
        let [_, all, left, back] = snapshots.map(|snapshot| {
            let start = Instant::now();
            instance.lane().endpoints_changed(0, Arc::clone(snapshot))?;
            Ok::<_, Fault>(start.elapsed().as_nanos() as f64 / 1000.0)
        });
        times[0].push(all?);
        times[1].extend([left?, back?]);
    }
    Ok(times.map(|mut times| quantile(&mut times, 0.5)))
}

fn result(endpoint: sluicegate_core::EndpointId, latency_us: u32) -> AttemptResult {
    let (first_byte_us, total_us) = (latency_us, latency_us);
    AttemptResult { endpoint, outcome: Outcome::Answered, status: 200, connect_us: 0, first_byte_us, total_us }
}

fn native_result(endpoint: u64, latency_us: u32) -> sluicegate_sdk::AttemptResult {
    let (outcome, first_byte_us, total_us) = (sluicegate_sdk::Outcome::Answered, latency_us, latency_us);
    sluicegate_sdk::AttemptResult { endpoint, outcome, status: 200, connect_us: 0, first_byte_us, total_us }
}

fn instance(policy: &str, config: &str, lane: &str, snapshot: &Arc<ClusterSnapshot>) -> Result<Instance> {
    let engine = Engine::new(Limits::default(), None).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let artifact = engine.load(&wasm::builtin(policy, lane))?;
    let spec = GenerationSpec {
        cluster: "bench".into(),
        policy: policy.into(),
        artifact,
        config: config.into(),
        seed: 1,
        workers: 1,
    };
    Ok(Generation::new(1, spec).instance(&engine, 0, Arc::clone(snapshot), 0)?)
}
