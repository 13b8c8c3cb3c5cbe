//! Which cluster a request goes to.

use std::{collections::HashMap, sync::Arc};

/// Requests that match go to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host that is asked for, without a port; any when there is none.
    pub host: Option<String>,
    /// What the path begins with, in whole segments: `/a` is a prefix of `/a/b`, not of `/ab`. Any path when there
    /// is none.
    pub path_prefix: Option<String>,
    /// The cluster's name.
    pub cluster: Arc<str>,
}

/// Routes, compiled for lookups that allocate nothing.
///
/// Routes of the request's host come before those of any host; among them the longest path prefix wins, and of two
/// equal routes the first.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    by_host: HashMap<Box<[u8]>, Vec<Entry>>,
    any_host: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    prefix: Box<str>,
    index: usize,
}

impl RouteTable {
    /// Compiles routes.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table = Self { by_host: HashMap::new(), any_host: Vec::new(), routes };
        for (index, route) in table.routes.iter().enumerate() {
            let entry = Entry { prefix: route.path_prefix.as_deref().unwrap_or("").into(), index };
            match &route.host {
                Some(host) => {
                    let host = without_port(host.as_bytes()).to_ascii_lowercase();
                    table.by_host.entry(host.into()).or_default().push(entry);
                }
                None => table.any_host.push(entry),
            }
        }
        // The sort is stable: of two equal routes the first stays first.
        for entries in table.by_host.values_mut().chain([&mut table.any_host]) {
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.prefix.len()));
        }
        table
    }

    /// The routes, as given.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The index of the route for a `Host` header's value and a path.
    pub fn find(&self, host: &[u8], path: &str) -> Option<usize> {
        let own = if self.by_host.is_empty() { None } else { self.entries_of(host) };
        own.into_iter()
            .chain([&self.any_host])
            .find_map(|entries| entries.iter().find(|entry| is_prefix(&entry.prefix, path)).map(|entry| entry.index))
    }

    fn entries_of(&self, host: &[u8]) -> Option<&Vec<Entry>> {
        let host = without_port(host);
        // The longest name that DNS allows, and then some: a longer host is nobody's.
        let mut lower = [0_u8; 256];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        self.by_host.get(&*lower)
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        // A colon inside brackets is part of an IPv6 address.
        Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
        _ => host,
    }
}

fn is_prefix(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || prefix.is_empty() || prefix.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str, &str)]) -> RouteTable {
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RouteTable::new(
            routes
                .iter()
                .map(|(host, path, cluster)| Route {
                    host: optional(host),
                    path_prefix: optional(path),
                    cluster: (*cluster).into(),
                })
                .collect(),
        )
    }

    fn check(table: &RouteTable, host: &str, path: &str, expected: Option<&str>) {
        let found = table.find(host.as_bytes(), path).map(|index| &*table.routes()[index].cluster);
        assert_eq!(found, expected, "{host} {path}");
    }

    #[test]
    fn a_host_of_its_own_comes_before_any_host() {
        let table = table(&[("", "/a/b/c", "any"), ("One.example", "", "one"), ("two.example:80", "/x", "two")]);
        check(&table, "one.example", "/a/b/c", Some("one"));
        check(&table, "ONE.EXAMPLE:8080", "/", Some("one"));
        check(&table, "two.example", "/x/1", Some("two"));
        check(&table, "two.example", "/a/b/c", Some("any"));
        check(&table, "two.example", "/", None);
        check(&table, "", "/a/b/c", Some("any"));
        check(&table, &"h".repeat(300), "/a/b/c", Some("any"));
    }

    #[test]
    fn the_longest_prefix_wins_on_segment_boundaries() {
        let table = table(&[("", "/", "root"), ("", "/a", "a"), ("", "/a/b", "ab"), ("", "/c/", "c")]);
        check(&table, "h", "/", Some("root"));
        check(&table, "h", "/a", Some("a"));
        check(&table, "h", "/a/", Some("a"));
        check(&table, "h", "/ab", Some("root"));
        check(&table, "h", "/a/b/c", Some("ab"));
        check(&table, "h", "/c", Some("root"));
        check(&table, "h", "/c/d", Some("c"));
        check(&table, "h", "*", None);
    }

    #[test]
    fn of_two_equal_routes_the_first_wins() {
        check(&table(&[("", "", "first"), ("", "", "second")]), "h", "/", Some("first"));
        check(&table(&[]), "h", "/", None);
    }

    #[test]
    fn an_ipv6_host_keeps_its_colons() {
        let table = table(&[("[::1]", "", "six")]);
        check(&table, "[::1]", "/", Some("six"));
        check(&table, "[::1]:80", "/", Some("six"));
    }
}
