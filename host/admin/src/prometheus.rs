//! The text exposition format of Prometheus, version 0.0.4.
//!
//! Families are sorted by name and labels by theirs, so two scrapes of the same numbers are the same text.

use std::fmt::Write;

use metrics::Key;
use sluicegate_core::HistogramSnapshot;

use crate::{
    cell::{Kind, Value},
    registry::FamilyView,
};

/// What to announce the text as.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of buckets, in nanoseconds, for the time that requests and their parts take: from a fast cache on the
/// same host to the longest timeout that people configure.
const LATENCY_NS: [u64; 16] = {
    const MS: u64 = 1_000_000;
    const S: u64 = 1000 * MS;
    [
        MS / 2,
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        30 * S,
        60 * S,
    ]
};

/// Upper bounds of buckets, in nanoseconds, for the cost of a call into a policy (names ending in `_call_seconds`):
/// from a bare call to one that ran into its deadline.
const CALL_NS: [u64; 19] = {
    const US: u64 = 1000;
    const MS: u64 = 1000 * US;
    [
        10,
        20,
        50,
        100,
        200,
        500,
        US,
        2 * US,
        5 * US,
        10 * US,
        20 * US,
        50 * US,
        100 * US,
        200 * US,
        500 * US,
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
    ]
};

/// The families as text.
pub(crate) fn render(families: &[FamilyView]) -> String {
    let mut out = String::new();
    families.iter().for_each(|family| write_family(&mut out, family));
    out
}

fn write_family(out: &mut String, family: &FamilyView) {
    let name = family.name.as_str();
    if let Some(help) = &family.help {
        line(out, format_args!("# HELP {name} {}", help.replace('\\', r"\\").replace('\n', r"\n")));
    }
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    line(out, format_args!("# TYPE {name} {kind}"));
    for (key, cells) in &family.series {
        let labels = labels(key);
        match Value::total(cells) {
            Some(Value::Counter(count)) => line(out, format_args!("{name}{} {count}", braced(&labels))),
            Some(Value::Gauge(value)) => line(out, format_args!("{name}{} {}", braced(&labels), number(value))),
            Some(Value::Histogram(snapshot)) => write_histogram(out, name, &labels, &snapshot),
            None => {}
        }
    }
}

/// A bound may fall within a bucket of the snapshot, which is up to an eighth wide. It then gets its share of what is
/// in there: on average that is closer to the truth than to count all of it or nothing.
fn write_histogram(out: &mut String, name: &str, labels: &str, snapshot: &HistogramSnapshot) {
    let bounds: &[u64] = if name.ends_with("_call_seconds") { &CALL_NS } else { &LATENCY_NS };
    let comma = if labels.is_empty() { "" } else { "," };
    for bound in bounds {
        let (le, count) = (seconds(*bound), snapshot.count_up_to(*bound));
        line(out, format_args!("{name}_bucket{{{labels}{comma}le=\"{le}\"}} {count}"));
    }
    let (count, labels_of_sum) = (snapshot.count(), braced(labels));
    line(out, format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"));
    line(out, format_args!("{name}_sum{labels_of_sum} {}", seconds(snapshot.sum())));
    line(out, format_args!("{name}_count{labels_of_sum} {count}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn labels(key: &Key) -> String {
    let mut labels: Vec<_> = key.labels().map(|label| (label.key(), label.value())).collect();
    labels.sort_unstable();
    let escape = |value: &str| value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    labels.join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        finite_or_nan => finite_or_nan.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, describe_counter, gauge, histogram, with_local_recorder};

    use crate::Telemetry;

    /// A sample as a scraper understands it.
    #[derive(Debug, PartialEq)]
    struct Sample {
        name: String,
        labels: Vec<(String, String)>,
        value: f64,
    }

    /// Reads one sample, by the grammar of the format and without looking at the code above.
    fn parse(line: &str) -> Sample {
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = (line[..end].to_owned(), &line[end..]);
        let mut labels = Vec::new();
        while let Some(label) = rest.strip_prefix(['{', ',']) {
            let (name, value) = label.split_once("=\"").unwrap();
            let (mut text, mut chars) = (String::new(), value.char_indices());
            rest = loop {
                match chars.next().expect("an open quote") {
                    (at, '"') => break &value[at + 1..],
                    (_, '\\') => match chars.next().unwrap().1 {
                        'n' => text.push('\n'),
                        same @ ('\\' | '"') => text.push(same),
                        other => panic!("\\{other}"),
                    },
                    (_, char) => text.push(char),
                }
            };
            labels.push((name.to_owned(), text));
        }
        let value = rest.strip_prefix('}').unwrap_or(rest).strip_prefix(' ').unwrap();
        Sample { name, labels, value: value.parse().unwrap() }
    }

    fn samples(text: &str, name: &str) -> Vec<Sample> {
        assert!(text.ends_with('\n'));
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(parse);
        samples.filter(|sample| sample.name == name).collect()
    }

    #[test]
    fn golden() {
        let telemetry = Telemetry::new();
        let handles = with_local_recorder(&telemetry.shard(), || {
            describe_counter!("b_total", "Back\\slash\nand \"quotes\".");
            (gauge!("c", "z" => "1", "a" => "2"), counter!("b_total", "b" => "2"), counter!("b_total", "b" => "1"))
        });
        handles.0.set(f64::NEG_INFINITY);
        handles.1.increment(7);
        let expected = r##"# HELP b_total Back\\slash\nand "quotes".
# TYPE b_total counter
b_total{b="1"} 0
b_total{b="2"} 7
# TYPE c gauge
c{a="2",z="1"} -Inf
# HELP sluicegate_metrics_rejected_total Registrations of metrics that were turned away.
# TYPE sluicegate_metrics_rejected_total counter
sluicegate_metrics_rejected_total 0
"##;
        assert_eq!(telemetry.render(), expected);
        assert_eq!(telemetry.render(), expected, "the same numbers are the same text");
    }

    #[test]
    fn labels_survive_the_way_to_a_scraper() {
        let telemetry = Telemetry::new();
        let value = "a\"b\\c\nd,e=\"f\"}{ \u{fc}";
        let gauge = with_local_recorder(&telemetry.shard(), || gauge!("g", "one" => value, "two" => ""));
        gauge.set(-0.25);
        let expected = [("one", value), ("two", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(samples(&telemetry.render(), "g"), [Sample { name: "g".into(), labels: expected, value: -0.25 }]);
    }

    /// Checks that buckets are cumulative and complete, and returns their bounds and counts.
    fn check_histogram(name: &'static str, values: &[f64]) -> Vec<(f64, f64)> {
        let telemetry = Telemetry::new();
        let histogram = with_local_recorder(&telemetry.shard(), || histogram!(name, "cluster" => "a"));
        values.iter().for_each(|value| histogram.record(*value));
        let text = telemetry.render();
        let le = |sample: &Sample| sample.labels.iter().find(|(name, _)| name == "le").unwrap().1.parse().unwrap();
        let buckets: Vec<(f64, f64)> =
            samples(&text, &format!("{name}_bucket")).iter().map(|sample| (le(sample), sample.value)).collect();
        assert!(buckets.is_sorted_by(|(le, count), (next_le, next)| le < next_le && count <= next), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, values.len() as f64)));
        assert_eq!(samples(&text, &format!("{name}_count"))[0].value, values.len() as f64);
        let sum = samples(&text, &format!("{name}_sum"))[0].value;
        assert!((sum - values.iter().sum::<f64>()).abs() <= 1e-9 * values.len() as f64, "{sum}");
        for (le, count) in &buckets {
            let below = |limit: f64| values.iter().filter(|value| **value <= limit).count() as f64;
            let (least, most) = (below(le * 0.875), below(le * 1.125));
            assert!((least..=most).contains(count), "{le}: {count} is not in {least}..={most}");
        }
        buckets
    }

    #[test]
    fn histograms_are_cumulative() {
        let spread: Vec<f64> = (0..400).map(|step| 5e-9 * 1.07_f64.powi(step)).collect();
        let buckets = check_histogram("request_seconds", &spread);
        assert_eq!((buckets.len(), buckets[0].0, buckets[15].0), (17, 0.0005, 60.0));
        let buckets = check_histogram("sluicegate_policy_call_seconds", &spread);
        assert_eq!((buckets.len(), buckets[0].0, buckets[18].0), (20, 1e-8, 0.01));
        check_histogram("empty_seconds", &[]);
    }
}
