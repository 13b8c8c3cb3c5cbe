//! What is tried again, how often, and what is not.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use sluicegate_core::{Backoff, RetryBudget};
use sluicegate_proxy::{ClusterSettings, RetryCondition, RetryOn, RetrySettings};

use crate::support::{GET, Origin, Proxy, QUICK, ask, check_failure, eventually};

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";

/// Says what it got, on connections that end with their answers: none of them is a reused one.
async fn good() -> Origin {
    Origin::new(|mut wire, _| async move {
        let Some(request) = wire.request().await else { return };
        let text = format!("{} {}", request.start.split(' ').next().unwrap(), request.text());
        wire.send(&format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
            .await;
    })
    .await
}

/// Reads each request and then does this.
async fn bad(then: &'static str) -> Origin {
    Origin::new(move |mut wire, _| async move {
        while wire.request().await.is_some() {
            match then {
                "reset" => return wire.stream.set_zero_linger().unwrap(),
                "hang" => drop(wire.ended().await),
                answer => wire.send(answer).await,
            }
        }
    })
    .await
}

fn on(condition: RetryCondition) -> ClusterSettings {
    let retry = RetrySettings { on: RetryOn::NONE.with(condition), ..RetrySettings::DEFAULT };
    ClusterSettings { retry, ..QUICK }
}

/// Sends requests until the bad origin has had one; all are answered by the good one. Says how often it was asked.
async fn all_good(bad: &Origin, settings: ClusterSettings, request: &str, answer: &str) -> usize {
    let good = good().await;
    let proxy = Proxy::new(&[bad.address, good.address], settings).await;
    for _ in 0..20 {
        let response = ask(&proxy, request).await;
        assert_eq!((response.status(), response.text()), (200, answer));
    }
    proxy.settle().await;
    assert_eq!(good.connections(), 20);
    proxy.count("sluicegate_retries_total", &[("cluster", "test")]) as usize
}

const SHORT_503: &str = "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno";

#[tokio::test]
async fn a_chunked_body_without_anything_in_it_is_sent_again_as_one() {
    let request = "PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(all_good(&bad("reset").await, QUICK, request, "PUT ").await > 0);
}

#[tokio::test]
async fn each_condition_leads_to_another_endpoint() {
    let short = ClusterSettings { attempt_timeout: Some(Duration::from_millis(250)), ..QUICK };
    let slow = ClusterSettings { response_timeout: Duration::from_millis(250), ..on(RetryCondition::ResponseTimeout) };
    for (then, settings) in [
        ("reset", QUICK),
        ("hang", short),
        ("hang", slow),
        (SHORT_503, on(RetryCondition::Status(503))),
        ("HTTP/1.1 503 No\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\nno", on(RetryCondition::Status(503))),
        ("HTTP/1.1 500 No\r\ncontent-length: 9999\r\n\r\nno", on(RetryCondition::Status(500))),
    ] {
        for (request, answer) in [(GET, "GET "), (PUT, "PUT hello")] {
            let bad = bad(then).await;
            let retries = all_good(&bad, settings.clone(), request, answer).await;
            assert!(retries > 0, "{then:?}");
            // A short answer leaves its connection behind, a long one does not.
            let reused = then.contains("length: 2\r");
            assert!(bad.connections() == if reused { 1 } else { retries }, "{then:?}: {}", bad.connections());
        }
    }
}

#[tokio::test]
async fn what_is_not_safe_is_not_sent_again() {
    let again = RetrySettings { non_idempotent: true, ..RetrySettings::DEFAULT };
    assert!(all_good(&bad("reset").await, ClusterSettings { retry: again, ..QUICK }, POST, "POST hello").await > 0);
    let (bad, good) = (bad("reset").await, good().await);
    let proxy = Proxy::new(&[bad.address, good.address], QUICK).await;
    let (mut failed, mut answered) = (0, 0);
    for _ in 0..20 {
        match ask(&proxy, POST).await.status() {
            200 => answered += 1,
            status => failed += usize::from(status == 502),
        }
    }
    assert_eq!((failed, answered), (bad.connections(), good.connections()), "each was sent once");
    assert!(failed > 0 && failed + answered == 20);
}

#[tokio::test]
async fn a_response_is_passed_on_when_nothing_follows_it() {
    let with = |answer: &'static str, settings: ClusterSettings| async move {
        let bad = [bad(answer).await, bad(answer).await];
        let proxy = Proxy::new(&[bad[0].address, bad[1].address], settings).await;
        let response = ask(&proxy, GET).await;
        assert_eq!((response.status(), response.text()), (503, "no"), "{response:?}");
        assert_eq!(response.header("x-sluicegate-error"), None);
        (bad[0].connections() + bad[1].connections(), proxy)
    };
    let settings = on(RetryCondition::Status(503));
    assert_eq!(with(SHORT_503, settings.clone()).await.0, 2, "both are asked");
    assert_eq!(with(SHORT_503, ClusterSettings { max_attempts: 1, ..settings.clone() }).await.0, 1);
    assert_eq!(with(SHORT_503, on(RetryCondition::Status(502))).await.0, 1);
    let later = "HTTP/1.1 503 No\r\nretry-after: 5\r\ncontent-length: 2\r\n\r\nno";
    assert_eq!(with(later, settings.clone()).await.0, 1, "that is too long to be waited for");
    let limits = sluicegate_core::CircuitLimits { retries: 0, ..Default::default() };
    assert_eq!(with(SHORT_503, ClusterSettings { limits: Some(limits), ..settings.clone() }).await.0, 1);
    let budget = RetryBudget { percent: 0, min_concurrent: 0 };
    let retry = RetrySettings { budget, ..settings.retry };
    let (asked, proxy) = with(SHORT_503, ClusterSettings { retry, ..settings }).await;
    assert_eq!((asked, proxy.count("sluicegate_retry_budget_exhausted_total", &[])), (1, 1));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_sent_once() {
    // The whole of it is read before the reset: none of what is beyond the limit is left.
    let retry = RetrySettings { body_bytes: 4, ..RetrySettings::DEFAULT };
    let (bad, good) = (bad("reset").await, good().await);
    let proxy = Proxy::new(&[bad.address, good.address], ClusterSettings { retry, ..QUICK }).await;
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(ask(&proxy, PUT).await.status() == 502);
    }
    assert!(failed > 0 && failed == bad.connections());
    let chunked = "PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n2\r\nll\r\n0\r\n\r\n";
    for _ in 0..20 {
        assert_eq!(ask(&proxy, chunked).await.text(), "PUT hell");
    }
}

#[tokio::test]
async fn a_burst_of_failures_waits_for_its_turn() {
    // All requests fail at once, and only one at a time may be tried again.
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrived);
    let bad = Origin::new(move |mut wire, _| {
        let count = Arc::clone(&count);
        async move {
            wire.request().await;
            count.fetch_add(1, SeqCst);
            while count.load(SeqCst) < 5 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    })
    .await;
    let good = good().await;
    let retry = RetrySettings {
        budget: RetryBudget { percent: 0, min_concurrent: 1 },
        backoff: Backoff { base_ns: 1_000_000, max_ns: 100_000_000 },
        ..RetrySettings::DEFAULT
    };
    let settings = ClusterSettings { retry, response_timeout: Duration::from_secs(20), ..QUICK };
    let proxy = Proxy::new(&[bad.address, good.address], settings).await;
    let mut clients = Vec::new();
    while arrived.load(SeqCst) < 5 {
        let mut client = proxy.connect().await;
        client.send(GET).await;
        clients.push(client);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for mut client in clients {
        assert_eq!(client.response("GET").await.unwrap().status(), 200);
    }
    // On a slow machine another one may have come while the fifth was counted.
    let arrived = arrived.load(SeqCst) as u64;
    assert_eq!(proxy.count("sluicegate_retries_total", &[("cause", "reset")]), arrived);
}

#[tokio::test]
async fn times_are_kept() {
    let hang = bad("hang").await;
    let ms = Duration::from_millis;
    for (settings, label) in [
        (ClusterSettings { attempt_timeout: Some(ms(20)), ..QUICK }, "attempt_timeout"),
        (ClusterSettings { request_timeout: Some(ms(20)), attempt_timeout: Some(ms(400)), ..QUICK }, "request_timeout"),
    ] {
        check_failure(&Proxy::new(&[hang.address], settings).await, GET, 504, label).await;
    }
    // A retry that would come too late is not waited for.
    let retry = RetrySettings { backoff: Backoff { base_ns: u64::MAX, max_ns: u64::MAX }, ..RetrySettings::DEFAULT };
    let settings = ClusterSettings { request_timeout: Some(Duration::from_secs(10)), retry, ..QUICK };
    let reset = [bad("reset").await, bad("reset").await];
    let proxy = Proxy::new(&[reset[0].address, reset[1].address], settings).await;
    check_failure(&proxy, GET, 502, "upstream_closed").await;
}

#[tokio::test]
async fn bodies_that_stop_moving_are_cut_off() {
    let stalls = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun";
    let ms = Duration::from_millis;
    for (settings, label) in [
        (ClusterSettings { stream_idle_timeout: ms(30), ..QUICK }, "stream_idle"),
        (ClusterSettings { request_timeout: Some(ms(30)), ..QUICK }, "request_timeout"),
    ] {
        let stalled = bad(stalls).await;
        let proxy = Proxy::new(&[stalled.address], settings).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        assert!(client.response("GET").await.is_none(), "it is not whole");
        proxy.settle().await;
        assert_eq!(proxy.count("sluicegate_errors_total", &[("error", label)]), 1);
        assert_eq!(proxy.count("sluicegate_endpoint_requests_total", &[("outcome", "timed_out")]), 1);
    }
}

#[tokio::test]
async fn a_slow_body_is_not_idle() {
    let drips = Origin::new(|mut wire, _| async move {
        wire.request().await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            wire.send("x").await;
        }
    })
    .await;
    let settings = ClusterSettings { stream_idle_timeout: Duration::from_millis(150), ..QUICK };
    let proxy = Proxy::new(&[drips.address], settings).await;
    assert_eq!(ask(&proxy, GET).await.text(), "xxxxxxxxxx");
}

#[tokio::test]
async fn a_silent_tunnel_is_cut_off() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
        wire.ended().await;
    })
    .await;
    let settings = ClusterSettings { stream_idle_timeout: Duration::from_millis(150), ..QUICK };
    let proxy = Proxy::new(&[origin.address], settings).await;
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.send("x").await;
    }
    assert_eq!(proxy.count("sluicegate_errors_total", &[("error", "stream_idle")]), 0);
    client.ended().await;
    eventually("it is counted", || proxy.count("sluicegate_errors_total", &[("error", "stream_idle")]) == 1).await;
}

/// A proxy whose cluster may have one thing of a kind at a time; all requests hang.
async fn limited(limits: impl FnOnce(&mut sluicegate_core::CircuitLimits), hang: SocketAddr) -> Proxy {
    let mut all = sluicegate_core::CircuitLimits::default();
    limits(&mut all);
    let long = Duration::from_secs(20);
    let settings = ClusterSettings { limits: Some(all), response_timeout: long, connect_timeout: long, ..QUICK };
    Proxy::new(&[hang], settings).await
}

async fn refused(proxy: &Proxy, resource: &str) {
    let mut first = proxy.connect().await;
    first.send(GET).await;
    eventually("it is under way", || proxy.endpoint(0).live.in_flight() == 1).await;
    let response = ask(proxy, GET).await;
    assert_eq!((response.status(), response.header("x-sluicegate-error")), (503, Some("circuit_open")));
    assert_eq!(response.header("retry-after"), Some("1"));
    assert_eq!(response.text(), format!("sluicegate: overloaded: {resource}: the cluster's limit of 1 is reached\n"));
    // What was taken is given back.
    drop(first);
    proxy.settle().await;
    let mut next = proxy.connect().await;
    next.send(GET).await;
    eventually("there is a place", || proxy.endpoint(0).live.in_flight() == 1).await;
}

#[tokio::test]
async fn limits_are_kept() {
    let hang = bad("hang").await;
    refused(&limited(|limits| limits.requests = 1, hang.address).await, "requests").await;
    refused(&limited(|limits| limits.connections = 1, hang.address).await, "connections").await;
    // Nobody accepts, and the system's queue is full: the next connection is not made.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let _queue: Vec<_> = std::iter::from_fn(connect).collect();
    refused(&limited(|limits| limits.pending = 1, address).await, "pending").await;
}

#[tokio::test]
async fn an_idle_connection_makes_room() {
    let origins = [Origin::echo().await, Origin::echo().await, Origin::echo().await];
    let limits = sluicegate_core::CircuitLimits { connections: 1, ..Default::default() };
    let settings = ClusterSettings { limits: Some(limits), ..QUICK };
    let proxy = Proxy::new(&origins.each_ref().map(|origin| origin.address), settings).await;
    let mut client = proxy.connect().await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert!(origins.iter().all(|origin| origin.connections() > 0));
}
