//! What goes through, and what does not.

use std::time::Duration;

use sluicegate_proxy::ClusterSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{GET, Origin, Proxy, QUICK, check_failure};

#[tokio::test]
async fn get_and_post_arrive_as_they_were() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send("POST /a/b?c=d HTTP/1.1\r\nHost: Test:1\r\nContent-Length: 5\r\nX-Own: 1\r\n\r\nhello").await;
    let response = client.response("POST").await.unwrap();
    let text = response.text();
    assert!(text.starts_with("POST /a/b?c=d HTTP/1.1\n"), "{text}");
    for line in ["host: Test:1\n", "content-length: 5\n", "x-own: 1\n"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(text.ends_with("\nhello"), "{text}");
    assert!(response.header("date").is_some());
    assert_eq!(response.header("connection"), None);
    assert!(client.get("/2").await.text().starts_with("GET /2 HTTP/1.1\n"));
    proxy.settle().await;
}

#[tokio::test]
async fn the_hop_is_described_and_kept_to_itself() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client
        .send(concat!(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n",
            "Proxy-Authorization: secret\r\nTE: trailers, deflate\r\nUpgrade: h2c\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
        ))
        .await;
    let response = client.response("GET").await.unwrap();
    let text = response.text();
    for gone in ["x-hop", "keep-alive", "proxy-authorization", "upgrade", "deflate"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    for there in [
        "x-forwarded-for: 10.0.0.1\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-proto: http\n",
        "x-forwarded-host: test\n",
        "te: trailers\n",
        "connection: te\n",
    ] {
        assert!(text.contains(there), "{there} in {text}");
    }
}

#[tokio::test]
async fn an_absolute_target_is_forwarded_in_origin_form() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send("GET http://other:81/x?y HTTP/1.1\r\nHost: other:81\r\n\r\n").await;
    let response = client.response("GET").await.unwrap();
    assert!(response.text().starts_with("GET /x?y HTTP/1.1\n"), "{response:?}");
    assert!(response.text().contains("host: other:81\n"), "{response:?}");
    check_failure(&proxy, "GET http://other/ HTTP/1.1\r\nHost: test\r\n\r\n", 400, "bad_request").await;
}

#[tokio::test]
async fn http_1_0_clients_are_served_and_kept_alive_when_they_ask() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let response = client.response("GET").await.unwrap();
        assert_eq!(response.start, "HTTP/1.0 200 OK");
        assert_eq!(response.header("connection"), Some("keep-alive"));
        assert!(response.text().contains(&format!("host: {}\n", proxy.address)), "{response:?}");
    }
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response("GET").await.unwrap().status(), 200);
    assert!(client.ended().await);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    let requests: String = (0..5).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(&requests).await;
    for i in 0..5 {
        let response = client.response("GET").await.unwrap();
        assert!(response.text().starts_with(&format!("GET /{i} ")), "{response:?}");
    }
}

#[tokio::test]
async fn responses_without_a_body_stay_without() {
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n", 200, Some("42")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n", 304, None),
        ("GET", "HTTP/1.1 200 Fine\r\ncontent-length: 0\r\n\r\n", 200, Some("0")),
    ];
    for (method, response, status, length) in cases {
        let origin = Origin::canned(response, 9).await;
        let proxy = Proxy::new(&[origin.address], QUICK).await;
        let mut client = proxy.connect().await;
        for _ in 0..3 {
            client.send(&format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            let response = client.response(method).await.unwrap();
            assert_eq!((response.status(), response.header("content-length")), (status, length), "{response:?}");
            assert_eq!(response.header("transfer-encoding"), None);
        }
        assert_eq!(origin.connections(), 1, "{response}");
        proxy.settle().await;
    }
}

#[tokio::test]
async fn connections_are_reused() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    for _ in 0..5 {
        let mut client = proxy.connect().await;
        for _ in 0..20 {
            assert_eq!(client.get("/").await.status(), 200);
        }
    }
    assert_eq!(origin.connections(), 1);
    proxy.settle().await;
    let address = origin.address.to_string();
    assert_eq!(proxy.count("sluicegate_upstream_connections_opened_total", &[("endpoint", &address)]), 1);
    assert_eq!(proxy.count("sluicegate_upstream_connections_reused_total", &[("endpoint", &address)]), 99);
    assert_eq!(proxy.count("sluicegate_endpoint_requests_total", &[("outcome", "answered")]), 100);
    assert_eq!(proxy.count("sluicegate_requests_total", &[("cluster", "test"), ("code_class", "2xx")]), 100);
}

#[tokio::test]
async fn the_client_s_wish_to_close_is_not_the_origin_s_business() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
        let response = client.response("GET").await.unwrap();
        assert!(!response.text().contains("connection:"), "{response:?}");
        assert!(client.ended().await);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    for (request, status, label) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501, "not_supported"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "not_supported"),
        ("GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        ("GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
    ] {
        check_failure(&proxy, request, status, label).await;
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn who_asks_for_a_tunnel_and_does_not_wait_has_no_request_of_it_answered() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send(&format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n{GET}")).await;
    let response = client.response("CONNECT").await.unwrap();
    assert_eq!((response.status(), response.header("connection")), (501, Some("close")));
    assert!(client.ended().await);
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn an_offer_of_http2_goes_no_further_in_whatever_company() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    for offer in ["h2c", "H2C", "websocket, h2c", "h2c,websocket"] {
        let mut client = proxy.connect().await;
        client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {offer}\r\n\r\n")).await;
        let response = client.response("GET").await.unwrap();
        assert!(!response.text().contains("upgrade"), "{offer}: {response:?}");
    }
}

#[tokio::test]
async fn nothing_is_offered_with_a_body() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let mut client = proxy.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: own\r\n{body}")).await;
        let response = client.response("POST").await.unwrap();
        assert!(!response.text().contains("upgrade") && response.text().ends_with("hello"), "{response:?}");
    }
}

#[tokio::test]
async fn cookies_in_several_lines_become_one() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nX: 1\r\nCookie: c=d\r\nX: 2\r\n\r\n").await;
    let response = client.response("GET").await.unwrap();
    assert!(response.text().contains("\ncookie: a=b; c=d\n"), "{response:?}");
    assert!(response.text().contains("\nx: 1\nx: 2\n"), "others stay as they are: {response:?}");
}

#[tokio::test]
async fn a_path_that_is_refused_ends_the_connection() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    for path in ["/a/..;/b", "/%00", "/%zz", "/a\\b"] {
        let mut client = proxy.connect().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n{GET}")).await;
        let response = client.response("GET").await.unwrap();
        assert_eq!((response.status(), response.header("connection")), (400, Some("close")), "{path}");
        assert!(client.ended().await, "{path}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_target_without_a_path_gets_one() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    for (target, expected) in [("http://a", "GET / "), ("http://a?b", "GET /?b "), ("http://a/?b", "GET /?b ")] {
        let mut client = proxy.connect().await;
        client.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let response = client.response("GET").await.unwrap();
        assert!(response.text().starts_with(expected), "{target}: {response:?}");
    }
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_in_its_turn() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    for (bad, status, why) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "both"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "LF without CR"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400, "between"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400, "begins with whitespace"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version"),
        (&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000)), 414, "too long"),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(200)), 431, "too many"),
    ] {
        let response = check_failure(&proxy, bad, status, "bad_request").await;
        assert!(response.text().contains(why), "{response:?}");
        assert_eq!(response.header("connection"), Some("close"));
        // Behind two good requests on the same connection, and in pieces of any size.
        for piece in [1, 7, usize::MAX] {
            let mut client = proxy.connect().await;
            let stream = format!("{GET}POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc{bad}");
            for piece in stream.as_bytes().chunks(piece.min(stream.len())) {
                // What is refused is not read to its end.
                if client.stream.write_all(piece).await.is_err() {
                    break;
                }
            }
            assert_eq!(client.response("GET").await.unwrap().status(), 200);
            let second = client.response("POST").await.unwrap();
            assert!(second.text().ends_with("\nabc"), "{second:?}");
            if piece == usize::MAX {
                assert_eq!(client.response("GET").await.unwrap().status(), status);
                assert!(client.response("GET").await.is_none(), "the connection is over");
            }
        }
    }
}

#[tokio::test]
async fn a_bad_chunk_ends_the_request_on_both_sides() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["2\r\nabc\r\n0\r\n\r\n", "x\r\n", "2\nab\r\n0\r\n\r\n", "0\r\nContent-Length: 5\r\n\r\n"] {
        let response = check_failure(&proxy, &format!("{head}{body}"), 400, "bad_request").await;
        assert!(response.text().contains("malformed"), "{response:?}");
    }
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n").await;
    for _ in 0..300 {
        client.stream.write_all(&[b'x'; 10_000]).await.expect("it is read to its end");
    }
    let response = client.response("POST").await.unwrap();
    assert_eq!((response.status(), response.text()), (413, "no"));
    assert_eq!(client.get("/").await.status(), 413, "the connection lives on");
}

#[tokio::test]
async fn a_switch_of_protocols_is_asked_for_by_both_headers() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: own\r\nConnection: upgrade\r\n\r\nearly").await;
        let mut bytes = [0; 4];
        // Ends with the connection where nothing was switched.
        if wire.stream.read_exact(&mut bytes).await.is_ok() {
            wire.stream.write_all(&bytes).await.unwrap();
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    // One header alone asks for nothing: an endpoint that switches all the same is wrong, and nothing is left behind.
    for version in ["1.1", "1.0"] {
        let connection = if version == "1.1" { "keep-alive" } else { "upgrade" };
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\nUpgrade: own\r\nConnection: {connection}\r\n\r\n");
        check_failure(&proxy, &request, 502, "bad_response").await;
    }
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: own\r\nConnection: keep-alive, Upgrade\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!((head.status(), head.header("upgrade"), head.header("connection")), (101, Some("own"), Some("upgrade")));
    client.send("ping").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"earlyping");
    proxy.settle().await;
}

#[tokio::test]
async fn a_connection_that_has_rested_goes_on() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], ClusterSettings::default()).await;
    let mut client = proxy.connect().await;
    let rest = || tokio::time::sleep(Duration::from_millis(4500));
    // Before the first request, between two, and with an empty line in between, which may come before a request.
    rest().await;
    assert_eq!(client.get("/").await.status(), 200);
    client.send("\r").await;
    rest().await;
    client.send("\nPOST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhel").await;
    rest().await;
    client.send("lo").await;
    assert!(client.response("POST").await.unwrap().text().ends_with("\nhello"));
    rest().await;
    client.send(&GET.repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(client.response("GET").await.unwrap().status(), 200);
    }
    rest().await;
    client.send("GET /\r\n\r\n").await;
    assert_eq!(client.response("GET").await.unwrap().status(), 400);
    assert!(client.ended().await);
}
