//! Which route a request takes.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use http::{HeaderValue, header::HOST};
use sluicegate_core::RateLimiter;
use sluicegate_policy::RequestParts;

use super::{HostMatch, PathMatch, Pattern, Route};

/// Routes, compiled for lookups that allocate nothing.
///
/// The most particular route that fits wins: a route for just this host before one for the hosts below the longest
/// name, and that before one for any host; of these a route for just this path, then the longest prefix, then regular
/// expressions in the order given, then any path; of these the one with the most methods and headers to fit, then the
/// first.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    /// Aligned with the routes: what a limit counts in, for all workers together.
    limiters: Vec<Option<Arc<RateLimiter>>>,
    exact_hosts: HashMap<Box<[u8]>, Paths>,
    /// By the end of the host, from its dot on.
    host_ends: HashMap<Box<[u8]>, Paths>,
    longest_host_end: usize,
    any_host: Paths,
}

/// The routes for a host. Routes of the same rank are in the order in which they are tried.
#[derive(Clone, Debug, Default)]
struct Paths {
    exact: HashMap<Box<[u8]>, Vec<usize>>,
    prefixes: HashMap<Box<[u8]>, Vec<usize>>,
    longest_prefix: usize,
    regexes: Vec<(Pattern, Vec<usize>)>,
    any: Vec<usize>,
}

impl RouteTable {
    /// Compiles routes.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table = Self::default();
        let mut order: Vec<usize> = (0..routes.len()).collect();
        order.sort_by_key(|index| (Reverse(routes[*index].matches.conditions()), *index));
        // In the order of the file, whatever else they ask for.
        for route in &routes {
            if let PathMatch::Regex(pattern) = &route.matches.path {
                table.paths(&route.matches.host).regexes_of(pattern);
            }
        }
        for index in order {
            let matches = &routes[index].matches;
            table.paths(&matches.host).entry(&matches.path).push(index);
        }
        table.limiters = routes.iter().map(|route| route.rate_limit.map(|_| Arc::default())).collect();
        table.routes = routes;
        table
    }

    /// Goes on counting where another table is, for the routes that match the same requests.
    #[must_use]
    #[allow(clippy::mutable_key_type)] // A pattern's hash is that of its text.
    pub fn go_on_from(mut self, before: &Self) -> Self {
        let known: HashMap<_, _> = before.routes.iter().map(|route| &route.matches).zip(&before.limiters).collect();
        for (route, limiter) in self.routes.iter().zip(&mut self.limiters) {
            if let (Some(limiter), Some(Some(before))) = (limiter, known.get(&route.matches)) {
                *limiter = Arc::clone(before);
            }
        }
        self
    }

    /// The routes, as given.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub(crate) fn limiter(&self, index: usize) -> Option<&Arc<RateLimiter>> {
        self.limiters[index].as_ref()
    }

    /// The index of a request's route.
    pub(crate) fn find(&self, head: &RequestParts) -> Option<usize> {
        let own = if self.exact_hosts.is_empty() && self.host_ends.is_empty() { None } else { self.find_own(head) };
        own.or_else(|| self.any_host.find(&self.routes, head))
    }

    /// The same among the routes that name hosts.
    fn find_own(&self, head: &RequestParts) -> Option<usize> {
        let host = name_of(head.headers.get(&HOST).map_or(b"", HeaderValue::as_bytes));
        // The longest name that DNS allows, and then some: a longer host is nobody's.
        let mut lower = [0_u8; 256];
        let host = {
            let lower = lower.get_mut(..host.len())?;
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            &*lower
        };
        let exact = self.exact_hosts.get(host).and_then(|paths| paths.find(&self.routes, head));
        exact.or_else(|| {
            let start = host.len().saturating_sub(self.longest_host_end);
            let dots = (start..host.len()).filter(|at| host[*at] == b'.');
            dots.filter_map(|dot| self.host_ends.get(&host[dot..])).find_map(|paths| paths.find(&self.routes, head))
        })
    }

    fn paths(&mut self, host: &HostMatch) -> &mut Paths {
        match host {
            HostMatch::Any => &mut self.any_host,
            HostMatch::Exact(host) => {
                self.exact_hosts.entry(name_of(host.as_bytes()).to_ascii_lowercase().into()).or_default()
            }
            HostMatch::Below(host) => {
                let end = [b".", name_of(host.as_bytes())].concat().to_ascii_lowercase();
                self.longest_host_end = self.longest_host_end.max(end.len());
                self.host_ends.entry(end.into()).or_default()
            }
        }
    }
}

impl Paths {
    fn entry(&mut self, path: &PathMatch) -> &mut Vec<usize> {
        match path {
            PathMatch::Any => &mut self.any,
            PathMatch::Exact(path) => self.exact.entry(path.as_bytes().into()).or_default(),
            PathMatch::Prefix(prefix) => {
                self.longest_prefix = self.longest_prefix.max(prefix.len());
                self.prefixes.entry(prefix.as_bytes().into()).or_default()
            }
            PathMatch::Regex(pattern) => self.regexes_of(pattern),
        }
    }

    fn regexes_of(&mut self, pattern: &Pattern) -> &mut Vec<usize> {
        let at = self.regexes.iter().position(|(known, _)| known == pattern).unwrap_or_else(|| {
            self.regexes.push((pattern.clone(), Vec::new()));
            self.regexes.len() - 1
        });
        &mut self.regexes[at].1
    }

    fn find(&self, routes: &[Route], head: &RequestParts) -> Option<usize> {
        let first = |indices: &[usize]| indices.iter().copied().find(|index| routes[*index].matches.holds(head));
        let path = head.uri.path().as_bytes();
        let exact = self.exact.get(path).and_then(|indices| first(indices));
        let prefix = || {
            if self.prefixes.is_empty() {
                return None;
            }
            // Where a segment ends, from the longest prefix on.
            let longest = self.longest_prefix.min(path.len());
            let ends = (1..=longest).rev().filter(|end| matches!(path.get(*end), None | Some(b'/')));
            ends.filter_map(|end| self.prefixes.get(&path[..end])).find_map(|indices| first(indices))
        };
        let regex = || {
            let mut fitting = self.regexes.iter().filter(|(pattern, _)| pattern.matches(path));
            fitting.find_map(|(_, indices)| first(indices))
        };
        exact.or_else(prefix).or_else(regex).or_else(|| first(&self.any))
    }
}

/// A host without its port and without the dot of the root.
fn name_of(host: &[u8]) -> &[u8] {
    let name = match host.iter().rposition(|byte| *byte == b':') {
        // A colon inside brackets is part of an IPv6 address.
        Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
        _ => host,
    };
    name.strip_suffix(b".").unwrap_or(name)
}

#[cfg(test)]
mod tests;
