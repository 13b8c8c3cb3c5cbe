//! Clusters, their policies and their endpoints.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::Path,
    sync::Arc,
};

use sluicegate_core::EndpointSpec;

use sluicegate_policy::Digest;
use sluicegate_proxy::{ClusterSettings, ProbeSettings, ProxyProtocol, UpstreamProtocol};
use toml::de::DeValue;

use super::{
    Cluster, PolicySource, PolicySpec, discovery, eligibility,
    errors::known_names,
    read::{MAX_LONG_MS, MAX_SHORT_MS, address, millis},
    retry, tls,
    tree::{Node, Sink, Table},
};

// Every cluster has an instance of its policy in each worker, with memory of its own.
const MAX_CLUSTERS: usize = 1000;
// What policies that scan all endpoints are measured with.
const MAX_ENDPOINTS: usize = 10_000;
// The same room, another building, another city: more steps than anybody has.
const MAX_PRIORITY: u32 = 99;
// Labels are copied into each policy's memory.
const MAX_LABELS: usize = 32;
// Names stand in every log line and metric.
const MAX_NAME: usize = 100;
// More attempts than that turn one failing request into a flood.
const MAX_ATTEMPTS: u32 = 10;
// Endpoints take more of them for an attack.
const MIN_PING_MS: u32 = 1000;
// More would be a load test.
const MAX_PROBES_PER_S: u32 = 100_000;
// As many ports as a client has for one server.
const MAX_IDLE: u32 = 65_535;

const TABLE: &str = "a table: write [cluster.NAME]";

/// The names of all clusters, good or bad, for the routes.
pub(super) fn names<'a>(node: &Node<'a>) -> Vec<&'a str> {
    if !node.is_table() {
        return Vec::new();
    }
    node.entries(usize::MAX, TABLE).unwrap_or_default().into_iter().map(|(name, _)| name).collect()
}

/// All clusters.
pub(super) fn clusters(node: &Node<'_>, dir: &Path, builtins: &[&str]) -> Option<BTreeMap<Arc<str>, Cluster>> {
    let entries = node.entries(MAX_CLUSTERS, TABLE)?;
    let clusters = entries.iter().filter_map(|(name, node)| {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
            node.error::<()>(format_args!(
                "the name must have 1 to {MAX_NAME} bytes, none of them a control character"
            ));
        }
        Some((Arc::from(*name), cluster(node, dir, builtins)?))
    });
    Some(clusters.collect())
}

fn cluster(node: &Node<'_>, dir: &Path, builtins: &[&str]) -> Option<Cluster> {
    const KEYS: &[&str] = &[
        "policy",
        "endpoints",
        "connect_timeout_ms",
        "response_timeout_ms",
        "attempt_timeout_ms",
        "request_timeout_ms",
        "stream_idle_timeout_ms",
        "ping_interval_ms",
        "max_attempts",
        "retry",
        "limits",
        "probe",
        "max_idle_connections",
        "idle_timeout_ms",
        "protocol",
        "tls",
        "proxy_protocol",
        "health",
        "outlier",
        "panic_threshold_percent",
        "slow_start_ms",
    ];
    const PROTOCOLS: &[(&str, UpstreamProtocol)] =
        &[("http1", UpstreamProtocol::Http1), ("http2", UpstreamProtocol::Http2)];
    const PROXY_PROTOCOLS: &[(&str, ProxyProtocol)] = &[("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
    let table = node.table(KEYS, TABLE)?;
    let default = ClusterSettings::default();
    let time = |key, default| table.or(key, default, |node| millis(node, 1..=MAX_LONG_MS));
    let limit = |key| table.or(key, None, |node| millis(node, 1..=MAX_LONG_MS).map(Some));
    let settings = ClusterSettings {
        protocol: table.or("protocol", default.protocol, |node| node.choice(PROTOCOLS)),
        tls: None,
        proxy_protocol: table.or("proxy_protocol", None, |node| node.choice(PROXY_PROTOCOLS).map(Some)),
        connect_timeout: time("connect_timeout_ms", default.connect_timeout),
        response_timeout: time("response_timeout_ms", default.response_timeout),
        attempt_timeout: limit("attempt_timeout_ms"),
        request_timeout: limit("request_timeout_ms"),
        stream_idle_timeout: time("stream_idle_timeout_ms", default.stream_idle_timeout),
        ping_interval: table
            .or("ping_interval_ms", default.ping_interval, |node| millis(node, MIN_PING_MS..=MAX_LONG_MS)),
        max_attempts: table.or("max_attempts", default.max_attempts, |node| node.integer(1..=MAX_ATTEMPTS)),
        retry: table.or("retry", default.retry, retry::retry),
        limits: table.or("limits", None, retry::limits),
        max_idle_per_endpoint: table.or("max_idle_connections", default.max_idle_per_endpoint, |node| {
            node.integer(0..=MAX_IDLE).map(|count| count as usize)
        }),
        idle_timeout: time("idle_timeout_ms", default.idle_timeout),
        probe: table.or("probe", default.probe, probe),
    };
    if let (Some(node), UpstreamProtocol::Http2) = (table.get("proxy_protocol"), settings.protocol) {
        node.error::<()>("is not for HTTP/2, where clients share connections: leave it out, or protocol = \"http2\"");
    }
    let tls = table.or("tls", None, |node| tls::cluster(node, dir));
    let policy = table.or("policy", PolicySpec::default(), |node| policy(node, dir, builtins));
    let eligibility = eligibility::eligibility(&table);
    let help = "list addresses, such as [\"127.0.0.1:9001\"]; the list may be empty";
    let (endpoints, discovery) = table.required("endpoints", help, |node| match node.is_table() {
        true => Some((Vec::new(), Some(discovery::discovery(node, dir)?))),
        false => Some((endpoints(node)?, None)),
    })?;
    Some(Cluster { policy, endpoints, discovery, eligibility, settings, tls })
}

/// `[cluster.NAME.probe]`: of the probes that policies ask for.
fn probe(node: &Node<'_>) -> Option<ProbeSettings> {
    let table = node
        .table(&["path", "timeout_ms", "max_per_s"], "a table: write [cluster.NAME.probe] (policies ask for probes)")?;
    let default = ProbeSettings::default();
    Some(ProbeSettings {
        path: table.or("path", default.path, |node| eligibility::path(node).map(Some)),
        timeout: table.or("timeout_ms", default.timeout, |node| millis(node, 1..=MAX_SHORT_MS)),
        max_per_s: table.or("max_per_s", default.max_per_s, |node| node.integer(1..=MAX_PROBES_PER_S)),
    })
}

fn policy(node: &Node<'_>, dir: &Path, builtins: &[&str]) -> Option<PolicySpec> {
    const SHOULD: &str = "the name of a built-in policy or { file = \"...\" }";
    if node.is_string() {
        return Some(PolicySpec { source: builtin(node, builtins)?, ..PolicySpec::default() });
    }
    let table = node.table(&["name", "file", "config", "sha256"], SHOULD)?;
    let config = table.or("config", serde_json::json!({}), |node| match node.json()? {
        config @ serde_json::Value::Object(_) => Some(config),
        _ => node.mismatch("a table"),
    });
    let source = match (table.get("name"), table.get("file")) {
        (Some(name), None) => builtin(&name, builtins),
        (None, Some(file)) => Some(PolicySource::File(dir.join(file.text("the path of a wasm file")?))),
        (Some(_), Some(_)) => table.node.error("must have a name (a built-in policy) or a file, not both"),
        (None, None) => table.node.error("must have a name (a built-in policy) or a file (a wasm file)"),
    };
    let sha256 = table.or("sha256", None, |node| {
        const DIGITS: &str = "64 hexadecimal digits, as `sha256sum FILE` prints them";
        match node.text(DIGITS).map(Digest::parse)? {
            Some(_) if table.get("name").is_some() => node.error("is for a file: what is built in is what it is"),
            Some(digest) => Some(Some(digest)),
            None => node.mismatch(DIGITS),
        }
    });
    Some(PolicySpec { source: source?, config, sha256 })
}

fn builtin(node: &Node<'_>, builtins: &[&str]) -> Option<PolicySource> {
    let name = node.text("the name of a built-in policy")?;
    if builtins.contains(&name) {
        return Some(PolicySource::Builtin(name.into()));
    }
    if name.contains('/') || [".wasm", ".wat", ".cwasm"].iter().any(|end| name.ends_with(end)) {
        return node
            .error(format_args!("no built-in policy is called {name:?}; write {{ file = {name:?} }} for a file"));
    }
    let known = known_names(name, "built-in policies", builtins.iter().copied());
    node.error(format_args!("no built-in policy is called {name:?}{known}"))
}

/// A file with nothing but endpoints in it.
pub(super) fn endpoints_file(document: &DeValue<'_>, sink: &Sink<'_>) -> Option<Vec<EndpointSpec>> {
    let root = Table::root(document, sink, &["endpoints"])?;
    root.required("endpoints", "list addresses: endpoints = [\"127.0.0.1:9001\"]", endpoints)
}

fn endpoints(node: &Node<'_>) -> Option<Vec<EndpointSpec>> {
    let nodes = node.array(MAX_ENDPOINTS, "a list of endpoints, such as [\"127.0.0.1:9001\"]")?;
    let mut seen = HashMap::new();
    let endpoints = nodes.iter().filter_map(|node| {
        let endpoint = endpoint(node)?;
        match seen.insert(endpoint.address, node.key().to_owned()) {
            Some(first) => {
                let address = endpoint.address;
                node.error(format_args!(
                    "has the same address as {first}, {address}: to get more requests, raise its weight"
                ))
            }
            None => Some(endpoint),
        }
    });
    Some(endpoints.collect())
}

fn endpoint(node: &Node<'_>) -> Option<EndpointSpec> {
    if node.is_string() {
        return endpoint_address(node).map(EndpointSpec::new);
    }
    const KEYS: &[&str] = &["address", "weight", "priority", "drain", "zone", "labels"];
    let table = node.table(KEYS, "an address, or a table { address = \"...\", weight = 2 }")?;
    let address = table.required("address", "give it an IP address and a port", endpoint_address);
    let weight = table.or("weight", 1, |node| node.integer(1..=65_535));
    let priority = table.or("priority", 0, |node| node.integer(0..=MAX_PRIORITY));
    let drain = table.or("drain", false, Node::boolean);
    let zone = table.or("zone", "".into(), |node| node.text("the name of a zone").map(Arc::from));
    let labels = table.or("labels", BTreeMap::new(), |node| {
        let entries = node.entries(MAX_LABELS, "a table of strings")?;
        let labels =
            entries.iter().filter_map(|(name, node)| Some(((*name).to_owned(), node.text("a string")?.to_owned())));
        Some(labels.collect())
    });
    Some(EndpointSpec { address: address?, weight, priority, drain, zone, labels })
}

fn endpoint_address(node: &Node<'_>) -> Option<SocketAddr> {
    match address(node)? {
        address if address.port() == 0 => node.error("must have a port other than 0"),
        address => Some(address),
    }
}
