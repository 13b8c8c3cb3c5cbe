//! The formats for people: `key=value` between commas, and JSON.

use serde_json::{Map, Value};

use super::Report;

/// How many entries are looked at.
const MAX_ENTRIES: usize = 256;

pub(super) fn parse(text: &[u8]) -> Option<Report> {
    let text = std::str::from_utf8(text).ok()?;
    let mut report = Report::default();
    for entry in text.split(',').take(MAX_ENTRIES) {
        // Envoy's parser takes a colon, too.
        let (name, value) = entry.split_once(['=', ':'])?;
        let value: f64 = value.trim().parse().ok()?;
        match name.trim().strip_prefix("named_metrics.") {
            Some(name) => report.set_named(name, value),
            None => report.set(name.trim(), value),
        }
    }
    Some(report)
}

pub(super) fn parse_json(json: &[u8]) -> Option<Report> {
    let fields: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let mut report = Report::default();
    for (name, value) in &fields {
        match (field_name(name), value) {
            ("named_metrics", Value::Object(named)) => {
                named.iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).for_each(|(name, value)| {
                    report.set_named(name, value);
                });
            }
            (name, value) => {
                if let Some(value) = value.as_f64() {
                    report.set(name, value);
                }
            }
        }
    }
    Some(report)
}

/// Protobuf's own writers of JSON make camel case of the message's names.
fn field_name(name: &str) -> &str {
    match name {
        "applicationUtilization" => "application_utilization",
        "cpuUtilization" => "cpu_utilization",
        "rpsFractional" => "rps_fractional",
        "namedMetrics" => "named_metrics",
        other => other,
    }
}
