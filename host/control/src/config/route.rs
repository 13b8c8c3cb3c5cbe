//! Routes: which requests they are for, and what becomes of those.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Method};
use sluicegate_core::RateLimit;
use sluicegate_proxy::{
    HashKey, HeaderMatch, HostMatch, Mirror, PathChange, PathMatch, Pattern, Route, RouteMatch, Target,
};
use sluicegate_wire::path::{PathRules, normalize};

use super::{
    read::{MAX_LONG_MS, millis, sections},
    route_changes::{header_changes, path_change},
    route_target::{cluster_name, target},
    tree::{Node, Table},
};

// Routes are looked up by host and path, but rebuilt as a whole at every change of the file.
const MAX_ROUTES: usize = 10_000;
// Each is looked at for every request of the route.
const MAX_CONDITIONS: usize = 16;
// One in a quarter of an hour: what is rarer is not limited, but forbidden.
const MIN_RATE: f64 = 0.001;
// One a nanosecond: the clock tells no more apart.
const MAX_RATE: f64 = 1e9;
const MAX_BURST: u32 = 1_000_000;

/// Of a body that is copied for a mirror. All copies of a worker together stay below 2 GiB.
const MAX_MIRRORED_BYTES: u32 = 16 << 20;

const KEYS: &[&str] = &[
    "host",
    "path",
    "path_exact",
    "path_regex",
    "methods",
    "headers",
    "cluster",
    "clusters",
    "redirect",
    "respond",
    "rewrite",
    "request_headers",
    "response_headers",
    "hash",
    "rate_limit",
    "mirror",
    "timeout_ms",
    "max_body_bytes",
];

/// What only makes sense where an endpoint gets the request.
const FORWARDING_KEYS: [&str; 6] = ["rewrite", "request_headers", "hash", "mirror", "timeout_ms", "max_body_bytes"];

#[allow(clippy::mutable_key_type)] // A pattern's hash is that of its text.
pub(super) fn routes(node: &Node<'_>, clusters: &[&str]) -> Option<Vec<Route>> {
    let nodes = sections(node, MAX_ROUTES, "[[route]]")?;
    let mut seen = HashMap::new();
    let routes = nodes.iter().filter_map(|node| {
        let route = route(node, clusters)?;
        match seen.insert(route.matches.clone(), node.key().to_owned()) {
            Some(first) => node.error(format_args!("is for the same requests as {first}: change one or remove it")),
            None => Some(route),
        }
    });
    Some(routes.collect())
}

fn route(node: &Node<'_>, clusters: &[&str]) -> Option<Route> {
    let table = node.table(KEYS, "a table with a cluster")?;
    let (matches, target) = (matches(&table), target(&table, clusters));
    if let Some(Target::Redirect(_) | Target::Respond(_)) = target {
        for key in FORWARDING_KEYS {
            if let Some(node) = table.get(key) {
                node.error::<()>("has no effect on a route that answers by itself: remove it");
            }
        }
    }
    let rewrite = table.or("rewrite", (None, None), rewrite);
    let changes = |key| table.or(key, Default::default(), header_changes);
    let route = Route {
        hash: table.or("hash", Vec::new(), hash),
        path: rewrite.0,
        host: rewrite.1,
        request_headers: changes("request_headers"),
        response_headers: changes("response_headers"),
        rate_limit: table.or("rate_limit", None, |node| rate_limit(node).map(Some)),
        mirror: table.or("mirror", None, |node| mirror(node, clusters).map(Some)),
        timeout: table.or("timeout_ms", None, |node| millis(node, 1..=MAX_LONG_MS).map(Some)),
        max_body_bytes: table.or("max_body_bytes", None, |node| Some(Some(node.integer(0..=u32::MAX)?.into()))),
        ..Route::new(matches?, target?)
    };
    Some(route)
}

fn matches(table: &Table<'_>) -> Option<RouteMatch> {
    // The outer `None` is an error, the inner one an absent key.
    let host = table.get("host").map_or(Some(HostMatch::Any), |node| host(&node));
    let path = path_match(table);
    let methods = table.or("methods", Vec::new(), methods);
    let headers = table.or("headers", Vec::new(), header_matches);
    Some(RouteMatch { host: host?, path: path?, methods, headers })
}

fn host(node: &Node<'_>) -> Option<HostMatch> {
    let host = node.text("a host name")?;
    if !host.is_ascii() {
        return node.error("must be in ASCII: write an international name in its xn-- form, as requests carry it");
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    if name.contains('*') {
        return node.error(
            "may have a '*' only at its start, as in \"*.example.com\"; a route without a host matches every host",
        );
    }
    if name.is_empty() || name.contains(['/', ' ', '@', '?', '#']) {
        return node.mismatch("a host name alone, such as \"example.com\"");
    }
    if name.rsplit_once(':').is_some_and(|(name, port)| !port.ends_with(']') && !name.is_empty()) {
        return node.mismatch("without a port (an IPv6 address in brackets): a route matches whatever the port");
    }
    let is_exact = name.len() == host.len();
    // A dot at the end makes no difference, so it must not make another route.
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    Some(if is_exact { HostMatch::Exact(name) } else { HostMatch::Below(name) })
}

fn path_match(table: &Table<'_>) -> Option<PathMatch> {
    let nodes = ["path", "path_exact", "path_regex"].map(|key| table.get(key));
    if let [Some(_), Some(second), _] | [Some(_), None, Some(second)] | [None, Some(_), Some(second)] = &nodes {
        return second.error("only one of path, path_exact and path_regex may be there");
    }
    match nodes {
        [Some(node), ..] => {
            let path = path(&node)?.trim_end_matches('/');
            Some(if path.is_empty() { PathMatch::Any } else { PathMatch::Prefix(path.to_owned()) })
        }
        [_, Some(node), _] => Some(PathMatch::Exact(path(&node)?.to_owned())),
        [_, _, Some(node)] => Some(PathMatch::Regex(pattern(&node)?)),
        [None, None, None] => Some(PathMatch::Any),
    }
}

/// A path, as requests have it once they are brought into one form.
pub(super) fn path<'a>(node: &Node<'a>) -> Option<&'a str> {
    let path = node.text("a path")?;
    if !path.starts_with('/') {
        return node.mismatch("a path that starts with '/'");
    }
    if path.contains(['?', '#', '*', ' ']) {
        return node.mismatch("a path, without '?', '#', '*' or spaces");
    }
    match normalize(path, &PathRules::default()) {
        Ok(normal) if normal == path => Some(path),
        Ok(normal) => node.error(format_args!("is never asked for in this spelling: write {normal:?}")),
        Err(error) => node.error(format_args!("is a path that is refused: {error}")),
    }
}

/// A regular expression for a whole text.
pub(super) fn pattern(node: &Node<'_>) -> Option<Pattern> {
    match Pattern::new(node.text("a regular expression")?) {
        Ok(pattern) => Some(pattern),
        Err(error) => node.error(error),
    }
}

fn methods(node: &Node<'_>) -> Option<Vec<Method>> {
    let nodes = node.array(MAX_CONDITIONS, "a list of methods, such as [\"GET\", \"HEAD\"]")?;
    let parsed = nodes.iter().filter_map(|node| {
        let name = node.text("a method, such as \"GET\"")?;
        match Method::from_bytes(name.as_bytes()) {
            Ok(method) if name.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                let upper = method.as_str().to_ascii_uppercase();
                node.error(format_args!("must be in capitals, as requests have it: {upper:?}"))
            }
            Ok(method) => Some(method),
            Err(_) => node.mismatch("a method, such as \"GET\""),
        }
    });
    let mut methods: Vec<Method> = parsed.collect();
    // So that the same methods in another order are no other route.
    methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    methods.dedup();
    if nodes.is_empty() { node.error("must not be empty: no request has no method") } else { Some(methods) }
}

fn header_matches(node: &Node<'_>) -> Option<Vec<(HeaderName, HeaderMatch)>> {
    let entries = node.entries(MAX_CONDITIONS, "a table of headers, such as { x-canary = \"1\" }")?;
    let parsed = entries.iter().filter_map(|(name, node)| {
        let name = header_name(node, name);
        let wanted = header_match(node);
        match name? {
            http::header::HOST => node.error("is matched by the route's host"),
            name => Some((name, wanted?)),
        }
    });
    let mut headers: Vec<_> = parsed.collect();
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    Some(headers)
}

fn header_match(node: &Node<'_>) -> Option<HeaderMatch> {
    const SHOULD: &str = "a value, { regex = \"...\" } or { present = true }";
    if !node.is_table() {
        return Some(HeaderMatch::Exact(header_value(node, SHOULD)?));
    }
    let table = node.table(&["regex", "present"], SHOULD)?;
    match (table.get("regex"), table.get("present")) {
        (Some(node), None) => Some(HeaderMatch::Regex(pattern(&node)?)),
        (None, Some(node)) => Some(HeaderMatch::Present(node.boolean()?)),
        _ => node.error(format_args!("must be {SHOULD}")),
    }
}

/// A header's name, where `node` is its value.
pub(super) fn header_name(node: &Node<'_>, name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_or_else(|_| node.error("is not the name of a header"), Some)
}

pub(super) fn header_value(node: &Node<'_>, should: &str) -> Option<HeaderValue> {
    // What `text` lets through is fit for a header.
    HeaderValue::from_str(node.text(should)?).map_or_else(|_| node.error("must be in ASCII"), Some)
}

/// A host that requests are sent to or sent away to; it may have a port.
pub(super) fn other_host<'a>(node: &Node<'a>) -> Option<&'a str> {
    const SHOULD: &str = "a host, such as \"example.com\" or \"example.com:8080\"";
    let host = node.text(SHOULD)?;
    match host.parse::<http::uri::Authority>() {
        Ok(_) if !host.contains('@') => Some(host),
        _ => node.mismatch(SHOULD),
    }
}

fn rewrite(node: &Node<'_>) -> Option<(Option<PathChange>, Option<HeaderValue>)> {
    let table = node.table(&["path", "regex", "with", "host"], "a table with a path, a regex or a host")?;
    let path = path_change(&table)?;
    let host = table.get("host").map_or(Some(None), |node| {
        // What is an authority is fit for a header.
        Some(HeaderValue::from_str(other_host(&node)?).ok())
    })?;
    if path.is_none() && host.is_none() {
        return node.error("needs a path, a regex or a host");
    }
    Some((path, host))
}

fn hash(node: &Node<'_>) -> Option<Vec<HashKey>> {
    const SHOULD: &str = "\"source\", \"path\", { header = \"...\" }, { cookie = \"...\" } or { query = \"...\" }";
    const MAX_KEYS: usize = 8;
    let one = |node: &Node<'_>| {
        if !node.is_table() {
            return match node.text(SHOULD)? {
                "source" => Some(HashKey::Source),
                "path" => Some(HashKey::Path),
                _ => node.mismatch(SHOULD),
            };
        }
        let table = node.table(&["header", "cookie", "query"], SHOULD)?;
        match (table.get("header"), table.get("cookie"), table.get("query")) {
            (Some(node), None, None) => Some(HashKey::Header(header_name(&node, node.text("a header's name")?)?)),
            (None, Some(node), None) => Some(HashKey::Cookie(node.text("a cookie's name")?.to_owned())),
            (None, None, Some(node)) => Some(HashKey::Query(node.text("a parameter's name")?.to_owned())),
            _ => node.error(format_args!("must be {SHOULD}")),
        }
    };
    if !node.is_array() {
        return Some(vec![one(node)?]);
    }
    Some(node.array(MAX_KEYS, SHOULD)?.iter().filter_map(one).collect())
}

fn rate_limit(node: &Node<'_>) -> Option<RateLimit> {
    let table = node.table(&["per_second", "burst"], "a table such as { per_second = 100, burst = 50 }")?;
    let per_second =
        table.required("per_second", "say how many requests may come", |node| node.number(MIN_RATE..=MAX_RATE))?;
    // Without a word on it, what may come in a second may come at once.
    let default = per_second.ceil().min(f64::from(MAX_BURST)) as u32;
    let burst = table.or("burst", default, |node| node.integer(1..=MAX_BURST));
    RateLimit::new(per_second, burst)
}

fn mirror(node: &Node<'_>, clusters: &[&str]) -> Option<Mirror> {
    let table =
        node.table(&["cluster", "percent", "max_body_bytes"], "a table such as { cluster = \"b\", percent = 10 }")?;
    let cluster =
        table.required("cluster", "name the cluster that gets the copies", |node| cluster_name(node, clusters));
    let percent = table.required("percent", "say of how many requests in a hundred", |node| node.integer(1..=100));
    let max_body_bytes = table.or("max_body_bytes", Mirror::MAX_BODY_BYTES, |node| {
        node.integer(0..=MAX_MIRRORED_BYTES).map(|it| it as usize)
    });
    Some(Mirror { cluster: cluster?, percent: percent?, max_body_bytes })
}
