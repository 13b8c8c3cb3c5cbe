//! Beside NGINX and HAProxy.

use super::super::{data::Findings, doc::Document, render::Parts, scenarios::peers::PERCENTILES};
use super::{findings, goals, number, opening::fact, overhead::pair, remarks, show};
use crate::{
    chart::{Axis, Lines, Series},
    stats::Estimate,
};

pub(crate) const PEERS: [(&str, &str); 2] = [("nginx", "NGINX"), ("haproxy", "HAProxy")];
/// The proxy, and another build of it.
const OWN: [(&str, &str); 2] = [("sluicegate", "Sluicegate"), ("guided", "built by `pgo.sh`")];
pub(crate) const KINDS: [(&str, &str); 4] = [
    ("http1-128B", "HTTP/1.1, 128 bytes"),
    ("http1-128B-many", "the same behind ten header lines"),
    ("http1-100KB", "HTTP/1.1, 100 KB"),
    ("http2-128B", "HTTP/2 from clients, 128 bytes"),
];

/// Those that were there.
fn present(findings: &Findings) -> Vec<(&'static str, &'static str)> {
    let is_there = |key: &str| findings.measures.contains_key(&format!("{key}/memory"));
    OWN.into_iter().chain(PEERS).filter(|(key, _)| is_there(key)).collect()
}

/// The proxy's ratio to the better of its peers.
pub(crate) fn to_the_better(findings: &Findings, kind: &str, what: &str) -> Option<(Estimate, &'static str)> {
    build_to_the_better(findings, "sluicegate", kind, what)
}

/// The same of one of its builds.
pub(crate) fn build_to_the_better(
    findings: &Findings,
    build: &str,
    kind: &str,
    what: &str,
) -> Option<(Estimate, &'static str)> {
    let peers = present(findings).into_iter().filter(|peer| PEERS.contains(peer));
    let ratios = peers.filter_map(|(key, name)| {
        let names = [format!("{kind}/{build}"), format!("{kind}/{key}")];
        Some((pair(findings, &names[0], &names[1], what)?, name))
    });
    ratios.max_by(|a, b| a.0.median.total_cmp(&b.0.median))
}

pub(crate) fn section(document: &mut Document, parts: &Parts) {
    document.heading(2, "Beside the peers");
    let Some(findings) = findings(document, parts, "peers") else { return };
    let present = present(findings);
    document.text(
        "One process with one worker each, on the same processor, in turn, with the same origin and generator. What another \
         process of the same program would take, which is up to a percent more or less, is not in the intervals. All forward \
         over kept connections, and say the same to the origin: what the client asked for, and `X-Forwarded-For`, `-Proto` and `-Host`. \
         What came there is in the appendices, as are the configurations. The origin answers with five header lines, as \
         NGINX does for a text, or with ten, as for a file that may be kept. Without TLS: for that, see \
         `analysis/peers.py`.",
    );
    document.text(versions(parts));
    work(document, findings, &present);
    latency(document, findings, &present);
    memory(document, findings, &present);
    goals::table(document, goals::all(parts).iter().filter(|goal| goal.scenario == "peers"));
    remarks(document, findings);
}

/// Which peers these are: older ones than there are today, where a distribution has them.
fn versions(parts: &Parts) -> String {
    let environment = parts.get("environment");
    let version = |(key, name): (&str, &str)| {
        let text = environment.and_then(|findings| fact(findings, key))?;
        // "nginx version: nginx/1.22.1", "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - ..."
        let number = text.split([' ', '/']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        Some(format!("{name} {}", number.split('-').next().unwrap_or(number)))
    };
    let known: Vec<_> = PEERS.into_iter().filter_map(version).collect();
    let system = environment.and_then(|findings| fact(findings, "operating system"));
    match (known.is_empty(), system) {
        (false, Some(system)) => {
            format!("They are {}, as found on {system}: there may be newer ones.", known.join(" and "))
        }
        _ => "Their versions were not kept.".to_owned(),
    }
}

type Present = [(&'static str, &'static str)];

/// A row of a table: something of everybody who was there.
fn row(findings: &Findings, present: &Present, title: &str, measure: impl Fn(&str) -> String) -> Vec<String> {
    let cells = present.iter().map(|(key, _)| show(findings.estimate(&measure(key))));
    [title.to_owned()].into_iter().chain(cells).collect()
}

fn names(present: &Present) -> Vec<&'static str> {
    [""].into_iter().chain(present.iter().map(|(_, name)| *name)).collect()
}

/// What requests cost, and how many there were.
fn work(document: &mut Document, findings: &Findings, present: &Present) {
    let mut head = names(present);
    head.push("to the peer it compares worst with, in pairs");
    let rows = KINDS.map(|(kind, title)| {
        let ratio = to_the_better(findings, kind, "cpu");
        let ratio = ratio.map_or("–".into(), |(ratio, peer)| format!("{}, {peer}", show(Some(ratio))));
        let mut row = row(findings, present, title, |key| format!("{kind}/{key}/cpu"));
        row.push(ratio);
        row
    });
    document.text("Processor time (us/request), which is what a request costs:");
    document.table(&head, rows.into());
    if let Some(floor) = findings.estimate("http1-128B/haproxy-tcp/cpu") {
        document.text(format!(
            "HAProxy that relays TCP, and reads no HTTP, takes {} us for a response of 128 bytes: Sluicegate takes {} times as \
             much, in pairs.",
            show(Some(floor)),
            show(to_the_floor(findings))
        ));
    }
    let rows = KINDS.map(|(kind, title)| row(findings, present, title, |key| format!("{kind}/{key}/throughput")));
    document.text("Throughput (requests/s) in a closed loop. Where the generator and the origin share a processor that is full, it is theirs:");
    document.table(&names(present), rows.into());
}

/// At the same rate for all.
fn latency(document: &mut Document, findings: &Findings, present: &Present) {
    let mut present = present.to_vec();
    present.push(("origin", "without a proxy"));
    let present = present.as_slice();
    let rows = PERCENTILES
        .map(|(percentile, _)| row(findings, present, percentile, |key| format!("fixed/{key}/{percentile}")));
    let rate = findings.estimate("fixed-rate").map_or("–".into(), |rate| number(rate.median));
    document.text(format!(
        "Latency (ms) at {rate} requests a second, which is half of what the slowest of them can do, HTTP/1.1, \
         open loop. What of it is the generator's and the origin's is the last column. Figures are medians of many runs \
         of 0.03 s, so they leave out moments at which the processor was taken away from whoever was measured:"
    ));
    document.table(&names(present), rows.into());
    let series = present.iter().map(|(key, name)| {
        let at =
            |(percentile, q): (&str, f64)| Some((q, findings.estimate(&format!("fixed/{key}/{percentile}"))?.median));
        Series::line(*name, PERCENTILES.into_iter().filter_map(at).collect())
    });
    let chart = Lines {
        x: Axis::percentile("percentile"),
        y: Axis::log("latency (ms)"),
        series: series.collect(),
        marks: Vec::new(),
    };
    document.chart(
        "peers-latency",
        format!("Latency by percentile at {rate} requests a second."),
        chart.svg("Latency by percentile, beside NGINX and HAProxy"),
    );
}

fn memory(document: &mut Document, findings: &Findings, present: &Present) {
    let rows = [
        ("memory", "after all runs (MiB)"),
        ("idle-at-once", "for each of 2,000 idle connections, at once (KiB)"),
        ("idle-at-rest", "the same, six seconds and more later (KiB)"),
    ]
    .map(|(what, title)| row(findings, present, title, |key| format!("{key}/{what}")));
    document.text(
        "Memory. The proxy's includes the compiler for policies. It takes a connection's buffers back after two seconds, and \
         the system has that again some seconds later:",
    );
    document.table(&names(present), rows.into());
}

/// Against HAProxy that relays bytes without reading HTTP.
pub(crate) fn to_the_floor(findings: &Findings) -> Option<Estimate> {
    pair(findings, "http1-128B/sluicegate", "http1-128B/haproxy-tcp", "cpu")
}
