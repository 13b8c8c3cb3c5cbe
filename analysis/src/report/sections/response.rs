//! Results: response time, throughput, errors.

use super::super::{
    data::{Findings, Table},
    doc::Document,
    render::Parts,
};
use super::{findings, number, overhead::pair, percent, remarks, show};
use crate::{
    chart::{Axis, Lines, Series},
    stats::{Knee, knee, median},
};

/// A latency that people still call fast.
pub(crate) const LIMIT_MS: f64 = 10.0;

pub(crate) const PROTOCOLS: [(&str, &str); 2] = [("http1", "HTTP/1.1"), ("http2", "HTTP/2")];

pub(crate) fn section(document: &mut Document, parts: &Parts) {
    document.heading(2, "Results");
    let Some(findings) = findings(document, parts, "response") else { return };
    document.heading(3, "Summary");
    document.text(
        "One worker, `p2c`, four endpoints that answer at once with 128 bytes. Response times are at half the peak.",
    );
    let rows = PROTOCOLS.map(|(key, name)| {
        let get = |what: &str| show(findings.estimate(&format!("{key}/{what}")));
        let errors = findings.estimate(&format!("{key}/at-50/error-rate")).map_or("–".into(), |e| percent(e.median));
        let at_limit = at_limit(findings, key).map_or("–".to_owned(), number);
        vec![name.to_owned(), get("at-50/mean"), get("peak"), at_limit, errors]
    });
    document.table(
        &[
            "",
            "average response time (ms)",
            "throughput of a closed loop (requests/s)",
            "throughput with p99 ≤ 10 ms, at the median of runs",
            "error rate",
        ],
        rows.into(),
    );
    document.list(PROTOCOLS.into_iter().filter_map(|(key, name)| over_the_limit(findings, key, name)).collect());
    added(document, findings);
    for (key, name) in PROTOCOLS {
        protocol(document, findings, key, name);
    }
    remarks(document, findings);
    workers(document, parts);
}

fn workers(document: &mut Document, parts: &Parts) {
    document.heading(3, "Two workers");
    let Some(findings) = findings(document, parts, "workers") else { return };
    let rows = [("one", "one worker, 32 connections"), ("two", "two workers, 64 connections")].map(|(key, name)| {
        let get = |what: &str| show(findings.estimate(&format!("{key}/{what}")));
        [name.to_owned()].into_iter().chain(["throughput", "cpu", "busy", "others"].map(get)).collect()
    });
    let head =
        ["", "throughput (requests/s)", "CPU per request (us)", "proxy (processors)", "load and origin (processors)"];
    document.table(&head, rows.into());
    let Some(scaling) = findings.estimate("scaling") else { return };
    let two = match scaling.median > 2.0 {
        // More than two can't come of workers.
        true => "no loss can be seen (above 2 is batching: processor time per request falls with load)".to_owned(),
        false => format!("{} is lost between them", percent(1.0 - scaling.median / 2.0)),
    };
    document.text(format!(
        "Two workers answered {} times as much as one, measured. Where load and origin leave the workers less than a \
         processor each, that says what they leave, and not what a second worker adds. So what it adds is told from the \
         processor time of a request, in which workers pay for getting in each other's way: with a processor each, two would \
         do {} times the work of one; {two}. In each run, everybody may use every processor.",
        show(pair(findings, "two", "one", "throughput")),
        show(Some(scaling))
    ));
    remarks(document, findings);
}

fn added(document: &mut Document, findings: &Findings) {
    let get = |name: &str| findings.estimate(name).map(|estimate| estimate.median);
    let at =
        |percentile: &str| Some((get(&format!("http1/at-50/{percentile}"))?, get(&format!("direct/{percentile}"))?));
    if let (Some((p50, direct_p50)), Some((p99, direct_p99))) = (at("p50"), at("p99")) {
        document.text(format!(
            "Without a proxy in between, the same generator and one origin take {} ms (p50) and {} ms (p99) at that rate. The \
             difference is {} ms between the medians and {} ms between the p99s.",
            number(direct_p50),
            number(direct_p99),
            number(p50 - direct_p50),
            number(p99 - direct_p99)
        ));
    }
}

fn protocol(document: &mut Document, findings: &Findings, key: &str, name: &str) {
    document.heading(3, name);
    let Some(curve) = findings.tables.get(&format!("curve-{key}")) else { return };
    document.chart(
        &format!("latency-load-{key}"),
        format!(
            "{name}: latency against load. Each point is the median of its runs, of which the table has the range."
        ),
        latency_against_load(curve, name),
    );
    match find_knee(curve) {
        Some(knee) => document.text(format!(
            "The saturation knee is at {} requests a second: with each tenth of the range, p99 grows by a factor of {} below \
             it, and of {} above.",
            number(knee.x),
            number(10_f64.powf(knee.before / 10.0)),
            number(10_f64.powf(knee.after / 10.0))
        )),
        None => document.text(no_knee(curve)),
    }
    document.chart(
        &format!("percentiles-{key}"),
        format!("{name}: latency by percentile, at shares of the peak. The axis is stretched where it matters."),
        findings.tables.get(&format!("percentiles-{key}")).and_then(|table| percentiles(table, name)),
    );
    let shares = shares(curve);
    let rows = shares.iter().map(|share| {
        let get = |what: &str| {
            findings.estimate(&format!("{key}/at-{share}/{what}")).map_or("–".into(), |e| number(e.median))
        };
        let throughput = of_share(curve, *share, "throughput");
        let names = ["mean", "p50", "p90"].map(get);
        let p99 = show(findings.estimate(&format!("{key}/at-{share}/p99")));
        let errors =
            findings.estimate(&format!("{key}/at-{share}/error-rate")).map_or("–".into(), |e| percent(e.median));
        let cells = [format!("{share}%"), number(median(&throughput))].into_iter().chain(names).chain([p99]);
        cells.chain([get("p99.9"), get("max"), errors, get("cpu")]).collect()
    });
    document.table(
        &["load", "answered/s", "mean (ms)", "p50", "p90", "p99", "p99.9", "max", "errors", "CPU (us/request)"],
        rows.collect(),
    );
    let errors: Vec<_> = findings
        .measures
        .iter()
        .filter(|(name, _)| name.starts_with(&format!("{key}/at-")) && name.contains("/error/"))
        .collect();
    if errors.is_empty() {
        document.text("No request failed, at any load.");
    } else {
        let lines = errors.iter().map(|(name, measure)| {
            let (load, kind) = name.split_once("/error/").unwrap_or((name, ""));
            let load = load.rsplit('-').next().unwrap_or_default();
            format!("{kind}, at {load}%: {} requests", number(measure.values.iter().sum()))
        });
        document.text("Errors by kind, over all runs:");
        document.list(lines.collect());
    }
}

/// A column of a table, by name.
pub(crate) fn column(table: &Table, name: &str) -> Vec<f64> {
    let Some(index) = table.columns.iter().position(|column| column == name) else { return Vec::new() };
    table.rows.iter().map(|row| row.get(index).and_then(|cell| cell.number()).unwrap_or(f64::NAN)).collect()
}

fn pairs(table: &Table, x: &str, y: &str) -> Vec<(f64, f64)> {
    column(table, x).into_iter().zip(column(table, y)).collect()
}

pub(crate) fn shares(curve: &Table) -> Vec<u32> {
    let mut shares: Vec<_> = column(curve, "share_percent").into_iter().map(|share| share as u32).collect();
    shares.sort_unstable();
    shares.dedup();
    shares
}

pub(crate) fn of_share(curve: &Table, share: u32, name: &str) -> Vec<f64> {
    let all = pairs(curve, "share_percent", name).into_iter();
    all.filter(|(at, value)| *at as u32 == share && value.is_finite()).map(|(_, value)| value).collect()
}

/// Of the medians of each load's runs.
pub(crate) fn find_knee(curve: &Table) -> Option<Knee> {
    let at = |share: u32, name: &str| median(&of_share(curve, share, name));
    let points: Vec<_> = shares(curve).into_iter().map(|share| (at(share, "rate"), at(share, "p99_ms"))).collect();
    knee(&points)
}

fn no_knee(curve: &Table) -> String {
    let shares = shares(curve);
    let slow = shares.iter().position(|share| median(&of_share(curve, *share, "p99_ms")) > LIMIT_MS);
    match slow.map(|index| (index.checked_sub(1).map_or(0, |before| shares[before]), shares[index])) {
        Some((before, slow)) => format!(
            "p99 leaves {LIMIT_MS} ms between {before}% and {slow}% of the closed loop's throughput, but there is no bend that \
             stands out from the noise."
        ),
        None => format!("No saturation knee: p99 stays within {LIMIT_MS} ms."),
    }
}

/// The loads, from the lowest one on, at which the median run keeps its p99 within the limit.
fn within_limit(curve: &Table) -> impl Iterator<Item = u32> {
    shares(curve).into_iter().take_while(|share| {
        let (p99, errors) = (of_share(curve, *share, "p99_ms"), of_share(curve, *share, "error_rate"));
        median(&p99) <= LIMIT_MS && median(&errors) < 0.001
    })
}

/// The most that was answered there.
pub(crate) fn at_limit(findings: &Findings, key: &str) -> Option<f64> {
    let curve = findings.tables.get(&format!("curve-{key}"))?;
    within_limit(curve).map(|share| median(&of_share(curve, share, "throughput"))).reduce(f64::max)
}

/// Single runs that were over the limit at these loads.
fn over_the_limit(findings: &Findings, key: &str, name: &str) -> Option<String> {
    let curve = findings.tables.get(&format!("curve-{key}"))?;
    let over = within_limit(curve).filter_map(|share| {
        let p99 = of_share(curve, share, "p99_ms");
        let over: Vec<_> = p99.iter().copied().filter(|ms| *ms > LIMIT_MS).map(number).collect();
        (!over.is_empty()).then(|| format!("{} of {} runs at {share}% ({} ms)", over.len(), p99.len(), over.join(", ")))
    });
    let over: Vec<_> = over.collect();
    (!over.is_empty())
        .then(|| format!("{name}: below that throughput, p99 was over {LIMIT_MS} ms in {}.", over.join(" and in ")))
}

fn latency_against_load(curve: &Table, name: &str) -> Option<String> {
    let line = |column: &str, title: &str| {
        let points = shares(curve)
            .into_iter()
            .map(|share| (median(&of_share(curve, share, "rate")), median(&of_share(curve, share, column))));
        Series::line(title, points.collect())
    };
    let knee = find_knee(curve).map(|knee| (knee.x, format!("knee: {}/s", number(knee.x))));
    let chart = Lines {
        x: Axis::from_zero("requests a second"),
        y: Axis::log("latency (ms)"),
        series: vec![line("p50_ms", "p50"), line("p90_ms", "p90"), line("p99_ms", "p99"), line("p99.9_ms", "p99.9")],
        marks: knee.into_iter().collect(),
    };
    chart.svg(&format!("{name}: latency percentiles against requests a second"))
}

fn percentiles(table: &Table, name: &str) -> Option<String> {
    let series = shares(table).into_iter().map(|share| {
        let mut by_quantile = std::collections::BTreeMap::<u64, Vec<f64>>::new();
        for row in table.rows.iter().filter(|row| row[0].number() == Some(f64::from(share))) {
            if let (Some(q), Some(ms)) = (row[1].number(), row[2].number()) {
                by_quantile.entry((q * 1e9) as u64).or_default().push(ms);
            }
        }
        let points = by_quantile.into_iter().map(|(q, ms)| (q as f64 / 1e9, median(&ms)));
        Series::line(format!("{share}% of the peak"), points.collect())
    });
    let chart = Lines {
        x: Axis::percentile("percentile"),
        y: Axis::log("latency (ms)"),
        series: series.collect(),
        marks: Vec::new(),
    };
    chart.svg(&format!("{name}: latency by percentile"))
}
