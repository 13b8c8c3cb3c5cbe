//! From the tree to the [`Config`], but for clusters, which are read next door.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::Path,
    time::Duration,
};

use sluicegate_proxy::{ClientLimits, Route, Target};
use sluicegate_wire::{
    forwarded::Cidr,
    path::{PathRules, Separator},
};
use toml::de::DeValue;

use super::{
    Config, Dns, Listener, Log, LogFormat, ModuleCache, PolicyLimits, Runtime, admin, cluster, discovery, forwarding,
    limits, route, tls,
    tree::{Node, Sink, Table},
};

// Each listener is a socket of every worker.
const MAX_LISTENERS: usize = 64;
// They are looked through for every connection.
const MAX_NETWORKS: usize = 100;
// More threads than any machine has cores are a slip of the finger.
const MAX_WORKERS: u32 = 1024;
/// A minute: whoever waits longer for something that short has lost the client already.
pub(super) const MAX_SHORT_MS: u32 = 60_000;
/// An hour: whatever waits longer needs another protocol.
pub(super) const MAX_LONG_MS: u32 = 3_600_000;
// A pick holds up its worker: more than a second is an outage.
const MAX_PICK_MS: u32 = 1000;
// What a 32-bit wasm memory can address.
const MAX_MEMORY_MIB: u32 = 4096;

/// All of it. `None`, or an error in the sink, when something is wrong.
pub(super) fn config(document: &DeValue<'_>, dir: &Path, builtins: &[&str], sink: &Sink<'_>) -> Option<Config> {
    const KEYS: &[&str] = &["listener", "route", "cluster", "admin", "runtime", "limits", "log", "policy", "dns"];
    let root = Table::root(document, sink, KEYS)?;
    let listeners = root.required("listener", "add a [[listener]] with an address", |node| listeners(node, dir));
    let names = root.get("cluster").map_or_else(Vec::new, |node| cluster::names(&node));
    let routes = root.required("route", "add a [[route]] with a cluster", |node| route::routes(node, &names));
    let leads_to_cluster = |route: &Route| matches!(route.target, Target::Clusters(_));
    let read_clusters = |node: &Node<'_>| cluster::clusters(node, dir, builtins);
    let clusters = match &routes {
        Some(routes) if root.get("cluster").is_none() && !routes.iter().any(leads_to_cluster) => Some(BTreeMap::new()),
        _ => root.required("cluster", "add a [cluster.NAME] with endpoints", read_clusters),
    };
    let admin = root.get("admin").map(|node| admin::admin(&node, dir, listeners.as_deref().unwrap_or_default()));
    let runtime = root.or("runtime", Runtime::default(), |node| runtime(node, dir));
    let limits = root.or("limits", ClientLimits::default(), limits::limits);
    let log = root.or("log", Log::default(), log);
    let policy = root.or("policy", PolicyLimits::default(), |node| policy_limits(node, dir));
    let dns = root.or("dns", Dns::default(), discovery::dns);
    Some(Config {
        listeners: listeners?,
        routes: routes?,
        clusters: clusters?,
        admin: admin.map_or(Some(None), |admin| admin.map(Some))?,
        runtime,
        limits,
        log,
        policy,
        dns,
    })
}

fn listeners(node: &Node<'_>, dir: &Path) -> Option<Vec<Listener>> {
    let nodes = sections(node, MAX_LISTENERS, "[[listener]]")?;
    let mut seen = HashMap::new();
    let listeners = nodes.iter().filter_map(|node| {
        const KEYS: &[&str] = &[
            "address",
            "http2",
            "proxy_protocol",
            "trusted_hops",
            "trusted_proxies",
            "forwarded",
            "request_id",
            "trace",
            "path_normalization",
            "tls",
        ];
        let table = node.table(KEYS, "a table with an address")?;
        let address = table.required("address", "give it an IP address and a port", |node| {
            let address = address(node)?;
            // Port 0 is a new port each time.
            match seen.insert(address, node.key().to_owned()).filter(|_| address.port() != 0) {
                Some(first) => node.error(format_args!("is the same address as {first}")),
                None => Some(address),
            }
        });
        let tls = table.get("tls").map_or(Some(None), |node| tls::listener(&node, dir).map(Some));
        let http2 = table.or("http2", table.get("tls").is_some(), Node::boolean);
        let proxy_protocol = table.or("proxy_protocol", Vec::new(), networks);
        let forwarding = forwarding::forwarding(&table);
        let path_rules = table.or("path_normalization", Some(Listener::PATH_RULES), path_rules);
        Some(Listener { address: address?, http2, proxy_protocol, forwarding, path_rules, tls: tls? })
    });
    Some(listeners.collect())
}

/// `false`, `true` for the default, or a table.
fn path_rules(node: &Node<'_>) -> Option<Option<PathRules>> {
    const SEPARATORS: &[(&str, Separator)] = &[("keep", Separator::Keep), ("refuse", Separator::Refuse)];
    let default = Listener::PATH_RULES;
    if let Some(is_on) = node.as_bool() {
        return Some(is_on.then_some(default));
    }
    let table = node.table(&["merge_slashes", "escaped_slash", "backslash"], "true, false or a table")?;
    Some(Some(PathRules {
        merge_slashes: table.or("merge_slashes", default.merge_slashes, Node::boolean),
        escaped_slash: table.or("escaped_slash", default.escaped_slash, |node| node.choice(SEPARATORS)),
        backslash: table.or("backslash", default.backslash, |node| node.choice(SEPARATORS)),
    }))
}

/// A list of networks.
pub(super) fn networks(node: &Node<'_>) -> Option<Vec<Cidr>> {
    const SHOULD: &str = "a network, such as \"10.0.0.0/8\", or an IP address";
    let nodes = node.array(MAX_NETWORKS, "a list of networks, such as [\"10.0.0.0/8\"]")?;
    let parsed = nodes.iter().filter_map(|node| match node.text(SHOULD)?.parse::<Cidr>() {
        Ok(network) => Some(network),
        Err(error) => node.error(error),
    });
    Some(parsed.collect())
}

/// The tables under a `[[name]]`; at least one.
pub(super) fn sections<'a>(node: &Node<'a>, max: usize, name: &str) -> Option<Vec<Node<'a>>> {
    let nodes = node.array(max, &format!("a list of tables: write {name}, with two brackets"))?;
    if nodes.is_empty() { node.error(format_args!("must not be empty: add a {name}")) } else { Some(nodes) }
}

fn runtime(node: &Node<'_>, dir: &Path) -> Option<Runtime> {
    let table = node.table(&["workers", "drain_timeout_ms", "upgrade_socket"], "a table: write [runtime]")?;
    let default = Runtime::default();
    Some(Runtime {
        workers: table.or("workers", None, |node| Some(Some(node.integer(1..=MAX_WORKERS)? as usize))),
        drain_timeout: table.or("drain_timeout_ms", default.drain_timeout, |node| millis(node, 0..=MAX_LONG_MS)),
        upgrade_socket: table
            .or("upgrade_socket", None, |node| Some(Some(dir.join(node.text("the path of a Unix socket")?)))),
    })
}

fn log(node: &Node<'_>) -> Option<Log> {
    const FORMATS: &[(&str, LogFormat)] =
        &[("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
    const LEVELS: &[(&str, tracing::Level)] = &[
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let table = node.table(&["format", "level", "access"], "a table: write [log]")?;
    let default = Log::default();
    Some(Log {
        format: table.or("format", default.format, |node| node.choice(FORMATS)),
        level: table.or("level", default.level, |node| node.choice(LEVELS)),
        access: table.or("access", default.access, Node::boolean),
    })
}

fn policy_limits(node: &Node<'_>, dir: &Path) -> Option<PolicyLimits> {
    const KEYS: &[&str] = &["pick_timeout_ms", "setup_timeout_ms", "memory_mib", "trusted_keys", "cache"];
    let table = node.table(KEYS, "a table: write [policy]; a cluster's policy goes into its [cluster.NAME]")?;
    let default = PolicyLimits::default();
    Some(PolicyLimits {
        pick_timeout: table.or("pick_timeout_ms", default.pick_timeout, |node| millis(node, 1..=MAX_PICK_MS)),
        setup_timeout: table.or("setup_timeout_ms", default.setup_timeout, |node| millis(node, 1..=MAX_SHORT_MS)),
        memory_mib: table.or("memory_mib", default.memory_mib, |node| node.integer(1..=MAX_MEMORY_MIB)),
        trusted_keys: table.or("trusted_keys", default.trusted_keys, admin::trusted_keys),
        cache: table.or("cache", default.cache, |node| match node.as_bool() {
            Some(true) => Some(ModuleCache::Default),
            Some(false) => Some(ModuleCache::Off),
            None => Some(ModuleCache::Directory(dir.join(node.text("true, false or a directory")?))),
        }),
    })
}

/// A time that is given in milliseconds.
pub(super) fn millis(node: &Node<'_>, range: RangeInclusive<u32>) -> Option<Duration> {
    node.integer(range).map(|millis| Duration::from_millis(millis.into()))
}

/// An IP address and a port.
pub(super) fn address(node: &Node<'_>) -> Option<SocketAddr> {
    const SHOULD: &str = "an IP address and a port, such as \"127.0.0.1:9001\" or \"[::1]:9001\"";
    let text = node.text(SHOULD)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    match text.parse::<IpAddr>() {
        Ok(ip) => node.error(format_args!("has no port: write \"{}\", with the right port", SocketAddr::new(ip, 80))),
        Err(_) if is_host_name(text) => node.error(
            "must be an IP address and a port; a cluster finds those of a name by endpoints = { dns = \"NAME:PORT\" }",
        ),
        Err(_) => node.mismatch(SHOULD),
    }
}

/// Whether somebody meant a host, with or without a port: letters and dots, but no scheme.
fn is_host_name(text: &str) -> bool {
    let name = text.rsplit_once(':').map_or(text, |(name, _)| name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    name.bytes().all(allowed) && name.bytes().any(|byte| byte.is_ascii_alphabetic())
}
