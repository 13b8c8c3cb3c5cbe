//! Routes: which requests go where, and what is made of them on the way.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use hyper::{Request, Response};
use sluicegate_tests::{Echo, Load, Origin, Proxy, ask, eventually, get, wasm::ByHand};

/// Routes to the clusters `a`, `b` and so on, with an endpoint each.
pub(crate) fn config(routes: &str, origins: &[&Echo]) -> String {
    let clusters = ('a'..).zip(origins).map(|(name, origin)| format!("{name}.endpoints = [\"{}\"]\n", origin.address));
    format!("{routes}\n[cluster]\n{}", clusters.collect::<String>())
}

/// A request for `host` with these headers.
pub(crate) fn request(method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Request<String> {
    let request = Request::builder().method(method).uri(target).header("host", host);
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(String::new()).unwrap()
}

pub(crate) fn header<'a>(response: &'a Response<String>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Asks, and checks the status and the proxy's own error, which is empty for an answer from an endpoint.
pub(crate) fn check(proxy: &Proxy, request: Request<String>, status: u16, error: &str) -> Response<String> {
    let what = format!("{request:?}");
    let response = ask(proxy.address, request).unwrap();
    let got = (response.status().as_u16(), header(&response, "x-sluicegate-error"));
    assert_eq!(got, (status, error), "{what}: {response:?}");
    response
}

/// Asks, and checks that the endpoint got these lines and did not get others.
pub(crate) fn check_echo(
    proxy: &Proxy,
    request: Request<String>,
    lines: &[&str],
    without: &[&str],
) -> Response<String> {
    let response = check(proxy, request, 200, "");
    for line in lines {
        assert!(response.body().lines().any(|other| other == *line), "{line} is missing in:\n{}", response.body());
    }
    for part in without {
        assert!(!response.body().contains(part), "{part} is in:\n{}", response.body());
    }
    response
}

#[test]
fn requests_take_the_most_particular_route() {
    let origins = [(); 6].map(|()| Echo::start());
    let routes = r#"
        [[route]]
        cluster = "a"
        [[route]]
        host = "*.test"
        cluster = "b"
        [[route]]
        host = "shop.test"
        path = "/api"
        cluster = "c"
        [[route]]
        path_regex = "/v[0-9]+/.*"
        cluster = "d"
        [[route]]
        host = "shop.test"
        path = "/api"
        methods = ["POST", "PUT"]
        cluster = "e"
        [[route]]
        host = "shop.test"
        path = "/api"
        headers = { x-canary = "1", user-agent = { regex = "curl/.*" } }
        cluster = "f""#;
    let proxy = Proxy::start(&config(routes, &origins.each_ref()), |_| {});
    let check_route = |request: Request<String>, cluster: usize| {
        let response = check(&proxy, request, 200, "");
        assert_eq!(header(&response, "x-origin"), origins[cluster].address.to_string(), "{}", response.body());
    };
    let canary = [("x-canary", "1"), ("user-agent", "curl/8")];
    check_route(request("GET", "any", "/api", &[]), 0);
    check_route(request("OPTIONS", "any", "*", &[]), 0);
    check_route(request("GET", "deep.in.TEST:80", "/api", &[]), 1);
    check_route(request("GET", "shop.test", "/apis", &[]), 1);
    check_route(request("GET", "shop.test", "/api/x?y", &[]), 2);
    check_route(request("GET", "any", "/v12/x", &[]), 3);
    check_route(request("GET", "any", "/v12", &[]), 0);
    check_route(request("PUT", "shop.test", "/api/x", &[]), 4);
    check_route(request("PUT", "shop.test", "/api/x", &canary), 5);
    check_route(request("GET", "shop.test", "/api/x", &canary[..1]), 2);
}

#[test]
fn what_a_route_is_chosen_by_is_what_the_endpoint_gets() {
    let origin = Echo::start();
    let routes = "[[route]]\npath = \"/admin\"\nrespond = { status = 403 }\n[[route]]\ncluster = \"a\"\n";
    let proxy = Proxy::start(&config(routes, &[&origin]), |_| {});
    for target in ["/%61dmin", "//admin/x", "/z/%2e%2E/admin", "/./admin?x"] {
        check(&proxy, request("GET", "h", target, &[]), 403, "");
    }
    for target in ["/a\\x", "/x/..%2fadmin", "/x/..;/admin", "/%00", "/%zz"] {
        check(&proxy, request("GET", "h", target, &[]), 400, "bad_request");
    }
    check_echo(&proxy, request("GET", "h", "/%7Ea/b%2fc//d/../e?%7E=//..", &[]), &["GET /~a/b%2Fc/e?%7E=//.."], &[]);
    // Where it is turned off, paths stay as they come.
    let text = fs::read_to_string(proxy.path("sluicegate.toml")).unwrap();
    let (_, dir) = proxy.stop();
    let text = text.replacen("[[listener]]\n", "[[listener]]\npath_normalization = false\n", 1);
    fs::write(dir.path().join("sluicegate.toml"), text).unwrap();
    let proxy = Proxy::start_as_it_is(dir);
    check_echo(&proxy, request("GET", "h", "/%61dmin//x", &[]), &["GET /%61dmin//x"], &[]);
}

#[test]
fn clusters_get_their_shares() {
    let origins = [Echo::start(), Echo::start(), Echo::start()];
    let routes = "[[route]]\nclusters = { a = 3, b = 1, c = 0 }\n";
    let proxy = Proxy::start(&config(routes, &origins.each_ref()), |_| {});
    for _ in 0..400 {
        assert_eq!(get(proxy.address, "/", "h").unwrap().0, 200);
    }
    let counts = origins.each_ref().map(|origin| origin.asked().len());
    // 100 of 400 on average, and within seven standard deviations of that.
    assert!((40..160).contains(&counts[1]), "{counts:?}");
    assert_eq!((counts[0] + counts[1], counts[2]), (400, 0));
}

#[test]
fn redirects_and_fixed_answers_ask_no_endpoint() {
    let origin = Echo::start();
    let routes = r#"
        [[route]]
        path = "/old"
        redirect = { status = 308, scheme = "https", path = "/new" }
        [[route]]
        path_regex = "/u/([0-9]+)"
        redirect = { host = "users.test", regex = "/u/(.*)", with = "/users/$1" }
        [[route]]
        path_exact = "/ping"
        respond = { body = "pong\n" }
        response_headers = { set = { cache-control = "no-store" } }
        [[route]]
        path_exact = "/teapot"
        respond = { status = 418, body = "{}", content_type = "application/json" }
        [[route]]
        path_exact = "/nothing"
        respond = { status = 204 }"#;
    let proxy = Proxy::start(&config(routes, &[&origin]), |_| {});
    let response = check(&proxy, request("POST", "h.test:8080", "/old/x?y=1", &[]), 308, "");
    assert_eq!(header(&response, "location"), "https://h.test/new/x?y=1");
    assert_eq!((header(&response, "content-length"), response.body().as_str()), ("0", ""));
    let response = check(&proxy, request("GET", "h.test:8080", "/u/7", &[]), 307, "");
    assert_eq!(header(&response, "location"), "http://users.test/users/7");
    let response = check(&proxy, request("GET", "h", "/ping", &[]), 200, "");
    assert_eq!((header(&response, "content-type"), response.body().as_str()), ("text/plain; charset=utf-8", "pong\n"));
    assert_eq!(header(&response, "cache-control"), "no-store");
    let response = check(&proxy, request("HEAD", "h", "/ping", &[]), 200, "");
    assert_eq!((header(&response, "content-length"), response.body().as_str()), ("5", ""));
    let response = check(&proxy, request("GET", "h", "/teapot", &[]), 418, "");
    assert_eq!((header(&response, "content-type"), response.body().as_str()), ("application/json", "{}"));
    let response = check(&proxy, request("GET", "h", "/nothing", &[]), 204, "");
    assert!(response.headers().get("content-length").is_none());
    check(&proxy, request("GET", "h", "/", &[]), 404, "no_route");
    assert!(origin.asked().is_empty());
    let metrics = proxy.admin("/metrics").1;
    assert!(metrics.contains("sluicegate_requests_total{cluster=\"\",code_class=\"3xx\"} 2"), "{metrics}");
}

#[test]
fn paths_hosts_and_headers_are_rewritten() {
    let origin = Echo::start();
    let routes = r#"
        [[route]]
        path = "/api"
        cluster = "a"
        rewrite = { path = "/v2", host = "inner.test:81" }
        request_headers = { remove = ["cookie"], set = { x-env = "test" }, add = { accept = "text/html" } }
        response_headers = { remove = ["server"], set = { x-origin = "hidden" }, add = { vary = "accept" } }
        [[route]]
        path_regex = "/u/.*"
        cluster = "a"
        rewrite = { regex = "/u/([^/]+)(/.*)?", with = "/users$2" }
        [[route]]
        path = "/user"
        cluster = "a"
        rewrite = { regex = "/user/([^/]+)(/.*)?", with = "/users$2/$1" }"#;
    let proxy = Proxy::start(&config(routes, &[&origin]), |_| {});
    let headers = [("cookie", "a=b"), ("x-env", "1"), ("x-env", "2"), ("accept", "*/*")];
    let response = check_echo(
        &proxy,
        request("GET", "outer.test", "/api/x?q=/api", &headers),
        &["GET /v2/x?q=/api", "host: inner.test:81", "x-forwarded-host: outer.test", "x-env: test", "accept: */*"],
        &["cookie", "x-env: 1"],
    );
    assert!(response.body().contains("accept: text/html"), "{}", response.body());
    assert_eq!([header(&response, "server"), header(&response, "x-origin")], ["", "hidden"]);
    assert_eq!(header(&response, "vary"), "accept");
    check_echo(&proxy, request("GET", "h", "/api", &[]), &["GET /v2"], &[]);
    check_echo(&proxy, request("GET", "h", "/user/7/x/y?z", &[]), &["GET /users/x/y/7?z"], &[]);
    check_echo(&proxy, request("GET", "h", "/user", &[]), &["GET /user"], &[]);
    check_echo(&proxy, request("GET", "h", "/u/7/x", &[]), &["GET /users/x"], &[]);
}

#[test]
fn a_policy_gets_the_hash_of_the_routes_key() {
    let origins = Origin::several(2);
    // The endpoint whose number is the hash's last bit; and without a hash, none: then the proxy's own pick serves.
    let by_hash = ByHand {
        pick: "(if (result i32) (i64.eqz (local.get $hash)) (then i32.const -1) \
               (else (i32.wrap_i64 (i64.and (local.get $hash) (i64.const 1)))))",
        ..ByHand::default()
    };
    let config = format!(
        "[[route]]\ncluster = \"api\"\nhash = [{{ header = \"x-user\" }}, {{ cookie = \"sid\" }}, {{ query = \"k\" }}]\n\
         [[route]]\npath = \"/path\"\ncluster = \"api\"\nhash = \"path\"\n\
         [cluster.api]\npolicy = {{ file = \"hash.wasm\" }}\nendpoints = [\"{}\", \"{}\"]\n",
        origins[0].address, origins[1].address
    );
    let proxy = Proxy::start(&config, |dir| fs::write(dir.join("hash.wasm"), by_hash.build("fast")).unwrap());
    let picked = |request: Request<String>, key: &str| {
        let expected = &origins[(sluicegate_core::hash(key.as_bytes()) & 1) as usize];
        assert_eq!(*check(&proxy, request, 200, "").body(), expected.address.to_string(), "{key}");
    };
    for key in ["alice", "bob", "carol", "dave", "eve"] {
        picked(request("GET", "h", "/", &[("x-user", key), ("cookie", "sid=x")]), key);
        picked(request("GET", "h", "/?k=y", &[("cookie", &format!("a=b; sid={key}"))]), key);
        picked(request("GET", "h", &format!("/?a&k={key}&k=z"), &[("cookie", "sid2=x")]), key);
        picked(request("GET", "h", &format!("/path/{key}?k=x"), &[("x-user", "x")]), &format!("/path/{key}"));
    }
    let declined = || {
        let metrics = proxy.admin("/metrics").1;
        let lines = metrics.lines().filter(|line| line.contains("fallback") && line.contains("declined"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    assert_eq!(declined(), 0);
    check(&proxy, request("GET", "h", "/", &[]), 200, "");
    assert_eq!(declined(), 1);
}

#[test]
fn a_rate_limit_holds_for_all_workers_and_over_reloads() {
    let origin = Echo::start();
    let limited = "[[route]]\npath = \"/limited\"\ncluster = \"a\"\nrate_limit = { per_second = 0.01, burst = 5 }\n";
    let open = "[[route]]\ncluster = \"a\"\n";
    let proxy = Proxy::start(&config(&format!("{limited}{open}"), &[&origin]), |_| {});
    let statuses = || (0..20).map(|_| get(proxy.address, "/limited", "h").unwrap().0).collect::<Vec<_>>();
    let statuses = statuses();
    // Which worker gets a connection is the kernel's choice.
    assert_eq!(statuses, [[200; 5].as_slice(), &[429; 15]].concat());
    let response = check(&proxy, request("GET", "h", "/limited", &[]), 429, "rate_limited");
    let seconds: u32 = header(&response, "retry-after").parse().unwrap();
    assert!((50..=100).contains(&seconds), "{seconds}");
    check(&proxy, request("GET", "h", "/", &[]), 200, "");
    // Another route is new, and the limited one stays.
    proxy.reconfigure(&config(&format!("[[route]]\npath = \"/new\"\nrespond = {{}}\n{limited}{open}"), &[&origin]));
    eventually("the new route is there", || (get(proxy.address, "/new", "h").unwrap().1.is_empty()).then_some(()));
    check(&proxy, request("GET", "h", "/limited", &[]), 429, "rate_limited");
    assert!(proxy.admin("/metrics").1.contains("error=\"rate_limited\"} 17"));
}

#[test]
fn bodies_that_are_too_long_are_refused_or_cut_off() {
    let origin = Echo::start();
    let routes = "[[route]]\ncluster = \"a\"\nmax_body_bytes = 10\n[[route]]\npath = \"/none\"\ncluster = \"a\"\nmax_body_bytes = 0\n";
    let proxy = Proxy::start(&config(routes, &[&origin]), |_| {});
    let post = |target: &str, body: &str| {
        let mut request = request("POST", "h", target, &[]);
        *request.body_mut() = body.to_owned();
        request
    };
    check_echo(&proxy, post("/", "0123456789"), &["0123456789"], &[]);
    check_echo(&proxy, post("/none", ""), &["POST /none"], &[]);
    assert_eq!(origin.asked().len(), 2);
    let response = check(&proxy, post("/", "0123456789a"), 413, "body_too_large");
    assert!(response.body().contains("longer than 10 bytes"), "{}", response.body());
    check(&proxy, post("/none", "a"), 413, "body_too_large");
    assert_eq!(origin.asked().len(), 2, "no endpoint was asked");
    // Without a length: whatever the pieces, and with another request behind it.
    let chunked = |chunks: &[&str]| {
        let mut text = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        chunks.iter().for_each(|chunk| text += &format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(20));
        stream.write_all(b"0\r\n\r\nGET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("GET /last"), "{answer}");
        answer
    };
    assert!(chunked(&["01234", "56789"]).contains("\n0123456789"));
    for chunks in [&["0123456789a"][..], &["0123456789", "a"], &["0", "123", "4567", "89a", "b"]] {
        let answer = chunked(chunks);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("x-sluicegate-error: body_too_large"), "{answer}");
    }
}

#[test]
fn routes_of_all_kinds_change_under_load() {
    let origins = [Echo::start(), Echo::start()];
    let plain = config("[[route]]\ncluster = \"a\"\n", &origins.each_ref());
    let routes = r#"
        [[route]]
        path_regex = "/|/x"
        methods = ["GET"]
        clusters = { a = 1, b = 1 }
        rewrite = { regex = "/(.*)", with = "/new/$1" }
        request_headers = { set = { x-a = "1" } }
        response_headers = { set = { x-b = "1" } }
        hash = "source"
        rate_limit = { per_second = 1_000_000 }
        mirror = { cluster = "b", percent = 5 }"#;
    let rich = config(routes, &origins.each_ref());
    let proxy = Proxy::start(&plain, |_| {});
    let load = Load::start(proxy.address, 8);
    for round in 0..6 {
        let (text, start) = if round % 2 == 0 { (&rich, "GET /new/\n") } else { (&plain, "GET /\n") };
        proxy.reconfigure(text);
        eventually("the other routes", || get(proxy.address, "/", "h").unwrap().1.starts_with(start).then_some(()));
    }
    let tally = load.stop();
    assert_eq!((tally.failed, tally.good > 100), (Vec::<String>::new(), true));
}
