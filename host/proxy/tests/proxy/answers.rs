//! Answers: what comes before them, and what is none.

use crate::support::{GET, Origin, Proxy, QUICK, check_failure};

const WAITING: &str = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_when_the_endpoint_says_so() {
    let origin = Origin::new(|mut wire, _| async move {
        assert_eq!(wire.head().await.unwrap().header("expect"), Some("100-continue"));
        wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        wire.exactly(2).await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send(WAITING).await;
    assert_eq!(client.head().await.unwrap().status(), 100);
    client.send("ok").await;
    assert_eq!(client.response("POST").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_hears_instead_what_the_endpoint_refuses() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 401 Who are you\r\ncontent-length: 0\r\n\r\n").await;
        assert!(wire.ended().await, "the body never comes");
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send(WAITING).await;
    assert_eq!(client.response("POST").await.unwrap().status(), 401);
    assert!(client.ended().await, "what follows could be the body");
}

#[tokio::test]
async fn an_endpoint_that_knows_no_100_continue_gets_the_body_after_a_while() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send(WAITING).await;
    assert_eq!(client.head().await.unwrap().status(), 100);
    client.send("ok").await;
    assert!(client.response("POST").await.unwrap().text().ends_with("\nok"));
}

#[tokio::test]
async fn early_hints_reach_the_client() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: close\r\n\r\n").await;
        wire.send("HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    for expected in ["</a.css>", "</b.css>"] {
        let hints = client.head().await.unwrap();
        assert_eq!((hints.status(), hints.header("link")), (103, Some(expected)));
        assert_eq!(hints.header("connection"), None);
    }
    assert_eq!(client.response("GET").await.unwrap().status(), 204);
    // HTTP/1.0 knows no such thing.
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 204);
}

#[tokio::test]
async fn an_endpoint_that_says_something_before_its_answer_comes_to_it() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let answer = |hints: usize| format!("{}HTTP/1.1 204 No Content\r\n\r\n", hint.repeat(hints));
    let origin = Origin::canned(answer(32).leak(), 1).await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    for _ in 0..32 {
        assert_eq!(client.head().await.unwrap().status(), 103);
    }
    assert_eq!(client.head().await.unwrap().status(), 204);
    // More than that would be held for a client that reads slowly.
    for flood in [answer(33), "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000)] {
        let origin = Origin::canned(flood.leak(), 1).await;
        let proxy = Proxy::new(&[origin.address], QUICK).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        let mut head = client.head().await.unwrap();
        while head.status() == 103 {
            head = client.head().await.unwrap();
        }
        assert_eq!((head.status(), head.header("x-sluicegate-error")), (502, Some("bad_response")));
    }
}

#[tokio::test]
async fn answers_that_could_be_read_in_two_ways_are_refused() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nx: 1\r\n content-length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
        "HTTP/1.1 20 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        let origin = Origin::canned(response, 1).await;
        let proxy = Proxy::new(&[origin.address], QUICK).await;
        check_failure(&proxy, GET, 502, "bad_response").await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    // Behind the answer there is another, for whoever comes next on this connection.
    let response = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let origin = Origin::canned(response, 9).await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn what_comes_behind_an_answer_without_a_body_is_nobodys() {
    for (method, head) in [
        ("GET", "204 No Content\r\ncontent-length: 5"),
        ("GET", "204 No Content\r\ntransfer-encoding: chunked"),
        ("GET", "304 Not Modified\r\ncontent-length: 5"),
        ("HEAD", "200 OK\r\ncontent-length: 5"),
        ("HEAD", "200 OK\r\ntransfer-encoding: chunked"),
    ] {
        let origin = Origin::canned(format!("HTTP/1.1 {head}\r\n\r\nhello").leak(), 9).await;
        let proxy = Proxy::new(&[origin.address], QUICK).await;
        let mut client = proxy.connect().await;
        for _ in 0..2 {
            client.send(&format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            let answer = client.head().await.unwrap();
            assert_eq!(answer.status().to_string(), head[..3], "{head}: {answer:?}");
            // RFC 9110, section 8.6; RFC 9112, section 6.1.
            let framing = ["content-length", "transfer-encoding"].map(|name| answer.header(name));
            assert!(answer.status() != 204 || framing == [None, None], "{head}: {answer:?}");
        }
        assert_eq!(origin.connections(), 2, "{method}: {head}");
    }
}

#[tokio::test]
async fn a_length_said_twice_is_said_once() {
    let origin = Origin::canned("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", 1).await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let response = proxy.connect().await.get("/").await;
    assert_eq!(response.headers.iter().filter(|(name, _)| name == "content-length").count(), 1, "{response:?}");
}

#[tokio::test]
async fn heads_that_are_alike_and_heads_that_are_not_arrive_as_they_are() {
    // Over and over, on one connection: the same, another value, another line, one less, others that are framed otherwise.
    /// As sent, and what has to arrive: the body, and some headers.
    type Answer = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
    const ANSWERS: [Answer; 9] = [
        ("200 OK\r\nServer: a\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok", "ok", &[("server", "a"), ("x-a", "1")]),
        ("200 OK\r\nServer: a\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok", "ok", &[("server", "a"), ("x-a", "1")]),
        (
            "200 OK\r\nServer: b\r\nX-A: 22\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            &[("server", "b"), ("x-a", "22")],
        ),
        ("404 Not Found\r\nServer: a\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nno", "no", &[("server", "a"), ("x-a", "1")]),
        ("200 OK\r\nServer: a\r\nContent-Length: 2\r\n\r\nok", "ok", &[("server", "a")]),
        ("200 OK\r\nServer: a\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n", "", &[("server", "a"), ("x-a", "1")]),
        ("200 OK\r\nServer: a\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nok", "ok", &[("x-a", "1"), ("x-a", "2")]),
        ("200 OK\r\nServer: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", &[("server", "a")]),
        ("200 OK\r\nServer: a\r\nConnection: x-b\r\nX-B: 1\r\nContent-Length: 2\r\n\r\nok", "ok", &[("server", "a")]),
    ];
    let origin = Origin::new(|mut wire, _| async move {
        while let Some(request) = wire.request().await {
            let number: usize = request.start.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            wire.send(&format!("HTTP/1.1 {}", ANSWERS[number].0)).await;
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    // Every pair of them follows on each other at least once.
    let orders =
        (0..ANSWERS.len()).flat_map(|step| (0..ANSWERS.len()).map(move |at| (at * (step + 1)) % ANSWERS.len()));
    for number in orders {
        let response = client.get(&format!("/{number}")).await;
        let (head, body, headers) = ANSWERS[number];
        assert_eq!((response.status().to_string().as_str(), response.text()), (&head[..3], body), "{number}");
        for (name, value) in headers {
            let is_there = response.headers.iter().any(|(own, said)| own == name && said == value);
            assert!(is_there, "{number}: {name}: {value} in {response:?}");
        }
        assert_eq!(response.header("x-b"), None, "{number}");
        assert_eq!(response.headers.iter().filter(|(name, _)| name == "server").count(), 1, "{number}");
    }
    assert_eq!(origin.connections(), 1);
}
