//! Where a route leads: to clusters, elsewhere, or to an answer of its own.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use sluicegate_proxy::{FixedResponse, Redirect, Target};

use super::{
    errors::known_names,
    route::{header_value, other_host},
    route_changes::path_change,
    tree::{Node, Table},
};

// They are looked through for every request.
const MAX_CLUSTERS: usize = 64;
// Whatever is larger is better served by a server of files.
const MAX_BODY: usize = 64 << 10;

const TARGETS: [&str; 4] = ["cluster", "clusters", "redirect", "respond"];

pub(super) fn target(table: &Table<'_>, known: &[&str]) -> Option<Target> {
    let mut given = TARGETS.iter().filter_map(|key| Some((*key, table.get(key)?)));
    let Some((key, node)) = given.next() else {
        return table.required("cluster", "name the cluster that gets these requests", |_| None);
    };
    if let Some((_, second)) = given.next() {
        return second.error("only one of cluster, clusters, redirect and respond may be there");
    }
    match key {
        "cluster" => Some(Target::Clusters(vec![(cluster_name(&node, known)?, 1)])),
        "clusters" => clusters(&node, known).map(Target::Clusters),
        "redirect" => redirect(&node).map(Target::Redirect),
        _ => respond(&node).map(Target::Respond),
    }
}

/// The name of one of the clusters.
pub(super) fn cluster_name(node: &Node<'_>, known: &[&str]) -> Option<Arc<str>> {
    let name = node.text("the name of a cluster")?;
    check_cluster(node, name, known).map(Arc::from)
}

fn check_cluster<'a>(node: &Node<'_>, name: &'a str, known: &[&str]) -> Option<&'a str> {
    if known.contains(&name) {
        return Some(name);
    }
    let known = known_names(name, "clusters", known.iter().copied());
    node.error(format_args!("no cluster is called {name:?}{known}"))
}

fn clusters(node: &Node<'_>, known: &[&str]) -> Option<Vec<(Arc<str>, u32)>> {
    let entries = node.entries(MAX_CLUSTERS, "a table of clusters and their shares, such as { a = 9, b = 1 }")?;
    let parsed: Vec<_> = entries
        .iter()
        .map(|(name, node)| {
            let share = node.integer(0..=65_535);
            Some((check_cluster(node, name, known)?.into(), share?))
        })
        .collect();
    let clusters: Vec<(Arc<str>, u32)> = parsed.into_iter().collect::<Option<_>>()?;
    if clusters.iter().all(|(_, share)| *share == 0) {
        return node.error("gives no cluster a share: requests have to go somewhere");
    }
    Some(clusters)
}

fn redirect(node: &Node<'_>) -> Option<Redirect> {
    // It keeps the method, and no browser remembers it for ever.
    const DEFAULT: StatusCode = StatusCode::TEMPORARY_REDIRECT;
    const SCHEMES: &[(&str, &str)] = &[("http", "http"), ("https", "https")];
    let table = node.table(&["status", "scheme", "host", "path", "regex", "with"], "a table")?;
    let status = table.or("status", DEFAULT, |node| match node.integer(301..=308)? {
        code @ (301 | 302 | 303 | 307 | 308) => status(node, code),
        _ => node.mismatch("301, 302, 303, 307 or 308"),
    });
    let scheme = table.or("scheme", None, |node| node.choice(SCHEMES).map(Some));
    let host = table.or("host", None, |node| Some(Some(other_host(node)?.to_owned())));
    let path = path_change(&table)?;
    if ["scheme", "host", "path", "regex"].iter().all(|key| table.get(key).is_none()) {
        return node.error("needs a scheme, a host, a path or a regex: it would lead back here");
    }
    Some(Redirect { status, scheme, host, path })
}

fn respond(node: &Node<'_>) -> Option<FixedResponse> {
    const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    let table = node.table(&["status", "body", "content_type"], "a table such as { status = 200, body = \"ok\" }")?;
    let status = table.or("status", StatusCode::OK, |node| status(node, node.integer(200..=599)?));
    let body = table.or("body", "", |node| node.long_text(MAX_BODY));
    if let (204 | 205 | 304, Some(node)) = (status.as_u16(), table.get("body")) {
        return node.error(format_args!("must not be there: a response with status {status} has no body"));
    }
    let default = (!body.is_empty()).then_some(PLAIN);
    let content_type =
        table.or("content_type", default, |node| header_value(node, "a media type, such as \"text/html\"").map(Some));
    Some(FixedResponse { status, body: Bytes::copy_from_slice(body.as_bytes()), content_type })
}

fn status(node: &Node<'_>, code: u32) -> Option<StatusCode> {
    u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok()).or_else(|| node.mismatch("a status"))
}
