//! What the figures say, by rules. Each rule looks at the data, and is silent when it has nothing to say; what it says
//! has its evidence with it.

mod policies;

use super::{
    data::Findings,
    render::Parts,
    sections::{number, overhead, peers, percent, policies::SITUATIONS, response, rough, show, swap},
};
use crate::stats::{estimate, median};

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
        all.extend(membership(findings));
    }
    all.extend(parts.get("swap").and_then(swaps));
    if let Some(findings) = parts.get("policies") {
        all.extend(SITUATIONS.into_iter().filter_map(|situation| policies::which(findings, situation)));
        all.extend(policies::error_magnet(findings));
    }
    if let Some(findings) = parts.get("peers") {
        all.extend(beside_peers(findings));
        all.extend(memory(findings));
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
            "Plan for about {} requests a second for each worker over {name}, which is 80% of where latency bends.",
            rough(knee.x * 0.8)
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
            .then(|| "Give it more workers before anything else, where there are processors for them.".to_owned()),
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
        evidence: format!(
            "{} us user and {} us system ({}) for a request at 80% load",
            number(user),
            number(system),
            percent(share)
        ),
        advice: (share > 0.5).then(|| {
            "Look for savings in system calls first: fewer connections, kept alive, with more on each.".to_owned()
        }),
    })
}

/// How much of a request's time is waiting.
fn queueing(findings: &Findings) -> Option<Finding> {
    let curve = findings.tables.get("curve-http1")?;
    let means = |share: u32| response::of_share(curve, share, "mean_ms");
    // Where a run takes three times as long as another, their median says nothing.
    let is_steady = |share: &u32| {
        let means = means(*share);
        let ends = means.iter().copied().fold((f64::INFINITY, 0.0), |(low, high), ms| (ms.min(low), ms.max(high)));
        !means.is_empty() && ends.1 < 3.0 * ends.0
    };
    let share = response::shares(curve).into_iter().filter(|share| *share <= 90).filter(is_steady).max()?;
    let (low, high) = (median(&means(10)), median(&means(share)));
    if !low.is_finite() || share <= 10 {
        return None;
    }
    let waiting = ((high - low) / high).max(0.0);
    let word = if waiting > 0.5 { "is mostly waiting in queues" } else { "is not mostly waiting in queues" };
    Some(Finding {
        what: format!("At {share}% of a closed loop's throughput, a request's time {word}."),
        evidence: format!(
            "in the mean {} ms at 10% load, {} ms at {share}%: {} of it is waiting",
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
            "A worker answers {} small requests a second with a p99 within {} ms in the median run.",
            number(rate),
            response::LIMIT_MS
        ),
        evidence: format!(
            "the highest load of HTTP/1.1 that kept to it, and all below; a request takes {} us of a processor at half load, and \
             less the busier the worker is",
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
    let what = if share < 0.02 { "is a small part of a request" } else { "is a visible part of a request" };
    let pairs =
        overhead::against_native(findings).map_or(String::new(), |both| format!("; end to end, {}", both.said()));
    Some(Finding {
        what: format!("A pick by `p2c` in wasm {what}."),
        evidence: format!("{} ns of {} us at full load, {}{pairs}", number(pick), number(cpu / 1000.0), percent(share)),
        advice: (share >= 0.02)
            .then(|| "Look at the policy's own work first: `sluicegate_policy_call_seconds`.".to_owned()),
    })
}

/// What requests feel of a compile on the worker's processor.
fn swaps(findings: &Findings) -> Option<Finding> {
    let (ratio, load) = (swap::felt(findings)?, estimate(&swap::all(findings, "load"))?);
    let is_felt = ratio.low > 1.1;
    let what = if is_felt {
        "A swap of a new policy can be felt where the compiler has no processor besides the worker's."
    } else {
        "A swap can't be felt beyond the noise, even where the compiler shares the worker's processor."
    };
    Some(Finding {
        what: what.to_owned(),
        evidence: format!(
            "p99 during a swap is {} ms, and {} ms without, {} times as much; loading takes {} ms",
            show(findings.estimate("p99-during-a-swap")),
            show(findings.estimate("p99-without-a-swap")),
            show(Some(ratio)),
            show(Some(load))
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
        if many > overhead::GROWS * few {
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

/// What other endpoints cost a policy, where that is much.
fn membership(findings: &Findings) -> Option<Finding> {
    const MUCH_US: f64 = 1000.0;
    let us = |name: &str| findings.estimate(name).map(|estimate| estimate.median);
    let names = findings.measures.keys().filter_map(|name| name.strip_suffix("/1000/all-new"));
    let known: Vec<_> = names.filter_map(|policy| Some((policy, us(&format!("{policy}/1000/all-new"))?))).collect();
    let slow = known.iter().filter(|(_, all)| *all > MUCH_US).map(|(policy, all)| {
        let one = us(&format!("{policy}/1000/one-more")).map_or("–".into(), |one| number(one / 1000.0));
        format!("`{policy}` {} ms, {one} ms for one more", number(all / 1000.0))
    });
    let slow: Vec<_> = slow.collect();
    (!slow.is_empty()).then(|| Finding {
        what: "Some policies take milliseconds to learn of other endpoints.".to_owned(),
        evidence: format!("of 1,000 new ones: {}", slow.join("; ")),
        advice: Some("With many endpoints that come and go, prefer a policy without large tables.".to_owned()),
    })
}

/// What small responses cost beside the peers.
fn beside_peers(findings: &Findings) -> Option<Finding> {
    let mut said = Vec::new();
    let mut is_behind = false;
    for (kind, title) in peers::KINDS {
        if let Some((ratio, peer)) = peers::to_the_better(findings, kind, "cpu") {
            is_behind |= ratio.low > 1.0;
            said.push(format!("{title}: {} of {peer}", show(Some(ratio))));
        }
    }
    (!said.is_empty()).then(|| Finding {
        what: match is_behind {
            true => "There is a peer that needs less processor time for the same.",
            false => "Beside its peers, the proxy's processor time can't be told from theirs, or is less.",
        }
        .to_owned(),
        evidence: said.join("; "),
        advice: None,
    })
}

/// Memory beside the peers, where it is a multiple.
fn memory(findings: &Findings) -> Option<Finding> {
    let of = |peer: &str, when: &str| findings.estimate(&format!("{peer}/idle-{when}")).map(|kib| kib.median);
    let (own, rested) = (of("sluicegate", "at-once")?, of("sluicegate", "at-rest")?);
    let (best, name) = peers::PEERS
        .into_iter()
        .filter_map(|(key, name)| Some((of(key, "at-once")?, name)))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    (own > 2.0 * best).then(|| Finding {
        what: format!("An idle connection takes more memory than in {name}."),
        evidence: format!(
            "{} KiB at once and {} six seconds later, and {} at once in {name}",
            number(own),
            number(rested),
            number(best)
        ),
        advice: Some(format!("Plan {} MB for 10,000 idle connections.", rough(own * 10_000.0 * 1024.0 / 1e6))),
    })
}
