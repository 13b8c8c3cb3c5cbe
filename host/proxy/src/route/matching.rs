//! What a route wants of a request.

use http::{HeaderName, HeaderValue, Method};
use sluicegate_policy::{RequestHeaders, RequestParts};

use super::Pattern;

/// The requests that a route is for: those for which all of this holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouteMatch {
    /// The host that is asked for.
    pub host: HostMatch,
    /// The path, without its query.
    pub path: PathMatch,
    /// One of these methods; any when there are none.
    pub methods: Vec<Method>,
    /// All of these headers.
    pub headers: Vec<(HeaderName, HeaderMatch)>,
}

/// Hosts. Ports, upper case and a dot at the end make no difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Any host.
    #[default]
    Any,
    /// This one.
    Exact(String),
    /// Any host that ends in a dot and this: `example.com` for `a.example.com` and `a.b.example.com`.
    Below(String),
}

/// Paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// Any path.
    #[default]
    Any,
    /// What the path begins with, in whole segments: `/a` is a prefix of `/a/b`, not of `/ab`. It begins with a slash
    /// and ends in none.
    Prefix(String),
    /// This path.
    Exact(String),
    /// The whole path matches.
    Regex(Pattern),
}

/// What one header's value has to be. Where a header has several lines, one of them is enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderMatch {
    /// This.
    Exact(HeaderValue),
    /// The whole value matches.
    Regex(Pattern),
    /// Anything, or not there at all.
    Present(bool),
}

impl RouteMatch {
    /// How much more is asked for than a host and a path.
    pub(super) fn conditions(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len()
    }

    /// Whether all holds but for host and path.
    #[inline]
    pub(super) fn holds(&self, head: &RequestParts) -> bool {
        (self.methods.is_empty() || self.methods.contains(&head.method))
            && self.headers.iter().all(|(name, wanted)| wanted.holds(name, &head.headers))
    }
}

impl HeaderMatch {
    fn holds(&self, name: &HeaderName, headers: &RequestHeaders) -> bool {
        let mut values = headers.get_all(name);
        match self {
            Self::Exact(wanted) => values.any(|value| value == wanted),
            Self::Regex(pattern) => values.any(|value| pattern.matches(value.as_bytes())),
            Self::Present(wanted) => values.next().is_some() == *wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_headers_have_to_fit() {
        let (head, ()) = http::Request::post("/")
            .header("x-canary", "1")
            .header("x-list", "a")
            .header("x-list", "bb")
            .body(())
            .unwrap()
            .into_parts();
        let check = |methods: &[Method], headers: &[(&'static str, HeaderMatch)], expected: bool| {
            let headers = headers.iter().map(|(name, wanted)| (HeaderName::from_static(name), wanted.clone()));
            let wanted = RouteMatch { methods: methods.to_vec(), headers: headers.collect(), ..RouteMatch::default() };
            assert_eq!(wanted.holds(&head.clone().into()), expected, "{wanted:?}");
        };
        let exact = |value: &'static str| HeaderMatch::Exact(HeaderValue::from_static(value));
        let regex = |text: &str| HeaderMatch::Regex(Pattern::new(text).unwrap());
        check(&[], &[], true);
        check(&[Method::GET, Method::POST], &[], true);
        check(&[Method::GET], &[], false);
        check(&[], &[("x-canary", exact("1")), ("x-list", exact("bb"))], true);
        check(&[], &[("x-canary", exact("1")), ("x-list", exact("b"))], false);
        check(&[], &[("x-list", regex("b+"))], true);
        check(&[], &[("x-list", regex("b"))], false);
        check(&[], &[("x-canary", HeaderMatch::Present(true)), ("x-debug", HeaderMatch::Present(false))], true);
        check(&[], &[("x-canary", HeaderMatch::Present(false))], false);
        check(&[], &[("x-debug", HeaderMatch::Present(true))], false);
        check(&[], &[("x-debug", regex(".*"))], false);
    }
}
