//! A policy in wasm against the same without wasm, end to end.
//!
//! The proxy has no native lane, and gets none for the sake of a measurement: that would be another program. But it has
//! the native fallback, which is `p2c` in native code: two endpoints by chance, and the one with fewer requests in
//! flight for its weight. A policy that fails five times is put aside for good, and where it has no predecessor the
//! fallback serves all requests. So both sides are the same process, and differ by the path that is asked for: two
//! processes of the same program differ by a percent, by where their memory happens to lie. The fallback's side also
//! spares the bookkeeping of calls, so what is told as the cost of wasm is rather too much than too little.
//!
//! A third path leads to a second cluster with `p2c`: what it differs by from the first is the noise.
//!
//! Throughput is compared within one run: the same connections ask for one path and for the other, in turns of
//! [`TURN`]. What a machine does for a moment hits one turn of hundreds, what it does for longer hits both sides, and
//! where the connections' memory happens to lie is the same for both.

use std::time::Duration;

use anyhow::Result;
use sluicegate_tests::wasm::ByHand;

use super::super::{
    Setting,
    data::{Better, Findings},
};
use crate::{
    load::{Plan, Target},
    stand::{Gate, OriginSpec, Origins, endpoints},
};

/// What is compared, and the policies behind it.
const CLUSTERS: [(&str, &str); 3] =
    [("p2c", "\"p2c\""), ("fallback", "{ file = \"bad.wasm\" }"), ("control", "\"p2c\"")];

/// How many proxies are measured, one after the other: what lies where in memory differs from one to the next, and makes
/// one path of two cheaper by a few tenths of a percent for as long as a process lives.
const PROCESSES: usize = 20;

/// How long one path is asked for before the other: many times what the requests take that are under way at its beginning.
const TURN: Duration = Duration::from_millis(10);

/// Pieces of a turn. In the first one, answers to requests of the turn before it come.
const PIECES: u32 = 5;

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let origins = Origins::start((0..16).map(|_| OriginSpec::default()).collect())?;
    // It passes its rehearsal of 64 picks.
    let bad = ByHand {
        pick: "(if (i32.gt_u (global.get $turn) (i32.const 200)) (then unreachable)) i32.const 0",
        ..ByHand::default()
    };
    let list = endpoints(&origins.addresses);
    let config = CLUSTERS.map(|(name, policy)| {
        format!("[[route]]\npath = \"/{name}\"\ncluster = \"{name}\"\n[cluster.{name}]\npolicy = {policy}\nendpoints = {list}\n")
    });
    findings.text("policy that fails", bad.pick);
    for process in 0..setting.count(PROCESSES, 2) {
        let gate = Gate::start(&config.concat(), setting.cores, |dir| {
            std::fs::write(dir.join("bad.wasm"), bad.module()).expect("a folder of its own");
        })?;
        for (name, _) in CLUSTERS {
            gate.warm(&format!("/{name}"))?;
        }
        quarantine(&gate)?;
        in_turns(&gate, ["p2c", "fallback"], setting.time(4.0, 1.0), process, &mut findings)?;
        in_turns(&gate, ["control", "p2c"], setting.time(1.5, 1.0), process, &mut findings)?;
        let peak = closed(setting, &gate, process, &mut findings)?;
        steady(setting, &gate, &origins, peak / 2.0, process, &mut findings)?;
        in_service(&gate, &mut findings)?;
    }
    own_cost(&mut findings);
    Ok(findings)
}

/// How many requests are answered of each of two clusters, in turns.
fn in_turns(gate: &Gate, pair: [&str; 2], time: Duration, process: usize, findings: &mut Findings) -> Result<()> {
    // Nobody is always first.
    let [first, second] = if process.is_multiple_of(2) { pair } else { [pair[1], pair[0]] };
    let target = Target::at(gate.http1(), &format!("/{first}")).in_turns_with(&format!("/{second}"), TURN);
    let warm_up = 20 * TURN;
    let outcome = Plan { slice: TURN / PIECES, ..Plan::closed(target, 64, warm_up, time) }.run()?;
    anyhow::ensure!(outcome.error_count() == 0, "the proxy answers with errors: {:?}", outcome.errors);
    let counted = (TURN / PIECES * (PIECES - 1)).as_secs_f64();
    let turns: Vec<_> = outcome.slices.chunks_exact(PIECES as usize).skip(20).collect();
    for both in turns.chunks_exact(2) {
        for (name, pieces) in [first, second].into_iter().zip(both) {
            let answered: u64 = pieces[1..].iter().map(|piece| piece.latency.len()).sum();
            let name = format!("turns/{}-{}/{name}", pair[0], pair[1]);
            findings.add(name, "requests/s", Better::Higher, answered as f64 / counted);
        }
    }
    Ok(())
}

/// As fast as it goes, in runs of their own: what a request takes of a processor. Returns how many there were a second.
fn closed(setting: &Setting, gate: &Gate, process: usize, findings: &mut Findings) -> Result<f64> {
    // Pairs that are short and many tell more than a few long ones: the machine is not the same for long.
    let (short, time) = (setting.time(0.03, 0.03), setting.time(0.1, 0.1));
    let mut peak = 0.0;
    for round in 0..setting.count(4, 8) {
        // Nobody is always first.
        for turn in 0..CLUSTERS.len() {
            let (name, _) = CLUSTERS[(process + round + turn) % CLUSTERS.len()];
            let target = Target::at(gate.http1(), &format!("/{name}"));
            let before = gate.usage();
            let outcome = Plan::closed(target, 64, short, time).run()?;
            let spent = gate.usage() - before;
            let answered = outcome.throughput() * (short + time).as_secs_f64();
            findings.add(format!("{name}/cpu"), "us/request", Better::Lower, spent.total / answered * 1e6);
            peak = outcome.throughput();
        }
    }
    Ok(peak)
}

/// At a rate.
fn steady(
    setting: &Setting,
    gate: &Gate,
    origins: &Origins,
    rate: f64,
    process: usize,
    findings: &mut Findings,
) -> Result<()> {
    let rounds = setting.count(3, 5);
    for round in 0..rounds {
        for turn in 0..CLUSTERS.len() {
            let (name, _) = CLUSTERS[(process + round + turn) % CLUSTERS.len()];
            let target = Target::at(gate.http1(), &format!("/{name}"));
            let plan = Plan::steady(target, rate, setting.time(0.05, 0.05), setting.time(0.1, 0.1));
            let seed = (process * rounds + round) as u64;
            let outcome = origins.run(Plan { seed, watches: true, ..plan })?;
            for (percentile, q) in [("p50", 0.5), ("p99", 0.99)] {
                findings.add(format!("{name}/{percentile}"), "ms", Better::Lower, outcome.ms(q));
            }
        }
    }
    Ok(())
}

/// Until the fallback serves everything.
fn quarantine(gate: &Gate) -> Result<()> {
    for _ in 0..20 {
        gate.warm("/fallback")?;
        let labels = ["callback=\"pick\"", "cluster=\"fallback\""];
        let calls = || gate.metric("sluicegate_policy_call_seconds_count", &labels);
        let before = calls()?;
        gate.warm("/fallback")?;
        if calls()? == before {
            return Ok(());
        }
    }
    anyhow::bail!("the policy that fails was not put aside")
}

/// What the proxy itself has measured, with real requests between the calls.
fn in_service(gate: &Gate, findings: &mut Findings) -> Result<()> {
    for callback in ["pick", "on_result", "endpoints_changed"] {
        let labels = [&format!("callback=\"{callback}\"")[..], "cluster=\"p2c\""];
        let read = |part: &str| gate.metric(&format!("sluicegate_policy_call_seconds_{part}"), &labels);
        let (sum, count) = (read("sum")?, read("count")?);
        findings.add(format!("in-service/{callback}/calls"), "calls", Better::Neither, count);
        if count > 0.0 {
            findings.add(format!("in-service/{callback}/mean"), "ns", Better::Neither, sum / count * 1e9);
        }
    }
    let (pick, request) = ("sluicegate_policy_call_seconds_sum", "sluicegate_request_duration_seconds_sum");
    let of_pick = gate.metric(pick, &["callback=\"pick\"", "cluster=\"p2c\""])?;
    let share = of_pick / gate.metric(request, &["cluster=\"p2c\""])?;
    findings.add("in-service/share-of-latency", "of a request's time", Better::Neither, share);
    Ok(())
}

/// What it costs to measure a call: two looks at the clock, and a record in the proxy's own histogram.
fn own_cost(findings: &mut Findings) {
    const COUNT: u32 = 1_000_000;
    let clock = sluicegate_policy::Clock::start();
    let telemetry = sluicegate_admin::Telemetry::new();
    let calls = metrics::with_local_recorder(&telemetry.shard(), || metrics::histogram!("own_call_seconds"));
    for _ in 0..7 {
        let start = std::time::Instant::now();
        for _ in 0..COUNT {
            std::hint::black_box(clock.now());
        }
        let look = start.elapsed().as_nanos() as f64 / f64::from(COUNT);
        let start = std::time::Instant::now();
        for turn in 0..COUNT {
            calls.record(std::hint::black_box(f64::from(turn % 100) * 1e-9));
        }
        let record = start.elapsed().as_nanos() as f64 / f64::from(COUNT);
        findings.add("own-cost/look", "ns", Better::Lower, look);
        findings.add("own-cost/record", "ns", Better::Lower, record);
        findings.add("own-cost/call", "ns", Better::Lower, 2.0 * look + record);
    }
}
