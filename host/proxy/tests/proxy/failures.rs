//! Endpoints and clients that fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use sluicegate_core::Signal;
use tokio::io::AsyncWriteExt;

use crate::support::{GET, Origin, Proxy, QUICK, check_failure, eventually, nobody};

#[tokio::test]
async fn a_stale_connection_is_not_the_client_s_problem() {
    // Each connection is closed after one answer, without a word: some are found closed, some close under the request.
    let origin = Origin::canned("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 1).await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    for i in 0..50 {
        assert_eq!(client.get("/").await.text(), "ok");
        if i % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(origin.connections(), 50);
    proxy.settle().await;
    assert_eq!((proxy.read(0, Signal::Successes), proxy.read(0, Signal::Failures)), (50, 0));
}

#[tokio::test]
async fn a_connection_that_closes_under_a_request_is_retried_only_if_that_is_safe() {
    // The first connection answers once, then takes another request and closes without an answer.
    for (request, is_safe) in [
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", true),
        ("DELETE / HTTP/1.1\r\nHost: test\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx", false),
        ("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx", false),
    ] {
        let origin = Origin::new(|mut wire, number| async move {
            while wire.request().await.is_some() {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                if number == 0 {
                    wire.request().await;
                    return;
                }
            }
        })
        .await;
        let proxy = Proxy::new(&[origin.address], QUICK).await;
        let mut client = proxy.connect().await;
        assert_eq!(client.get("/").await.status(), 200);
        client.send(request).await;
        let response = client.response("GET").await.unwrap();
        let (status, connections) = if is_safe { (200, 2) } else { (502, 1) };
        assert_eq!((response.status(), origin.connections()), (status, connections), "{request}");
        if !is_safe {
            assert_eq!(response.header("x-sluicegate-error"), Some("upstream_closed"));
        }
        proxy.settle().await;
    }
}

#[tokio::test]
async fn a_fresh_connection_that_closes_is_not_retried() {
    let origin = Origin::new(|mut wire, _| async move { drop(wire.request().await) }).await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    check_failure(&proxy, GET, 502, "upstream_closed").await;
    assert_eq!((origin.connections(), proxy.read(0, Signal::Failures)), (1, 1));
}

#[tokio::test]
async fn a_refused_connection_leads_to_another_endpoint() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[nobody(), origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    for _ in 0..50 {
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi").await;
        let response = client.response("POST").await.unwrap();
        assert!(response.status() == 200 && response.text().ends_with("\nhi"), "{response:?}");
    }
    proxy.settle().await;
    assert!(proxy.read(0, Signal::Failures) > 0, "the dead endpoint was tried");
    assert_eq!(proxy.read(1, Signal::Successes), 50);
}

#[tokio::test]
async fn without_any_endpoint_left_the_last_failure_is_told() {
    let proxy = Proxy::new(&[nobody(), nobody()], QUICK).await;
    let response = check_failure(&proxy, GET, 502, "connect_failed").await;
    assert!(response.text().contains("can't connect to 127.0.0.1:"), "{response:?}");
    assert_eq!(proxy.read(0, Signal::Failures) + proxy.read(1, Signal::Failures), 2);
    assert_eq!(proxy.count("sluicegate_errors_total", &[("cluster", "test"), ("error", "connect_failed")]), 1);
    assert_eq!(proxy.count("sluicegate_requests_total", &[("cluster", "test"), ("code_class", "5xx")]), 1);
    assert_eq!(proxy.count("sluicegate_endpoint_requests_total", &[("outcome", "connect_failed")]), 2);
}

#[tokio::test]
async fn attempts_are_limited() {
    let dead: Vec<_> = (0..5).map(|_| nobody()).collect();
    let proxy = Proxy::new(&dead, QUICK).await;
    check_failure(&proxy, GET, 502, "connect_failed").await;
    assert_eq!((0..5).map(|index| proxy.read(index, Signal::Failures)).sum::<u64>(), 3);
}

#[tokio::test]
async fn no_endpoint_is_said_plainly() {
    check_failure(&Proxy::new(&[], QUICK).await, GET, 503, "no_endpoint").await;
}

#[tokio::test]
async fn a_hung_origin_times_out() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.request().await;
        wire.ended().await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    check_failure(&proxy, GET, 504, "response_timeout").await;
    assert_eq!(proxy.read(0, Signal::Timeouts), 1);
    eventually("its connection is closed", || proxy.read(0, Signal::Connections) == 0).await;
}

#[tokio::test]
async fn nonsense_is_not_passed_on() {
    for response in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"] {
        let proxy = Proxy::new(&[Origin::canned(response, 1).await.address], QUICK).await;
        check_failure(&proxy, GET, 502, "bad_response").await;
    }
    let proxy = Proxy::new(&[Origin::canned("HTTP/1.1 101 Yes\r\n\r\n", 1).await.address], QUICK).await;
    check_failure(&proxy, GET, 502, "bad_response").await;
    let proxy = Proxy::new(&[Origin::canned("HTTP/1.1 200", 1).await.address], QUICK).await;
    check_failure(&proxy, GET, 502, "upstream_closed").await;
}

#[tokio::test]
async fn a_client_that_sends_no_more_gets_an_answer_that_comes_soon() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.request().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.response("GET").await.unwrap().text(), "ok");
    client.ended().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_upstream_connection_along() {
    // Before the answer, and in the middle of it.
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun"] {
        let saw_end = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&saw_end);
        let origin = Origin::new(move |mut wire, _| {
            let flag = Arc::clone(&flag);
            async move {
                wire.request().await;
                wire.send(answer).await;
                wire.ended().await;
                flag.store(true, SeqCst);
            }
        })
        .await;
        let mut settings = QUICK;
        (settings.response_timeout, settings.stream_idle_timeout) = (Duration::from_secs(30), Duration::from_secs(30));
        let proxy = Proxy::new(&[origin.address], settings).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        if answer.is_empty() {
            eventually("the request arrives", || proxy.endpoint(0).live.in_flight() == 1).await;
        } else {
            client.head().await.unwrap();
        }
        drop(client);
        eventually("the origin sees the end", || saw_end.load(SeqCst)).await;
        proxy.settle().await;
        let read = |signal| proxy.read(0, signal);
        let counted = (read(Signal::Successes), read(Signal::Failures), read(Signal::Timeouts));
        assert_eq!(counted, (0, 0, 0), "a client that leaves says nothing of the endpoint");
        let results = "sluicegate_endpoint_requests_total";
        assert_eq!((proxy.count(results, &[]), proxy.count(results, &[("outcome", "cancelled")])), (1, 1));
        eventually("the client's connection is over", || {
            proxy.count("sluicegate_downstream_connections_closed_total", &[]) == 1
        })
        .await;
    }
}
