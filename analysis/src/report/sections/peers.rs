//! Beside NGINX and HAProxy.

use super::super::{data::Findings, doc::Document, render::Parts};
use super::{findings, goals, number, overhead::pair, remarks, show};
use crate::{
    chart::{Axis, Lines, Series},
    stats::Estimate,
};

pub(crate) const PEERS: [(&str, &str); 3] = [("sluicegate", "Sluicegate"), ("nginx", "NGINX"), ("haproxy", "HAProxy")];
pub(crate) const KINDS: [(&str, &str); 3] = [
    ("http1-128B", "HTTP/1.1, 128 bytes"),
    ("http1-100KB", "HTTP/1.1, 100 KB"),
    ("http2-128B", "HTTP/2 from clients, 128 bytes"),
];

/// Those that were there.
fn present(findings: &Findings) -> Vec<(&'static str, &'static str)> {
    let is_there = |key: &str| findings.measures.contains_key(&format!("{key}/memory"));
    PEERS.into_iter().filter(|(key, _)| is_there(key)).collect()
}

/// The proxy's ratio to the better of its peers.
pub(crate) fn to_the_better(findings: &Findings, kind: &str, what: &str) -> Option<(Estimate, &'static str)> {
    let peers = present(findings).into_iter().skip(1);
    let ratios = peers.filter_map(|(key, name)| {
        let names = [format!("{kind}/sluicegate"), format!("{kind}/{key}")];
        Some((pair(findings, &names[0], &names[1], what)?, name))
    });
    ratios.max_by(|a, b| a.0.median.total_cmp(&b.0.median))
}

pub(crate) fn section(document: &mut Document, parts: &Parts) {
    document.heading(2, "Beside the peers");
    let Some(findings) = findings(document, parts, "peers") else { return };
    let present = present(findings);
    document.text(
        "One worker each, on the same processor, in turn, with the same origin and generator; all forward over kept \
         connections and add `X-Forwarded-For`. Their configurations are in the appendices. Without TLS: for that, see \
         `analysis/peers.py`.",
    );
    let head: Vec<&str> = [""]
        .into_iter()
        .chain(present.iter().map(|(_, name)| *name))
        .chain(["to the peer it compares worst with, in pairs"])
        .collect();
    let mut rows = Vec::new();
    for (kind, title) in KINDS {
        let cells = present.iter().map(|(key, _)| show(findings.estimate(&format!("{kind}/{key}/cpu"))));
        let ratio = to_the_better(findings, kind, "cpu");
        let ratio = ratio.map_or("–".into(), |(ratio, peer)| format!("{}, {peer}", show(Some(ratio))));
        rows.push([title.to_owned()].into_iter().chain(cells).chain([ratio]).collect());
    }
    document.text("Processor time (us/request), which is what a request costs:");
    document.table(&head, rows);
    if let Some(floor) = findings.estimate("http1-128B/haproxy-tcp/cpu") {
        document.text(format!(
            "HAProxy that relays TCP, and reads no HTTP, takes {} us for a response of 128 bytes: Sluicegate takes {} times as \
             much, in pairs.",
            show(Some(floor)),
            show(to_the_floor(findings))
        ));
    }
    let plain = &head[..head.len() - 1];
    let mut rows = Vec::new();
    for (kind, title) in KINDS {
        let cells = present.iter().map(|(key, _)| show(findings.estimate(&format!("{kind}/{key}/throughput"))));
        rows.push([title.to_owned()].into_iter().chain(cells).collect());
    }
    document.text("Throughput (requests/s) in a closed loop. Where the generator and the origin share a processor that is full, it is theirs:");
    document.table(plain, rows);
    let mut rows = Vec::new();
    for percentile in ["p50", "p90", "p99", "p99.9"] {
        let cells = present.iter().map(|(key, _)| show(findings.estimate(&format!("fixed/{key}/{percentile}"))));
        rows.push([percentile.to_owned()].into_iter().chain(cells).collect());
    }
    let rate = findings.estimate("fixed-rate").map_or("–".into(), |rate| number(rate.median));
    document.text(format!(
        "Latency (ms) at {rate} requests a second, which is half of what the slowest can do, HTTP/1.1, open loop:"
    ));
    document.table(plain, rows);
    let series = present.iter().map(|(key, name)| {
        let at =
            |(percentile, q): (&str, f64)| Some((q, findings.estimate(&format!("fixed/{key}/{percentile}"))?.median));
        let points = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)].into_iter().filter_map(at);
        Series::line(*name, points.collect())
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
    let memory = [
        ("memory", "after all runs (MiB)"),
        ("memory-per-idle-connection", "for each of 2,000 idle connections (KiB)"),
    ]
    .map(|(what, title)| {
        let cells = present.iter().map(|(key, _)| show(findings.estimate(&format!("{key}/{what}"))));
        [title.to_owned()].into_iter().chain(cells).collect()
    });
    document.text("Memory. The proxy's includes the compiler for policies; connections are idle for four seconds before they are measured, as it takes their buffers back after two:");
    document.table(plain, memory.into());
    goals::table(document, goals::all(parts).iter().filter(|goal| goal.scenario == "peers"));
    remarks(document, findings);
}

/// Against HAProxy that relays bytes without reading HTTP.
pub(crate) fn to_the_floor(findings: &Findings) -> Option<Estimate> {
    pair(findings, "http1-128B/sluicegate", "http1-128B/haproxy-tcp", "cpu")
}
