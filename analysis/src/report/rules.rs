//! What the figures say, by rules. Each rule looks at the data, and is silent when it has nothing to say; what it says
//! has its evidence with it.

use super::{
    data::Findings,
    render::Parts,
    sections::{number, overhead, peers, percent, policies, response, show, swap},
};
use crate::stats::median;

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What is so.
    pub(crate) what: String,
    /// Which figures say it.
    pub(crate) evidence: String,
    /// What to do, if there is something to be done.
    pub(crate) advice: Option<String>,
}

/// All that is found.
pub(crate) fn look(parts: &Parts) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Some(findings) = parts.get("response") {
        all.extend(response::PROTOCOLS.into_iter().filter_map(|(key, name)| saturation(findings, key, name)));
        all.extend(who_is_full(findings));
        all.extend(kernel_share(findings));
        all.extend(queueing(findings));
        all.extend(capacity(findings));
    }
    if let Some(findings) = parts.get("pairs") {
        all.extend(policy_share(findings));
    }
    if let Some(findings) = parts.get("picks") {
        all.extend(growth(findings));
    }
    all.extend(parts.get("swap").and_then(swaps));
    if let Some(findings) = parts.get("policies") {
        all.extend(policies::SITUATIONS.into_iter().filter_map(|situation| which_policy(findings, situation)));
        all.extend(error_magnet(findings));
    }
    if let Some(findings) = parts.get("peers") {
        all.extend(behind_peers(findings));
    }
    all
}

fn saturation(findings: &Findings, key: &str, name: &str) -> Option<Finding> {
    let curve = findings.tables.get(&format!("curve-{key}"))?;
    let knee = response::find_knee(curve)?;
    let peak = findings.estimate(&format!("{key}/peak"))?.median;
    Some(Finding {
        what: format!("{name} saturates at {} of its peak.", percent(knee.x / peak)),
        evidence: format!(
            "the bend of p99 is at {} requests a second; the peak of a closed loop is {}",
            number(knee.x),
            number(peak)
        ),
        advice: Some(format!(
            "Plan for at most {} requests a second for each worker over {name}, which is 80% of where latency bends.",
            number(knee.x * 0.8)
        )),
    })
}

/// Which side ran out of processor at the peak.
fn who_is_full(findings: &Findings) -> Option<Finding> {
    let proxy = findings.estimate("http1/peak/busy")?.median;
    let generator = findings.estimate("http1/peak/generator")?.median;
    let what = if proxy > 0.95 {
        "At its peak, the worker's processor is what limits."
    } else {
        "At the peak, the worker's processor is not what limits: origins and load are, or the machine was taken away."
    };
    Some(Finding {
        what: what.to_owned(),
        evidence: format!(
            "the proxy took {} of a processor, the generator alone {} of the other, which it shares with the origins",
            percent(proxy),
            percent(generator)
        ),
        advice: (proxy > 0.95)
            .then(|| "Give it more workers before anything else: each is a processor's worth.".to_owned()),
    })
}

fn kernel_share(findings: &Findings) -> Option<Finding> {
    let get = |what: &str| findings.estimate(&format!("http1/at-80/{what}")).map(|estimate| estimate.median);
    let (user, system) = (get("cpu-user")?, get("cpu-system")?);
    let share = system / (user + system);
    let what = if share > 0.5 {
        "Most of a request's processor time is the kernel's: sockets, not HTTP and not policies."
    } else {
        "Most of a request's processor time is the proxy's own."
    };
    Some(Finding {
        what: what.to_owned(),
        evidence: format!("{} us user and {} us system ({}) for a request at 80% load", number(user), number(system), percent(share)),
        advice: (share > 0.5).then(|| {
            "Keep connections alive on both sides, and prefer HTTP/2 from clients that send many requests: fewer system \
             calls for each request save more than any policy costs."
                .to_owned()
        }),
    })
}

/// How much of a request's time is waiting.
fn queueing(findings: &Findings) -> Option<Finding> {
    let curve = findings.tables.get("curve-http1")?;
    let mean = |share: u32| median(&response::of_share(curve, share, "mean_ms"));
    let (low, high) = (mean(10), mean(90));
    if !(low.is_finite() && high.is_finite()) {
        return None;
    }
    let waiting = ((high - low) / high).max(0.0);
    let word = if waiting > 0.5 { "is mostly waiting in queues" } else { "is not mostly waiting in queues" };
    Some(Finding {
        what: format!("At 90% of the peak, a request's time {word}."),
        evidence: format!(
            "in the mean {} ms at 10% load, {} ms at 90%: {} of it is waiting",
            number(low),
            number(high),
            percent(waiting)
        ),
        advice: None,
    })
}

fn capacity(findings: &Findings) -> Option<Finding> {
    let rate = response::at_limit(findings, "http1")?;
    let cpu = findings.estimate("http1/at-50/cpu")?.median;
    let workers = (10_000.0 / rate).ceil();
    Some(Finding {
        what: format!(
            "A worker answers {} small requests a second with a p99 within {} ms.",
            number(rate),
            response::LIMIT_MS
        ),
        evidence: format!(
            "the highest load of HTTP/1.1 that kept to it; a request takes {} us of a processor",
            number(cpu)
        ),
        advice: Some(format!(
            "For 10,000 requests a second, {workers} {} would do on this machine; leave room for bursts.",
            if workers == 1.0 { "worker" } else { "workers" }
        )),
    })
}

fn policy_share(findings: &Findings) -> Option<Finding> {
    let (pick, cpu) = overhead::policy_share(findings)?;
    let share = pick / cpu;
    let what = if share < 0.02 {
        "A policy in wasm is not a bottleneck."
    } else {
        "The policy takes a visible part of a request."
    };
    let throughput = overhead::pair(findings, "p2c", "fallback", "throughput");
    let pairs = throughput.map_or(String::new(), |ratio| {
        format!("; in pairs, throughput with wasm is {} of that without", number(ratio.median))
    });
    Some(Finding {
        what: what.to_owned(),
        evidence: format!("{} ns of {} us, {}{pairs}", number(pick), number(cpu / 1000.0), percent(share)),
        advice: (share >= 0.02)
            .then(|| "Look at the policy's own work first: `sluicegate_policy_call_seconds`.".to_owned()),
    })
}

/// What requests feel of a compile on the worker's processor.
fn swaps(findings: &Findings) -> Option<Finding> {
    let (ratio, load) = (swap::felt(findings)?, findings.estimate("load/without-state")?);
    let is_felt = ratio.low > 1.1;
    let what = if is_felt {
        "A swap of a new policy can be felt where the compiler has no processor besides the worker's."
    } else {
        "A swap can't be felt beyond the noise, even where the compiler shares the worker's processor."
    };
    Some(Finding {
        what: what.to_owned(),
        evidence: format!(
            "p99 during a swap is {} of that without; loading takes {} ms",
            show(Some(ratio)),
            number(load.median)
        ),
        advice: is_felt
            .then(|| "Where policies change often, leave the proxy a processor more than it has workers.".to_owned()),
    })
}

/// Policies that look at every endpoint.
fn growth(findings: &Findings) -> Option<Finding> {
    let ns =
        |policy: &str, count: u32| findings.estimate(&format!("{policy}/{count}/fast")).map(|estimate| estimate.median);
    let mut growing = Vec::new();
    for name in findings.measures.keys().filter(|name| name.ends_with("/16/fast")) {
        let policy = name.split('/').next()?;
        let (few, many) = (ns(policy, 16)?, ns(policy, 1000)?);
        if many > 3.0 * few {
            growing.push(format!("`{policy}` from {} to {} ns", number(few), number(many)));
        }
    }
    (!growing.is_empty()).then(|| Finding {
        what: "Some policies cost more with more endpoints.".to_owned(),
        evidence: format!("from 16 to 1,000 endpoints: {}", growing.join(", ")),
        advice: Some(
            "With hundreds of endpoints, prefer a policy whose cost stays the same, unless its choice is worth it."
                .to_owned(),
        ),
    })
}

/// The best of a situation by its tail, if one is best beyond the noise.
fn which_policy(findings: &Findings, situation: &str) -> Option<Finding> {
    let (all, loads) = policies::measured(findings);
    let load = loads.into_iter().filter(|load| *load <= 80).max()?;
    let what = findings.texts.get(situation)?;
    let get = |policy: &String, what: &str| findings.estimate(&format!("{situation}/{load}/{policy}/{what}"));
    // Errors are worse than any wait; a few in a hundred more or less are chance.
    let ranked =
        |policy: &String| Some(((get(policy, "error-rate")?.median * 20.0).round() * 5.0, get(policy, "p99")?.median));
    let mut order: Vec<_> = all.iter().filter_map(|policy| Some((ranked(policy)?, policy))).collect();
    order.sort_by(|a, b| a.0.0.total_cmp(&b.0.0).then(a.0.1.total_cmp(&b.0.1)));
    let ((best_errors, best_ms), best) = order.first()?;
    let high = get(best, "p99")?.high;
    // Whoever is not clearly worse shares the first place.
    let equals: Vec<_> = order
        .iter()
        .filter(|((errors, _), policy)| {
            errors == best_errors && get(policy, "p99").is_some_and(|e| e.low <= high * 1.1)
        })
        .map(|(_, policy)| format!("`{policy}`"))
        .collect();
    let listed: Vec<_> = order
        .iter()
        .map(|((errors, ms), policy)| format!("`{policy}` {} ms, about {errors}% errors", number(*ms)))
        .collect();
    let are = if equals.len() == 1 { "is" } else { "are" };
    Some(Finding {
        what: format!("{}: {} {are} best, with a p99 of {} ms.", capital(what), equals.join(", "), number(*best_ms)),
        evidence: format!("p99 and errors at {load}% load: {}", listed.join("; ")),
        advice: (equals.len() < order.len()).then(|| format!("{}: use {}.", capital(what), equals.join(" or "))),
    })
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// An origin that fails fast looks idle.
fn error_magnet(findings: &Findings) -> Option<Finding> {
    let (all, loads) = policies::measured(findings);
    let load = loads.into_iter().filter(|load| *load <= 80).max()?;
    let share = |policy: &String| findings.estimate(&format!("failing/{load}/{policy}/share/4")).map(|e| e.median);
    let drawn: Vec<_> =
        all.iter().filter_map(|policy| Some((policy, share(policy)?))).filter(|(_, share)| *share > 0.25).collect();
    let listed: Vec<_> = drawn.iter().map(|(policy, share)| format!("`{policy}` {}", percent(*share))).collect();
    (!drawn.is_empty()).then(|| Finding {
        what: "An origin that fails fast draws requests to it under policies that go by load, as it always looks idle."
            .to_owned(),
        evidence: format!("share of the failing one of five, at {load}% load: {}", listed.join(", ")),
        advice: Some("Configure `[cluster.NAME.outlier]` or health checks wherever a policy goes by load.".to_owned()),
    })
}

fn behind_peers(findings: &Findings) -> Option<Finding> {
    let mut worse = Vec::new();
    for (kind, title) in peers::KINDS {
        if let Some((ratio, peer)) = peers::to_the_better(findings, kind, "cpu").filter(|(ratio, _)| ratio.low > 1.0) {
            worse.push(format!("{title}: {} of {peer}", number(ratio.median)));
        }
    }
    (!worse.is_empty()).then(|| Finding {
        what: "There is a peer that needs less processor time for the same.".to_owned(),
        evidence: worse.join("; "),
        advice: None,
    })
}
