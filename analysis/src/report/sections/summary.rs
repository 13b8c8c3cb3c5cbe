//! What the whole comes to, in a few lines.

use super::super::{data::Findings, render::Parts};
use super::{goals, number, overhead, peers, percent, response, show, swap};

/// Under the introduction: what was found, and what of the goals was reached.
pub(crate) fn lines(parts: &Parts) -> Vec<String> {
    let mut lines = found(parts);
    if !lines.is_empty() {
        lines.push(of_goals(parts));
    }
    lines
}

/// A sentence for each scenario that was run.
pub(crate) fn found(parts: &Parts) -> Vec<String> {
    let lines = [
        parts.get("response").and_then(capacity),
        parts.get("pairs").and_then(policy),
        parts.get("swap").and_then(swaps),
        parts.get("peers").and_then(beside),
    ];
    lines.into_iter().flatten().collect()
}

fn capacity(findings: &Findings) -> Option<String> {
    let of = |(key, name): (&str, &str)| {
        let peak = number(findings.estimate(&format!("{key}/peak"))?.median);
        let within = match response::at_limit(findings, key) {
            Some(rate) => format!("and {} by a schedule with a p99 within {} ms", number(rate), response::LIMIT_MS),
            None => format!("and at no rate with a p99 within {} ms", response::LIMIT_MS),
        };
        Some(format!("{peak} small requests a second over {name} in a closed loop, {within}"))
    };
    let all: Vec<_> = response::PROTOCOLS.into_iter().filter_map(of).collect();
    (!all.is_empty()).then(|| format!("**Capacity.** One worker answers {}.", all.join("; and ")))
}

fn policy(findings: &Findings) -> Option<String> {
    let (pick, cpu) = overhead::policy_share(findings)?;
    let end_to_end =
        overhead::against_native(findings).map_or(String::new(), |verdict| format!(" End to end, {}.", verdict.said()));
    Some(format!(
        "**What a policy costs.** A pick by `p2c` takes {} ns, {} of a request's processor time.{end_to_end}",
        number(pick),
        percent(pick / cpu)
    ))
}

fn swaps(findings: &Findings) -> Option<String> {
    let failed = findings.estimate("failed-requests")?.median;
    let failed = if failed == 0.0 { "fail no request".to_owned() } else { format!("fail {} requests", number(failed)) };
    let felt = swap::felt(findings).map_or(String::new(), |ratio| {
        format!(
            ", and p99 is {} times as high while one goes on, compiled on the worker's own processor",
            show(Some(ratio))
        )
    });
    let file = findings.estimate("file-to-request").map_or(String::new(), |ms| {
        format!(" A new policy serves {} ms after its file's change, without other load.", show(Some(ms)))
    });
    Some(format!("**What swaps do.** They {failed}{felt}.{file}"))
}

fn beside(findings: &Findings) -> Option<String> {
    let of = |(kind, title): (&str, &str)| {
        let (ratio, peer) = peers::to_the_better(findings, kind, "cpu")?;
        Some(format!("{title}: {} of {peer}'s", show(Some(ratio))))
    };
    let all: Vec<_> = peers::KINDS.into_iter().filter_map(of).collect();
    (!all.is_empty()).then(|| {
        format!("**Beside the peers.** Processor time to that of whom it compares worst with: {}.", all.join("; "))
    })
}

/// What of the goals was reached, with those on the bad side told as such.
pub(crate) fn of_goals(parts: &Parts) -> String {
    let goals = goals::all(parts);
    let of = |word: &str| goals.iter().filter(|goal| goal.verdict.contains(word)).count();
    let not_measured = match of("not measured") {
        0 => String::new(),
        count => format!(" {count} were not measured."),
    };
    format!(
        "**Goals.** Of {}, {} are met and {} missed. {} can't be told from the noise: {} with the median on the good side, {} \
         on the bad side.{not_measured}",
        goals.len(),
        goals.iter().filter(|goal| goal.verdict == "met").count(),
        of("**missed**"),
        of("undecided"),
        of("rather met"),
        of("rather missed")
    )
}
