//! Policies compared, with origins of which it is known what they can do.
//!
//! All policies run at the same time, in one proxy with a cluster for each. Each has origins of its own, which draw the
//! same times of service, and requests by the same schedule, so a slow moment of the machine hits all of them.

use std::{thread, time::Duration};

use anyhow::Result;

use super::super::{
    Setting,
    data::{Better, Findings},
};
use crate::{
    load::{Arrivals, Outcome, Phase, Plan, Target},
    stand::{Gate, OriginSpec, Origins},
};

const ORIGINS: usize = 5;
/// 5 origins with 2 servers of 20 ms are 500 requests a second. All policies together are asked for as much as one worker
/// does with ease.
const GOOD: OriginSpec = OriginSpec { servers: 2, mean_ms: 20.0, extra_ms: 0.0, fails: false, cold: None };

/// A situation.
struct Situation {
    name: &'static str,
    what: &'static str,
    /// What is special about the last origin.
    last: fn(&Setting) -> OriginSpec,
    /// Whether the last two, which are in another zone, are further away.
    zones: bool,
    /// Whether the last one is there from the beginning.
    joins: bool,
    /// How much more than the rate comes in the middle fifth of the run.
    burst: f64,
}

const PLAIN: Situation =
    Situation { name: "equal", what: "five equal origins", last: |_| GOOD, zones: false, joins: false, burst: 1.0 };

const SITUATIONS: [Situation; 6] = [
    PLAIN,
    Situation {
        name: "slow",
        what: "one of five is three times slower",
        last: |_| OriginSpec { mean_ms: 60.0, ..GOOD },
        ..PLAIN
    },
    Situation {
        name: "failing",
        what: "one of five answers 500 at once; nothing else takes it out",
        last: |_| OriginSpec { fails: true, ..GOOD },
        ..PLAIN
    },
    Situation {
        name: "slow-start",
        what: "a fifth origin joins, five times slower at first",
        last: |setting| OriginSpec { cold: Some((5.0, setting.time(3.0, 1.0).as_secs_f64())), ..GOOD },
        joins: true,
        ..PLAIN
    },
    Situation { name: "burst", what: "twice the load in the middle fifth of the run", burst: 2.0, ..PLAIN },
    Situation { name: "zones", what: "two of five are 10 ms away, in another zone", zones: true, ..PLAIN },
];

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let policies: Vec<&str> = sluicegate_builtins::names().collect();
    let loads: &[u32] = if setting.quick { &[80] } else { &[50, 80, 95] };
    for situation in &SITUATIONS {
        findings.text(situation.name, situation.what);
        for load in loads {
            let mut late = 0;
            for round in 0..setting.count(3, 1) {
                late = late.max(once(setting, situation, *load, round as u64, &policies, &mut findings)?);
            }
            if late > 0 {
                findings.row(
                    "late",
                    &["situation", "load", "policies"],
                    vec![situation.name.into(), f64::from(*load).into(), f64::from(late).into()],
                );
                findings.remark(format!(
                    "{} at {load}%: requests to {late} of {} policies went out late in one of the rounds (by the generator, or a \
                     machine that stood still), so those figures are rough.",
                    situation.name,
                    policies.len()
                ));
            }
        }
    }
    Ok(findings)
}

/// One round. For how many policies the generator was late, or itself the limit.
fn once(
    setting: &Setting,
    situation: &Situation,
    load: u32,
    round: u64,
    policies: &[&str],
    findings: &mut Findings,
) -> Result<u32> {
    let specs: Vec<_> = (0..ORIGINS).map(|index| spec(setting, situation, index)).collect();
    // What joins later is nothing that could be counted on.
    let counted = if situation.joins { ORIGINS - 1 } else { ORIGINS };
    let capacity: f64 = specs[..counted].iter().map(OriginSpec::capacity).sum();
    let rate = capacity * f64::from(load) / 100.0;
    let origins = policies.iter().map(|_| Origins::start(specs.clone())).collect::<Result<Vec<_>>>()?;
    let mut gate = Gate::start(&config(policies, &origins, counted), setting.cores, |_| {})?;
    let (warm_up, time) = (setting.time(1.0, 0.3), setting.time(6.0, 2.0));
    let runs: Vec<_> = policies
        .iter()
        .map(|policy| {
            let target = Target::at(gate.http1(), &format!("/{policy}/128?key={{key}}"));
            let rate = rate * part_of(policy);
            let part = |share: f64, factor: f64| Phase { rate: rate * factor, time: time.mul_f64(share) };
            let plan = Plan {
                arrivals: Arrivals::Poisson,
                phases: vec![Phase { rate, time: warm_up }, part(0.4, 1.0), part(0.2, situation.burst), part(0.4, 1.0)],
                connections: 256,
                timeout: Duration::from_secs(4),
                seed: 100 + round,
                ..Plan::steady(target, rate, warm_up, time)
            };
            thread::spawn(move || plan.run())
        })
        .collect();
    if situation.joins {
        thread::sleep(warm_up + time / 5);
        gate.reconfigure(&config(policies, &origins, ORIGINS))?;
    }
    let mut late = 0;
    for ((policy, origins), run) in policies.iter().zip(&origins).zip(runs) {
        let outcome = run.join().map_err(|_| anyhow::anyhow!("the load generator has panicked"))??;
        tell(findings, &format!("{}/{load}/{policy}", situation.name), &outcome, &origins.served(), &specs);
        late += u32::from(outcome.own_limit().is_some());
    }
    Ok(late)
}

/// Which part of the requests a policy gets. `subset` is one of five proxies, and keeps to three of five origins: these
/// have to be as busy as those of the others.
fn part_of(policy: &str) -> f64 {
    if policy == "subset" { 3.0 / ORIGINS as f64 } else { 1.0 }
}

fn spec(setting: &Setting, situation: &Situation, index: usize) -> OriginSpec {
    let mut spec = if index == ORIGINS - 1 { (situation.last)(setting) } else { GOOD };
    if situation.zones && index >= ORIGINS - 2 {
        spec.extra_ms = 10.0;
    }
    spec
}

/// A cluster and a route for each policy.
fn config(policies: &[&str], origins: &[Origins], count: usize) -> String {
    let mut text = String::new();
    for (policy, origins) in policies.iter().zip(origins) {
        let endpoint = |(index, address): (usize, &std::net::SocketAddr)| {
            let zone = if index >= ORIGINS - 2 { "far" } else { "near" };
            format!("{{ address = \"{address}\", zone = \"{zone}\" }}")
        };
        let list: Vec<_> = origins.addresses[..count].iter().enumerate().map(endpoint).collect();
        text += &format!(
            "[[route]]\npath = \"/{policy}\"\ncluster = \"{policy}\"\nhash = [{{ query = \"key\" }}]\n\
             [cluster.{policy}]\npolicy = {{ name = \"{policy}\", config = {{ {} }} }}\nmax_attempts = 1\nendpoints = [{}]\n",
            match *policy {
                "sticky" => "key = \"000102030405060708090a0b0c0d0e0f\"",
                // All requests arrive in the near zone, and five origins are fewer than it takes to look at zones by default.
                "zone-aware" => "zone = \"near\", proxies = { near = 1 }, min_endpoints = 1",
                "subset" => "proxies = 5, proxy = 0, aperture = 3",
                // By default it does not believe a report for longer than a run takes.
                "orca-weighted" => "blackout_period_ms = 500, weight_update_period_ms = 250",
                _ => "",
            },
            list.join(", ")
        );
        if *policy == "prequal" {
            // Three for each request, also in a burst.
            text += "[cluster.prequal.probe]\npath = \"/probe\"\nmax_per_s = 3000\n";
        }
    }
    text
}

fn tell(findings: &mut Findings, name: &str, outcome: &Outcome, served: &[u64], specs: &[OriginSpec]) {
    for (percentile, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
        findings.add(format!("{name}/{percentile}"), "ms", Better::Lower, outcome.ms(q));
    }
    findings.add(format!("{name}/mean"), "ms", Better::Neither, outcome.mean_ms());
    findings.add(format!("{name}/max"), "ms", Better::Neither, outcome.max_ms());
    findings.add(format!("{name}/error-rate"), "of requests", Better::Lower, outcome.error_rate());
    for (kind, count) in &outcome.errors {
        findings.add(format!("{name}/error/{kind}"), "requests", Better::Neither, *count as f64);
    }
    findings.add(format!("{name}/throughput"), "requests/s", Better::Neither, outcome.throughput());
    let total = served.iter().sum::<u64>().max(1) as f64;
    let shares: Vec<_> = served.iter().map(|count| *count as f64 / total).collect();
    for (index, share) in shares.iter().enumerate() {
        findings.add(format!("{name}/share/{index}"), "of requests", Better::Neither, *share);
    }
    // How far from what each origin can do: 0 is in proportion, 1 is as bad as can be.
    let capacity: f64 = specs.iter().map(OriginSpec::capacity).sum();
    let off =
        shares.iter().zip(specs).map(|(share, spec)| (share - spec.capacity() / capacity).abs()).sum::<f64>() / 2.0;
    findings.add(format!("{name}/spread"), "of requests", Better::Lower, off);
}
