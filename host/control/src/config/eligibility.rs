//! What the file says of who may be picked: health checks, outliers, panic and slow start.

use std::ops::RangeInclusive;

use http::uri::{Authority, PathAndQuery};
use sluicegate_core::{AvailabilitySpec, HealthSpec, OutlierSpec, SlowStart};

use super::{
    Eligibility, HealthCheck, Question,
    read::{MAX_LONG_MS, MAX_SHORT_MS},
    tree::{Node, Table},
};

// More often than that, checks are a load of their own.
const MIN_INTERVAL_MS: u32 = 10;
// Longer runs take hours to change anything.
const MAX_THRESHOLD: u32 = 1000;
// There are five hundred statuses.
const MAX_EXPECTED: usize = 100;
// A day, for an endpoint that nobody mends at night.
const MAX_EJECTION_MS: u32 = 86_400_000;

/// What a cluster's table says of it.
pub(super) fn eligibility(cluster: &Table<'_>) -> Eligibility {
    let default = AvailabilitySpec::default();
    let panic_percent = cluster.or("panic_threshold_percent", default.panic_percent, |node| node.integer(0..=100));
    let window_ns = cluster.or("slow_start_ms", 0, |node| nanos(node, 0..=MAX_LONG_MS));
    Eligibility {
        health: cluster.or("health", None, |node| health(node).map(Some)),
        outlier: cluster.or("outlier", None, |node| outlier(node).map(Some)),
        availability: AvailabilitySpec { panic_percent, ..default },
        slow_start: SlowStart { window_ns, ..SlowStart::default() },
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Tcp,
    Grpc,
}

fn health(node: &Node<'_>) -> Option<HealthCheck> {
    const KEYS: &[&str] = &[
        "kind",
        "path",
        "host",
        "expect",
        "service",
        "port",
        "interval_ms",
        "jitter_percent",
        "timeout_ms",
        "healthy_threshold",
        "unhealthy_threshold",
    ];
    const KINDS: &[(&str, Kind)] = &[("http", Kind::Http), ("tcp", Kind::Tcp), ("grpc", Kind::Grpc)];
    let table = node.table(KEYS, "a table: write [cluster.NAME.health]")?;
    let default = HealthSpec::default();
    let time = |key, default, range| table.or(key, default, |node| nanos(node, range));
    let threshold = |key, default| table.or(key, default, |node| node.integer(1..=MAX_THRESHOLD));
    let spec = HealthSpec {
        interval_ns: time("interval_ms", default.interval_ns, MIN_INTERVAL_MS..=MAX_LONG_MS),
        jitter_percent: table.or("jitter_percent", default.jitter_percent, |node| node.integer(0..=100)),
        timeout_ns: time("timeout_ms", default.timeout_ns, 1..=MAX_SHORT_MS),
        healthy_threshold: threshold("healthy_threshold", default.healthy_threshold),
        unhealthy_threshold: threshold("unhealthy_threshold", default.unhealthy_threshold),
    };
    let port = table.or("port", None, |node| node.integer(1..=65_535).map(|port| Some(port as u16)));
    let (word, kind) = match table.get("kind") {
        Some(node) => node.choice(&KINDS.iter().map(|kind| (kind.0, *kind)).collect::<Vec<_>>())?,
        None => KINDS[0],
    };
    // A key that is for another kind says that the kind is not the one that was meant.
    let foreign: &[&str] = match kind {
        Kind::Http => &["service"],
        Kind::Tcp => &["path", "host", "expect", "service"],
        Kind::Grpc => &["path", "expect"],
    };
    for node in foreign.iter().filter_map(|key| table.get(key)) {
        node.error::<()>(format_args!("means nothing with kind = {word:?}: remove it, or choose another kind"));
    }
    let host = || table.or("host", None, |node| host(node).map(Some));
    let question = match kind {
        Kind::Http => Question::Http {
            path: table.or("path", PathAndQuery::from_static("/"), path),
            host: host(),
            expect: table.or("expect", vec![200..=399], expect),
        },
        Kind::Tcp => Question::Tcp,
        Kind::Grpc => Question::Grpc {
            service: table
                .or("service", String::new(), |node| node.text("the name of a gRPC service").map(str::to_owned)),
            host: host(),
        },
    };
    Some(HealthCheck { question, port, spec })
}

fn outlier(node: &Node<'_>) -> Option<OutlierSpec> {
    const KEYS: &[&str] = &[
        "consecutive_gateway_failures",
        "consecutive_failures",
        "interval_ms",
        "base_ejection_ms",
        "max_ejection_ms",
        "max_ejected_percent",
        "success_rate_min_endpoints",
        "success_rate_min_requests",
        "success_rate_stdev_factor",
    ];
    let table = node.table(KEYS, "a table: write [cluster.NAME.outlier]; it may be empty")?;
    let default = OutlierSpec::default();
    let time = |key, default, range| table.or(key, default, |node| nanos(node, range));
    let count = |key, default, max| table.or(key, default, |node| node.integer(0..=max));
    Some(OutlierSpec {
        consecutive_gateway_failures: count(KEYS[0], default.consecutive_gateway_failures, MAX_THRESHOLD),
        consecutive_failures: count(KEYS[1], default.consecutive_failures, MAX_THRESHOLD),
        interval_ns: time(KEYS[2], default.interval_ns, MIN_INTERVAL_MS..=MAX_LONG_MS),
        base_ejection_ns: time(KEYS[3], default.base_ejection_ns, 1..=MAX_EJECTION_MS),
        max_ejection_ns: time(KEYS[4], default.max_ejection_ns, 1..=MAX_EJECTION_MS),
        max_ejected_percent: count(KEYS[5], default.max_ejected_percent, 100),
        success_rate_min_endpoints: count(KEYS[6], default.success_rate_min_endpoints as u32, u32::MAX) as usize,
        success_rate_min_requests: count(KEYS[7], default.success_rate_min_requests, u32::MAX),
        success_rate_stdev_factor: table
            .or(KEYS[8], default.success_rate_stdev_factor, |node| node.number(0.0..=100.0)),
    })
}

pub(super) fn path(node: &Node<'_>) -> Option<PathAndQuery> {
    let text = node.text("a path")?;
    let path = text.parse().ok().filter(|_| text.starts_with('/'));
    path.or_else(|| node.mismatch("a path that starts with '/', such as \"/healthz\""))
}

fn host(node: &Node<'_>) -> Option<Authority> {
    let text = node.text("a host name")?;
    let host = text.parse().ok().filter(|_| !text.contains('@'));
    host.or_else(|| node.mismatch("a host name, such as \"api.internal\", with a port or without"))
}

fn expect(node: &Node<'_>) -> Option<Vec<RangeInclusive<u16>>> {
    let nodes = node.array(MAX_EXPECTED, "a list of statuses, such as [200, \"300-399\"]")?;
    if nodes.is_empty() {
        return node.error("must not be empty: no answer would be good");
    }
    Some(nodes.iter().filter_map(statuses).collect())
}

/// One status, or several: `200` or `"200-299"`.
fn statuses(node: &Node<'_>) -> Option<RangeInclusive<u16>> {
    if !node.is_string() {
        return node.integer(100..=599).map(|status| status as u16..=status as u16);
    }
    let ends = node.text("a range of statuses")?.split_once('-');
    let range = ends.and_then(|(least, most)| Some(least.parse().ok()?..=most.parse().ok()?));
    let range = range.filter(|range| !range.is_empty() && *range.start() >= 100 && *range.end() <= 599);
    range.or_else(|| node.mismatch("a status from 100 to 599, or a range such as \"200-299\""))
}

fn nanos(node: &Node<'_>, range: RangeInclusive<u32>) -> Option<u64> {
    node.integer(range).map(|millis| u64::from(millis) * 1_000_000)
}
