//! Copies of requests for another cluster.

use std::{io::Write as _, net::TcpStream, thread, time::Duration};

use sluicegate_tests::{Echo, Proxy, ask, eventually};

use crate::routes::{check, check_echo, config, header, request};

#[test]
fn copies_of_requests_change_nothing() {
    let origins = [Echo::start(), Echo::start()];
    let routes = r#"
        [[route]]
        path = "/api"
        cluster = "a"
        rewrite = { path = "/v2" }
        mirror = { cluster = "b", percent = 100 }
        [[route]]
        path = "/some"
        cluster = "a"
        mirror = { cluster = "b", percent = 50 }
        [[route]]
        path = "/short"
        cluster = "a"
        mirror = { cluster = "b", percent = 100, max_body_bytes = 1000 }
        [[route]]
        path = "/dead"
        cluster = "a"
        mirror = { cluster = "nobody", percent = 100 }
        [[route]]
        path = "/silent"
        cluster = "a"
        mirror = { cluster = "silent", percent = 100 }"#;
    // Somebody who takes every connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("silent.endpoints = [\"{}\"]\nnobody.endpoints = []\n", silent.local_addr().unwrap());
    thread::spawn(move || silent.incoming().collect::<Vec<_>>());
    let proxy = Proxy::start(&(config(routes, &origins.each_ref()) + &more), |_| {});
    let response = check_echo(&proxy, request("GET", "h", "/api/x?y", &[("x-a", "1")]), &["GET /v2/x?y"], &["mirror"]);
    assert_eq!(header(&response, "x-origin"), origins[0].address.to_string());
    let copy = eventually("a copy", || origins[1].asked().first().cloned());
    for line in ["GET /v2/x?y", "host: h", "x-a: 1", "x-sluicegate-mirror: 1"] {
        assert!(copy.lines().any(|other| other == line), "{line} is missing in:\n{copy}");
    }
    copies_bodies(&proxy, &origins[1]);
    for _ in 0..200 {
        check(&proxy, request("GET", "h", "/some", &[]), 200, "");
    }
    check(&proxy, request("GET", "h", "/dead", &[]), 200, "");
    // More than may be under way: the first ones fill all places.
    for _ in 0..300 {
        check(&proxy, request("GET", "h", "/silent", &[]), 200, "");
    }
    assert!(dropped(&proxy) >= 44, "{}", dropped(&proxy));
    thread::sleep(Duration::from_millis(200));
    let mut copies = origins[1].asked();
    copies.retain(|copy| copy.starts_with("GET "));
    // 100 of 200 on average, and within seven standard deviations of that.
    assert!((50..150).contains(&(copies.len() - 1)), "{}", copies.len());
    assert!(!origins[1].asked().iter().any(|copy| copy.starts_with("POST /v2/6")), "it broke off");
    // Nor does it wait for copies when it stops.
    assert_eq!(proxy.stop().0, Some(0));
}

/// Bodies are copied, in their own framing, up to the length that the route allows.
fn copies_bodies(proxy: &Proxy, mirror: &Echo) {
    let before = dropped(proxy);
    for (path, target, length, is_copied) in [
        ("/api/1", "POST /v2/1\n", 4, true),
        ("/api/2", "POST /v2/2\n", 64 * 1024, true),
        ("/api/3", "POST /v2/3\n", 64 * 1024 + 1, false),
        ("/short/4", "POST /short/4\n", 1000, true),
        ("/short/5", "POST /short/5\n", 1001, false),
    ] {
        for is_chunked in [false, true] {
            let mut post =
                request("POST", "h", path, if is_chunked { &[("transfer-encoding", "chunked")] } else { &[] });
            *post.body_mut() = "x".repeat(length);
            let response = ask(proxy.address, post).unwrap();
            assert!(response.body().ends_with(&"x".repeat(length)), "{path}: the request itself is as it was");
            if is_copied {
                let copy = eventually("a copy with a body", || {
                    let copies = mirror.asked();
                    let framing = if is_chunked { "\ntransfer-encoding: chunked\n" } else { "\ncontent-length: " };
                    copies.into_iter().find(|copy| copy.starts_with(target) && copy.contains(framing))
                });
                assert_eq!(copy.rsplit('\n').next().unwrap(), "x".repeat(length), "{path}");
            }
        }
    }
    assert_eq!(dropped(proxy) - before, 4, "copies of what was too long");
    assert!(!mirror.asked().iter().any(|copy| copy.starts_with("POST /v2/3") || copy.starts_with("POST /short/5")));
    // What breaks off is not copied, and an answer that comes before all of the body stays an answer.
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.write_all(b"POST /api/6 HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf").unwrap();
    drop(stream);
}

fn dropped(proxy: &Proxy) -> u64 {
    let metrics = proxy.admin("/metrics").1;
    let line = metrics.lines().find(|line| line.starts_with("sluicegate_mirrors_dropped_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
