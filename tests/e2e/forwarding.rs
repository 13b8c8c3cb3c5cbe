//! Who the client is and which request this is, whatever clients say of themselves.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use hyper::Request;
use serde_json::Value;
use sluicegate_tests::{
    Echo, Proxy, ask, eventually, get,
    peers::{self, Nginx},
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A proxy in front of this endpoint, with these keys in its listener and in its cluster, and with an access log.
fn start(endpoint: SocketAddr, listener: &str, cluster: &str) -> Proxy {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
         [policy]\ncache = false\n[runtime]\nworkers = 1\n[[route]]\ncluster = \"a\"\nhash = [\"source\"]\n\
         [cluster.a]\nendpoints = [\"{endpoint}\"]\n{cluster}\n"
    );
    fs::write(dir.path().join("sluicegate.toml"), text).unwrap();
    Proxy::start_as_it_is(dir)
}

/// What the endpoint gets of a request with these headers, from the names that are given: `name: value` lines.
fn sent(proxy: &Proxy, headers: &[(&str, &str)], names: &[&str]) -> Vec<String> {
    let request = Request::builder().uri("/").header("host", "shop.test");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = ask(proxy.address, request.body(String::new()).unwrap()).unwrap();
    assert_eq!(response.status(), 200, "{response:?}");
    let is_asked = |line: &&str| names.iter().any(|name| line.starts_with(&format!("{name}: ")));
    let mut lines: Vec<String> = response.body().lines().filter(is_asked).map(str::to_owned).collect();
    lines.sort_by_key(|line| names.iter().position(|name| line.starts_with(&format!("{name}: "))));
    lines
}

/// The last line of the access log, once there are so many.
fn logged(proxy: &Proxy, count: usize) -> Value {
    eventually("a line in the access log", || {
        let lines = proxy.log().into_iter().filter(|line| line["target"] == "sluicegate::access");
        lines.collect::<Vec<_>>().get(count - 1).cloned()
    })
}

#[test]
fn the_log_has_the_host_that_was_asked_for() {
    if !peers::has("curl") {
        return;
    }
    let proxy = start(Echo::start().address, "http2 = true", "");
    let url = format!("http://{}/", proxy.address);
    for (count, version) in ["--http2-prior-knowledge", "--http1.1"].into_iter().enumerate() {
        peers::text("curl", &["-sS", "--max-time", "10", version, "-H", "host: shop.test", &url]);
        assert_eq!(logged(&proxy, count + 1)["host"], "shop.test", "{version}");
    }
}

const ALL: &[&str] = &["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"];

/// What somebody says who would like to be somebody else.
const SPOOFED: &[(&str, &str)] = &[
    ("x-forwarded-for", "192.0.2.1, 10.0.0.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "admin.test"),
    ("forwarded", "for=192.0.2.2;proto=https;host=admin.test"),
];

#[test]
fn clients_are_not_believed() {
    let origin = Echo::start();
    let ours = ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: shop.test"];
    let stays = "x-forwarded-for: 192.0.2.1, 10.0.0.9";
    for (listener, expected) in [
        ("", [&[stays], &ours[..]].concat()),
        ("trusted_proxies = [\"10.0.0.0/8\"]", [&[stays], &ours[..]].concat()),
        (
            "forwarded = \"forwarded\"",
            vec![
                "forwarded: for=192.0.2.2;proto=https;host=admin.test",
                "forwarded: for=127.0.0.1;host=shop.test;proto=http",
            ],
        ),
    ] {
        let proxy = start(origin.address, listener, "");
        assert_eq!(sent(&proxy, SPOOFED, ALL), expected, "{listener}");
        let client = logged(&proxy, 1)["client"].as_str().unwrap().to_owned();
        assert!(client.starts_with("127.0.0.1:"), "{listener}: {client}");
        // Nor may `Connection` take away what this proxy says.
        let named = ("connection", "x-forwarded-for, forwarded, x-forwarded-proto, x-forwarded-host");
        assert_eq!(sent(&proxy, &[&[named], SPOOFED].concat(), ALL), expected, "{listener}");
    }
}

#[test]
fn trusted_proxies_say_who_the_client_is() {
    let origin = Echo::start();
    let check = |listener: &str, expected: &str| {
        let proxy = start(origin.address, listener, "");
        let theirs = [("x-forwarded-for", "192.0.2.1, 192.0.2.3")];
        let sent = sent(
            &proxy,
            &[&theirs, &SPOOFED[1..3], &[("forwarded", "for=192.0.2.9, for=\"[2001:db8::1]:80\"")]].concat(),
            ALL,
        );
        assert_eq!(logged(&proxy, 1)["client"], expected, "{listener}");
        sent
    };
    let kept = [
        "x-forwarded-for: 192.0.2.1, 192.0.2.3",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: admin.test",
    ];
    assert_eq!(check("trusted_hops = 1", "192.0.2.3"), kept);
    assert_eq!(check("trusted_hops = 2", "192.0.2.1"), kept);
    assert_eq!(check("trusted_proxies = [\"127.0.0.0/8\"]", "192.0.2.3"), kept);
    assert_eq!(check("trusted_proxies = [\"127.0.0.1\", \"192.0.2.3\"]", "192.0.2.1"), kept);
    let format = "trusted_hops = 1\nforwarded = \"forwarded\"";
    assert_eq!(
        check(format, "2001:db8::1"),
        ["forwarded: for=192.0.2.9, for=\"[2001:db8::1]:80\"", "forwarded: for=127.0.0.1;host=shop.test;proto=http"]
    );
}

#[test]
fn what_the_proxy_says_is_a_header_like_any_other() {
    let origin = Echo::start();
    let routes = r#"[[route]]
        path = "/mine"
        headers = { x-forwarded-proto = "http", x-forwarded-host = "shop.test", x-forwarded-for = { regex = "127.*" } }
        cluster = "a"
        request_headers = { set = { x-seen = "1", x-forwarded-host = "set.test" }, remove = ["x-forwarded-for"] }
        [[route]]
        path = "/theirs"
        headers = { x-forwarded-proto = "https" }
        respond = { status = 418 }"#;
    let proxy = start(origin.address, "trusted_hops = 1", routes);
    let ask = |path: &str, said: &[(&str, &str)]| {
        let request = Request::get(path).header("host", "shop.test");
        let request = said.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        ask(proxy.address, request.body(String::new()).unwrap()).unwrap()
    };
    let names = ["x-seen", "x-forwarded-"];
    let lines = |path: &str, said: &[(&str, &str)]| {
        let body = ask(path, said).into_body();
        let is_asked = |line: &&str| names.iter().any(|name| line.starts_with(name));
        let mut lines: Vec<String> = body.lines().filter(is_asked).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines("/mine", &[]), ["x-forwarded-host: set.test", "x-forwarded-proto: http", "x-seen: 1"]);
    let mine = ["x-forwarded-for: 127.0.0.1", "x-forwarded-host: shop.test", "x-forwarded-proto: https"];
    assert_eq!(lines("/mine", &[("x-forwarded-proto", "https")]), mine);
    assert_eq!(ask("/theirs", &[("x-forwarded-proto", "https")]).status(), 418);
    assert_eq!(ask("/theirs", &[]).status(), 200);
}

#[test]
fn redirects_stay_with_the_scheme_that_a_trusted_proxy_names() {
    let origin = Echo::start();
    let route = "[[route]]\npath = \"/old\"\nredirect = { path = \"/new\" }\n";
    for (listener, said, expected) in [
        ("trusted_hops = 1", "https", "https://shop.test/new"),
        ("trusted_hops = 1", "javascript", "http://shop.test/new"),
        ("", "https", "http://shop.test/new"),
    ] {
        let proxy = start(origin.address, listener, route);
        let request = Request::get("/old").header("host", "shop.test").header("x-forwarded-proto", said);
        let answer = ask(proxy.address, request.body(String::new()).unwrap()).unwrap();
        assert_eq!(answer.headers()["location"], expected, "{listener} {said}");
    }
}

#[test]
fn requests_get_ids_that_clients_do_not_choose() {
    let origin = Echo::start();
    let id = |proxy: &Proxy, own: &[(&str, &str)]| match &sent(proxy, own, &["x-request-id"])[..] {
        [one] => one["x-request-id: ".len()..].to_owned(),
        other => panic!("{other:?}"),
    };
    let proxy = start(origin.address, "request_id = true", "");
    let ids = [&[][..], &[("x-request-id", "mine")], &[("x-request-id", "a"), ("connection", "x-request-id")]];
    let ids = ids.map(|own| id(&proxy, own));
    for (at, id) in ids.iter().enumerate() {
        assert_eq!((id.len(), id.split('-').count()), (36, 5), "{id} is a UUID");
        assert_eq!(logged(&proxy, at + 1)["request_id"], **id);
    }
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    // A proxy in front may have given it one already, if it is one.
    let proxy = start(origin.address, "request_id = true\ntrusted_hops = 1", "");
    assert_eq!(id(&proxy, &[("x-request-id", "theirs")]), "theirs");
    assert_eq!(id(&proxy, &[("x-request-id", "two words")]).len(), 36);
    assert_eq!(id(&proxy, &[("x-request-id", "a"), ("x-request-id", "b")]).len(), 36);
    // Without the key, it is a header like any other.
    let proxy = start(origin.address, "", "");
    assert_eq!(id(&proxy, &[("x-request-id", "mine")]), "mine");
    assert!(sent(&proxy, &[], &["x-request-id"]).is_empty());
    assert_eq!(logged(&proxy, 1)["request_id"], Value::Null);
}

#[test]
fn traces_are_passed_on_or_made() {
    let origin = Echo::start();
    let trace = ["traceparent", "tracestate"];
    let proxy = start(origin.address, "", "");
    let context = [("traceparent", PARENT), ("tracestate", "a=b")];
    assert_eq!(sent(&proxy, &context, &trace), [format!("traceparent: {PARENT}"), "tracestate: a=b".into()]);
    assert_eq!(logged(&proxy, 1)["trace_id"], PARENT[3..35]);
    assert!(sent(&proxy, &[("traceparent", &PARENT.replacen("00", "ff", 1)), context[1]], &trace).is_empty());
    assert_eq!(logged(&proxy, 2)["trace_id"], Value::Null);
    let proxy = start(origin.address, "trace = \"make\"", "");
    let child = sent(&proxy, &context, &trace);
    assert_eq!(child[0][..48], format!("traceparent: {}", &PARENT[..35]));
    assert!(child[0].ends_with("-01") && !child[0].contains("00f067aa0ba902b7"), "{child:?}");
    assert_eq!(child[1], "tracestate: a=b");
    let made = sent(&proxy, &[], &trace);
    assert_eq!((made.len(), made[0].len()), (1, "traceparent: ".len() + PARENT.len()), "{made:?}");
    assert_eq!(logged(&proxy, 2)["trace_id"], made[0][16..48]);
}

#[test]
fn endpoints_are_told_of_the_connection_in_the_proxy_protocol() {
    if !peers::has("nginx") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = "set_real_ip_from 127.0.0.0/8; real_ip_header proxy_protocol;\n\
                  location / { return 200 \"$remote_addr $proxy_protocol_addr $connection_requests\"; }";
    let origin = Nginx::start(dir.path(), "proxy_protocol", server);
    for version in ["v1", "v2"] {
        let cluster = format!("proxy_protocol = \"{version}\"\n[cluster.a.health]\ninterval_ms = 50\n");
        let proxy = start(origin.address, "trusted_hops = 1", &cluster);
        assert_eq!(get(proxy.address, "/", "x").unwrap(), (200, "127.0.0.1 127.0.0.1 1".into()), "{version}");
        for client in ["192.0.2.7", "2001:db8::7", "192.0.2.7"] {
            let request = Request::get("/").header("host", "x").header("x-forwarded-for", client);
            let answer = ask(proxy.address, request.body(String::new()).unwrap()).unwrap();
            // A connection of its own: the next request may be another client's.
            assert_eq!(*answer.body(), format!("{client} {client} 1"), "{version}");
        }
        eventually("its health is known", || {
            let state = &proxy.status()["clusters"]["a"]["endpoints"][0]["state"];
            assert_ne!(state, "unhealthy", "who checks says that it is nobody's client");
            (state == "healthy").then_some(())
        });
    }
}

#[test]
fn a_connection_for_one_client_stays_so_when_the_configuration_changes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = start(listener.local_addr().unwrap(), "", "proxy_protocol = \"v1\"\n");
    let address = proxy.address;
    let asking = thread::spawn(move || get(address, "/", "x"));
    let (mut stream, _) = listener.accept().unwrap();
    let (mut sent, mut piece) = (Vec::new(), [0; 512]);
    while !sent.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut piece).unwrap();
        sent.extend_from_slice(&piece[..length]);
    }
    assert!(sent.starts_with(b"PROXY TCP4 "), "{:?}", String::from_utf8_lossy(&sent));
    let text = fs::read_to_string(proxy.path("sluicegate.toml")).unwrap();
    fs::write(proxy.path("sluicegate.toml"), text.replace("proxy_protocol = \"v1\"\n", "")).unwrap();
    proxy.wait_for("the change", |line| line["message"] == "configuration applied");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(asking.join().unwrap(), Ok((200, "ok".into())));
    // Sooner than an idle connection would be.
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stream.read(&mut piece).unwrap(), 0, "it is closed, though both sides could go on");
}

#[test]
fn the_header_comes_before_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = start(listener.local_addr().unwrap(), "", "tls = true\nproxy_protocol = \"v1\"\nmax_attempts = 1\n");
    let address = proxy.address;
    let asking = thread::spawn(move || get(address, "/", "x"));
    let mut start = [0; 128];
    let (mut stream, _) = listener.accept().unwrap();
    let mut length = 0;
    // To the end of the line, and the first byte of TLS: a handshake record.
    let end = loop {
        length += stream.read(&mut start[length..]).unwrap();
        match start[..length].iter().position(|byte| *byte == b'\n') {
            Some(end) if end + 1 < length => break end,
            _ => {}
        }
    };
    let line = String::from_utf8_lossy(&start[..=end]).into_owned();
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{line:?}");
    assert!(line.ends_with(&format!(" {}\r\n", proxy.address.port())), "{line:?}");
    assert_eq!(start[end + 1], 0x16);
    let _ = stream.write_all(b"no TLS\r\n");
    drop((stream, listener));
    assert_eq!(asking.join().unwrap().unwrap().0, 502);
}
