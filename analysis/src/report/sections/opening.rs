//! What was done, where, and how.

use super::super::{
    data::{Findings, Table},
    doc::Document,
    render::Parts,
    scenarios::SCENARIOS,
};
use super::{findings, number, percent, remarks, show, summary};

/// Others may use so many processors without being mentioned at the top.
const QUIET: f64 = 0.1;

pub(crate) fn introduction(document: &mut Document, parts: &Parts) {
    document.heading(2, "Introduction");
    document.text(
        "Sluicegate is an HTTP proxy whose load-balancing policies are WebAssembly modules. This report says what that \
         costs: how fast the proxy answers, what a policy takes of a request, what requests feel of a policy that is \
         replaced, which policy suits which situation, and how all this compares with NGINX and HAProxy.",
    );
    document.list(summary::lines(parts));
    let fact = |what: &str| parts.get("environment").and_then(|findings| fact(findings, what));
    let how = match (fact("command"), fact("its build"), fact("this tool's build")) {
        (Some(command), Some(proxy), Some(tool)) => format!(
            "It was made by one command, `{command}` (folders left out; the proxy: {proxy}; this tool: {tool})."
        ),
        _ => {
            "It was made by the command `report` of `sluicegate-analysis`; with which options was not kept.".to_owned()
        }
    };
    document.text(format!(
        "{how} Every figure is measured by it, and every judgement is computed from the figures; the data is in `data/`, and \
         the charts are in `charts/`. Figures of one run can be compared with each other; those of different machines, or of \
         different hours of a shared one, cannot."
    ));
    if parts.is_quick() {
        document.text(
            "**This was a quick run (`--quick`): few and short measurements. It shows that everything works; its \
             figures are rough.**",
        );
    }
    let most = parts.0.values().map(|kept| kept.neighbours).fold(0.0, f64::max);
    if most > QUIET {
        document.text(format!(
            "**The machine was not quiet: while this was measured, other programs used up to {} of its processors. Latencies \
             and throughput are theirs as much as the proxy's; ratios of pairs suffer least.**",
            number(most)
        ));
    }
    document.list(parts.contradictions().into_iter().map(|text| format!("**{text}**")).collect());
    let missing: Vec<_> = SCENARIOS.iter().filter(|scenario| parts.get(scenario.name).is_none()).collect();
    let missing =
        missing.iter().map(|scenario| format!("Not in this report: {} (`{}`).", scenario.title, scenario.name));
    document.list(missing.collect());
}

/// What is known of the machine and of what runs on it.
pub(crate) fn fact<'a>(environment: &'a Findings, what: &str) -> Option<&'a str> {
    let rows = &environment.tables.get("facts")?.rows;
    rows.iter().find(|row| row[1].text() == what).map(|row| row[2].text())
}

pub(crate) fn environment(document: &mut Document, parts: &Parts) {
    document.heading(2, "Test environment");
    let Some(findings) = findings(document, parts, "environment") else { return };
    let Some(facts) = findings.tables.get("facts") else { return };
    for (group, title) in
        [("hardware", "Hardware"), ("software", "Software"), ("network", "Network"), ("setup", "Set-up")]
    {
        document.heading(3, title);
        let rows = facts.rows.iter().filter(|row| row[0].text() == group);
        document
            .table(&["", ""], rows.map(|row| row[1..].iter().map(|cell| cell.text().to_owned()).collect()).collect());
    }
    remarks(document, findings);
}

pub(crate) fn methodology(document: &mut Document, parts: &Parts) {
    document.heading(2, "Methodology");
    document.list(
        [
            "**Set-up.** One proxy with one worker on a processor of its own; the origins and the load generator share \
             another one. All of it is on one machine, over loopback. Origins are part of the tool: they answer at once, \
             or pretend to work, as a queue with so many servers and exponential times of service, so that what they can \
             do is known. Their answers have five header lines, where nothing else is said.",
            "**Load.** The generator is open-loop: requests are due by a schedule (a Poisson process with a fixed seed), \
             and latency counts from the moment at which a request was due, whether or not a connection was free then. \
             A server that stalls is asked as often as one that does not (no coordinated omission). A request that gets \
             no answer is an error and not a gap. Peaks are measured with a closed loop instead, whose latencies are not \
             told. Where `pairs` and `peers` tell latencies, the generator and the origins are one thread that looks at the \
             clock instead of sleeping: to be woken takes longer than a proxy takes for a request. Those runs are a tenth of \
             a second and less, and many, so that a moment at which the processor is taken away from whoever is measured is \
             in few of them.",
            "**Latency** is kept in HDR histograms with three digits. Percentiles of the whole run are told, not means of \
             percentiles of its parts. They are those of good answers, with a status below 400, and errors are told beside \
             them: the generator gives up on a request after 2 seconds from when it was due in `response` and `swap`, after 4 \
             in `policies` and after 5 elsewhere, and counts a `timeout`. So where there are errors, percentiles look better than what \
             clients got.",
            "**Warm-up.** What is due in the first part of each run is sent and not counted.",
            "**Repetitions.** Each measurement is repeated; figures are medians. In brackets are 95% confidence intervals by \
             bootstrap (2,000 resamples) of six values and more; of fewer, the lowest and the highest, and of how many: \
             (1.2–1.9 of 3) is no confidence interval. Where two things are compared, their runs alternate, and the ratio is taken \
             pair by pair: a slow minute of the machine hits both.",
            "**Processor time** per request is what the kernel counted for the proxy's process, divided by the answers.",
            "**The saturation knee** is where the continuous line of two straight pieces that is closest to the logarithm \
             of p99 (least squares) bends; there is none unless the second piece is at least twice as steep and the bend \
             takes away half of what a single line leaves unexplained.",
            "**A goal** is met or missed if the whole interval is on that side of it, and undecided else; of fewer than six \
             values, all have to be on that side.",
        ]
        .map(str::to_owned)
        .into(),
    );
    let scenarios = SCENARIOS.iter().map(|scenario| {
        let seconds = parts.0.get(scenario.name).map_or("–".to_owned(), |kept| number(kept.seconds));
        let neighbours = parts.0.get(scenario.name).map_or("–".to_owned(), |kept| format!("{:.2}", kept.neighbours));
        vec![scenario.name.to_owned(), scenario.title.to_owned(), seconds, neighbours]
    });
    document.table(&["scenario", "what it measures", "took (s)", "processors that others used"], scenarios.collect());
    generator(document, parts);
}

fn generator(document: &mut Document, parts: &Parts) {
    document.heading(3, "Can the load generator be believed?");
    let Some(findings) = findings(document, parts, "generator") else { return };
    document.text(
        "Beside tools of others, with the same number of connections, in a closed loop (the one mode that all have), \
         through the proxy, in turn:",
    );
    let mut rows = Vec::new();
    let mut verdicts = Vec::new();
    for (protocol, own, others) in
        [("HTTP/1.1", "http1/own", ["wrk", "oha"].as_slice()), ("HTTP/2", "http2/own", &["h2load"])]
    {
        let get = |name: &str, what: &str| findings.estimate(&format!("{name}/{what}"));
        rows.push(row(protocol, "own", get(own, "throughput"), get(own, "mean")));
        for tool in others {
            let name = own.replace("own", tool);
            let (Some(theirs), Some(ours)) = (get(&name, "throughput"), get(own, "throughput")) else { continue };
            rows.push(row(protocol, tool, Some(theirs), get(&name, "mean")));
            let ratio = ours.median / theirs.median;
            let word = if (0.9..=1.1).contains(&ratio) { "they agree" } else { "**they differ**" };
            verdicts.push(format!("{protocol}: {} of {tool}'s throughput: {word} (within 10%).", percent(ratio)));
        }
    }
    document.table(&["", "tool", "requests/s", "mean latency (ms)"], rows);
    document.list(verdicts);
    if let Some(table) = findings.tables.get("lateness") {
        document.text("How late it sends what is due, straight to an origin, which takes part of the same processor:");
        let rows =
            table.rows.iter().map(|row| row.iter().map(|cell| number(cell.number().unwrap_or(f64::NAN))).collect());
        document.table(&["requests/s", "p50 (ms)", "p99 (ms)", "max (ms)", "share of a processor"], rows.collect());
        document.text(format!(
            "{} Each measurement below checks this for itself, and says so where requests went out late.",
            punctual(table)
        ));
    }
    remarks(document, findings);
}

/// At which rates nearly all requests went out in time, and at which not.
fn punctual(table: &Table) -> String {
    let rates = |is_good: bool| -> Vec<String> {
        let of = table.rows.iter().filter(|row| row[2].number().is_some_and(|late| late < 1.0) == is_good);
        of.filter_map(|row| row[0].number()).map(number).collect()
    };
    let (good, late) = (rates(true), rates(false));
    let within = "99 of 100 went out within a millisecond of when they were due";
    match (good.is_empty(), late.is_empty()) {
        (_, true) => format!("At all of these rates, {within}."),
        (true, _) => {
            format!("At none of these rates was it so that {within}: the generator, or the machine, was late.")
        }
        _ => format!(
            "At {} requests a second, {within}; at {}, they did not. Where that is not so at a lower rate than one where it \
             is, the machine stood still for a moment: the generator has less to do there.",
            good.join(", "),
            late.join(", ")
        ),
    }
}

fn row(
    protocol: &str,
    tool: &str,
    throughput: Option<crate::stats::Estimate>,
    mean: Option<crate::stats::Estimate>,
) -> Vec<String> {
    vec![protocol.to_owned(), tool.to_owned(), show(throughput), show(mean)]
}
