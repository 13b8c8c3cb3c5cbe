use http::{HeaderName, Method, Request};
use proptest::prelude::*;
use sluicegate_core::RateLimit;
use sluicegate_policy::RequestParts;

use super::{
    super::{HeaderMatch, RouteMatch},
    *,
};

fn host(text: &str) -> HostMatch {
    match (text, text.strip_prefix("*.")) {
        ("", _) => HostMatch::Any,
        (_, Some(end)) => HostMatch::Below(end.to_owned()),
        (exact, None) => HostMatch::Exact(exact.to_owned()),
    }
}

/// `=/a` is exact, `~/a` a pattern, `/a` a prefix.
fn path(text: &str) -> PathMatch {
    match text.split_at(text.len().min(1)) {
        ("", _) => PathMatch::Any,
        ("=", exact) => PathMatch::Exact(exact.to_owned()),
        ("~", pattern) => PathMatch::Regex(Pattern::new(pattern).unwrap()),
        _ => PathMatch::Prefix(text.to_owned()),
    }
}

fn matching(host_text: &str, path_text: &str) -> RouteMatch {
    RouteMatch { host: host(host_text), path: path(path_text), ..RouteMatch::default() }
}

fn table(routes: &[(&str, &str)]) -> RouteTable {
    RouteTable::new(routes.iter().map(|(host, path)| Route::to_cluster(matching(host, path), "any")).collect())
}

fn head(method: &Method, host: &str, path: &str) -> RequestParts {
    Request::builder().method(method).uri(path).header(HOST, host).body(()).unwrap().into_parts().0.into()
}

/// `expected` is the index of the route in the order given.
fn check(table: &RouteTable, host: &str, path: &str, expected: Option<usize>) {
    assert_eq!(table.find(&head(&Method::GET, host, path)), expected, "{host} {path}");
}

#[test]
fn a_host_of_its_own_comes_before_any_host() {
    let table = table(&[("", "/a/b/c"), ("One.example", ""), ("two.example:80", "/x")]);
    check(&table, "one.example", "/a/b/c", Some(1));
    check(&table, "ONE.EXAMPLE.:8080", "/", Some(1));
    check(&table, "two.example", "/x/1", Some(2));
    check(&table, "two.example", "/a/b/c", Some(0));
    check(&table, "two.example", "/", None);
    check(&table, "", "/a/b/c", Some(0));
    check(&table, &"h".repeat(300), "/a/b/c", Some(0));
}

#[test]
fn the_longest_end_of_a_host_wins() {
    let table = table(&[("*.example", ""), ("*.b.example", "/x"), ("a.b.example", "/y"), ("", "")]);
    check(&table, "a.example", "/", Some(0));
    check(&table, "z.y.a.EXAMPLE:1", "/", Some(0));
    check(&table, "a.b.example", "/x", Some(1));
    check(&table, "a.b.example", "/y", Some(2));
    check(&table, "a.b.example", "/z", Some(0));
    check(&table, "b.example", "/x", Some(0));
    for other in ["example", "aexample", "example.org", "", "."] {
        check(&table, other, "/x", Some(3));
    }
}

#[test]
fn the_longest_prefix_wins_on_segment_boundaries() {
    let table = table(&[("", ""), ("", "/a"), ("", "/a/b"), ("", "/c")]);
    check(&table, "h", "/", Some(0));
    check(&table, "h", "/a", Some(1));
    check(&table, "h", "/a/", Some(1));
    check(&table, "h", "/a/bc", Some(1));
    check(&table, "h", "/ab", Some(0));
    check(&table, "h", "/a/b/c", Some(2));
    check(&table, "h", "/a/b?c", Some(2));
    check(&table, "h", "/c/d", Some(3));
    check(&table, "h", "*", Some(0));
}

#[test]
fn exact_then_prefix_then_patterns_then_any_path() {
    let table = table(&[("", ""), ("", "~/a.*"), ("", "~/[ab]+"), ("", "/a/b"), ("", "=/a/b"), ("", "=/")]);
    check(&table, "h", "/a/b", Some(4));
    check(&table, "h", "/a/b/", Some(3));
    check(&table, "h", "/aa", Some(1));
    check(&table, "h", "/ba", Some(2));
    check(&table, "h", "/c", Some(0));
    check(&table, "h", "/", Some(5));
}

#[test]
fn more_conditions_come_first_then_the_order_given() {
    let header = |name| (HeaderName::from_static(name), HeaderMatch::Present(true));
    let with = |path: &str, methods: &[Method], headers: &[&'static str]| {
        let headers = headers.iter().copied().map(header).collect();
        Route::to_cluster(RouteMatch { methods: methods.to_vec(), headers, ..matching("", path) }, "any")
    };
    let table = RouteTable::new(vec![
        with("/a", &[], &[]),
        with("/a", &[Method::GET], &[]),
        with("/a", &[Method::GET], &["x"]),
        with("/a", &[], &["y"]),
        with("/a/b", &[Method::POST], &[]),
        with("~/c", &[], &[]),
        with("~/[c]", &[Method::GET], &["x"]),
        with("~/c", &[Method::GET], &[]),
    ]);
    let check = |method: Method, path: &str, headers: &[&'static str], expected: Option<usize>| {
        let mut head = head(&method, "h", path);
        for name in headers {
            head.headers.all_mut().insert(*name, HeaderValue::from_static("1"));
        }
        assert_eq!(table.find(&head), expected, "{method} {path} {headers:?}");
    };
    check(Method::POST, "/a", &[], Some(0));
    check(Method::POST, "/a/x", &["x"], Some(0));
    check(Method::GET, "/a", &[], Some(1));
    check(Method::GET, "/a", &["x", "y"], Some(2));
    check(Method::GET, "/a", &["y"], Some(1));
    check(Method::POST, "/a", &["y"], Some(3));
    check(Method::POST, "/a/b", &["y"], Some(4));
    check(Method::GET, "/a/b", &[], Some(1));
    // Of patterns the first one, whatever else they ask for.
    check(Method::GET, "/c", &["x"], Some(7));
    check(Method::POST, "/c", &["x"], Some(5));
}

#[test]
fn of_two_equal_routes_the_first_wins() {
    check(&table(&[("", ""), ("", "")]), "h", "/", Some(0));
    check(&table(&[("a", "/a"), ("a", "/a")]), "a", "/a", Some(0));
    check(&table(&[]), "h", "/", None);
}

#[test]
fn an_ipv6_host_keeps_its_colons() {
    let table = table(&[("[::1]", "")]);
    check(&table, "[::1]", "/", Some(0));
    check(&table, "[::1]:80", "/", Some(0));
    check(&table, "[::2]:80", "/", None);
}

#[test]
fn a_limit_goes_on_where_its_route_stays() {
    let limited = |path: &str, per_second: f64| {
        let rate_limit = RateLimit::new(per_second, 1);
        Route { rate_limit, ..Route::to_cluster(matching("", path), "any") }
    };
    let before = RouteTable::new(vec![limited("/a", 1.0), limited("/b", 1.0)]);
    let after = RouteTable::new(vec![limited("/c", 1.0), limited("/b", 2.0), table(&[("", "/a")]).routes[0].clone()]);
    let after = after.go_on_from(&before);
    let is_same = |new: usize, old: usize| Arc::ptr_eq(after.limiter(new).unwrap(), before.limiter(old).unwrap());
    assert!(is_same(1, 1) && !is_same(0, 0) && !is_same(0, 1));
    assert!(after.limiter(2).is_none());
}

/// How particular a route is that fits; none if it does not. Slow, and close to the words of the documentation.
fn rank(routes: &[Route], index: usize, head: &RequestParts) -> Option<impl Ord + use<>> {
    let matches = &routes[index].matches;
    let (host, path) = (head.headers.get(&HOST).unwrap().to_str().unwrap(), head.uri.path());
    let host = match &matches.host {
        HostMatch::Exact(own) => (host == own).then_some((2, 0)),
        HostMatch::Below(end) => host.ends_with(&format!(".{end}")).then_some((1, end.len())),
        HostMatch::Any => Some((0, 0)),
    };
    let path = match &matches.path {
        PathMatch::Exact(own) => (path == own).then_some((3, 0)),
        PathMatch::Prefix(prefix) => format!("{path}/").starts_with(&format!("{prefix}/")).then_some((2, prefix.len())),
        PathMatch::Regex(pattern) => {
            // In the order of the file among those for the same host.
            let same = |other: &Route| (&other.matches.host, &other.matches.path) == (&matches.host, &matches.path);
            let first = routes.iter().position(same).unwrap();
            pattern.matches(path.as_bytes()).then_some((1, usize::MAX - first))
        }
        PathMatch::Any => Some((0, 0)),
    };
    let conditions = matches.holds(head).then(|| matches.conditions());
    Some((host?, path?, conditions?, Reverse(index)))
}

fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(texts)
}

proptest! {
    #[test]
    fn the_most_particular_route_is_found(
        routes in prop::collection::vec((
            any_of(&["", "a.t", "b.a.t", "*.t", "*.a.t", "*.b.a.t"]),
            any_of(&["", "/a", "/a/b", "/a/b/c", "=/a", "=/a/b", "=/a/", "~/a.*", "~/.*b", "~/[ab]"]),
            prop::sample::subsequence(vec![Method::GET, Method::PUT], 0..3),
            prop::sample::subsequence(vec!["x", "y"], 0..3),
        ), 0..12),
        host in any_of(&["a.t", "b.a.t", "c.b.a.t", "t", "u"]),
        path in any_of(&["/", "/a", "/a/", "/a/b", "/a/b/c/d", "/ab", "/b"]),
        method in prop::sample::select(vec![Method::GET, Method::PUT, Method::POST]),
        names in prop::sample::subsequence(vec!["x", "y", "z"], 0..4),
    ) {
        let routes = routes.into_iter().map(|(host, path, methods, headers)| {
            let header = |name| (HeaderName::from_static(name), HeaderMatch::Present(true));
            let headers = headers.into_iter().map(header).collect();
            Route::to_cluster(RouteMatch { methods, headers, ..matching(host, path) }, "any")
        });
        let table = RouteTable::new(routes.collect());
        let mut head = head(&method, host, path);
        for name in names {
            head.headers.all_mut().insert(name, HeaderValue::from_static("1"));
        }
        let indices = 0..table.routes().len();
        let best = indices.filter_map(|index| Some((rank(table.routes(), index, &head)?, index))).max();
        prop_assert_eq!(table.find(&head), best.map(|(_, index)| index));
    }
}
