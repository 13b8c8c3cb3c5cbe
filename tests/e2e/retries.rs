//! Retries, times and limits, as an operator sets them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use sluicegate_tests::{Load, Origin, Proxy, eventually, get};

use crate::config;

/// A server that reads each connection's first request, and then does this with it.
fn broken(then: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let then = std::sync::Arc::new(then);
        for stream in listener.incoming() {
            let then = std::sync::Arc::clone(&then);
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                    then(stream);
                }
            });
        }
    });
    address
}

/// Waits until the other side closes.
fn hang(mut stream: TcpStream) {
    while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
}

/// Answers every request with this.
fn canned(answer: &'static str) -> impl Fn(TcpStream) {
    move |mut stream| {
        while stream.write_all(answer.as_bytes()).is_ok() && stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
    }
}

/// A configuration with these endpoints and more in its cluster.
fn with(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"round-robin\"\nendpoints = {endpoints:?}\n{more}\n"
    )
}

/// The value of the cluster's first series that has all of this in it.
fn metric(proxy: &Proxy, parts: &[&str]) -> u64 {
    let text = proxy.admin("/metrics").1;
    let line =
        text.lines().find(|line| line.contains("cluster=\"api\"") && parts.iter().all(|part| line.contains(part)));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_rolling_restart_loses_no_request() {
    rolling_restart(Method::GET, Bytes::new());
}

#[test]
fn a_rolling_restart_loses_no_upload() {
    rolling_restart(Method::PUT, Bytes::from(vec![b'x'; 20_000]));
}

fn rolling_restart(method: Method, body: Bytes) {
    const DELAY: Duration = Duration::from_millis(2);
    let mut origins: Vec<_> = (0..3).map(|_| Origin::start(DELAY)).collect();
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let load = Load::start_with(proxy.address, 16, method, body);
    for index in [0, 1, 2, 0] {
        let before = load.so_far().good;
        eventually("it is under load", || (load.so_far().good > before + 300).then_some(()));
        // All its connections end at once, with whatever is under way on them.
        let old = origins.remove(index);
        let address = old.address;
        drop(old);
        let before = load.so_far().good;
        eventually("the others go on", || (load.so_far().good > before + 300).then_some(()));
        origins.insert(index, Origin::start_at(address, DELAY));
        eventually("it is back", || (origins[index].served() > 100).then_some(()));
    }
    let tally = load.stop();
    assert_eq!(tally.failed, Vec::<String>::new(), "of {} requests", tally.good);
    let retries = |cause| metric(&proxy, &["sluicegate_retries_total", cause]);
    assert!(retries("connect_failure") > 0);
}

#[test]
fn the_conditions_are_the_operators() {
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (bad, more, cause) in [
        (refused, "", "connect_failure"),
        (broken(drop), "", "reset"),
        (broken(hang), "attempt_timeout_ms = 100", "attempt_timeout"),
        (broken(hang), "response_timeout_ms = 100\nretry = { on = [\"response-timeout\"] }", "response_timeout"),
        (
            broken(canned("HTTP/1.1 502 No\r\ncontent-length: 2\r\n\r\nno")),
            "retry = { on = [\"gateway-error\"], backoff_ms = 1 }",
            "status",
        ),
    ] {
        let origin = Origin::start(Duration::ZERO);
        let proxy = Proxy::start(&with(&[bad, origin.address], more), |_| {});
        for _ in 0..6 {
            assert_eq!(get(proxy.address, "/", "x").unwrap(), (200, origin.address.to_string()), "{cause}");
        }
        let series = format!("cause=\"{cause}\"");
        assert!(metric(&proxy, &["sluicegate_retries_total", &series]) > 0, "{cause}");
        // The same settings without a retry, by a reload.
        proxy.reconfigure(&with(&[bad, origin.address], &format!("{more}\nmax_attempts = 1")));
        eventually("it is not tried again", || (get(proxy.address, "/", "x").unwrap().0 >= 500).then_some(()));
    }
}

#[test]
fn times_are_the_operators() {
    for (then, more, label) in [
        ("", "request_timeout_ms = 100", "request_timeout"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun", "request_timeout_ms = 100", "request_timeout"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun", "stream_idle_timeout_ms = 100", "stream_idle"),
    ] {
        let proxy = Proxy::start(&with(&[broken(canned(then))], more), |_| {});
        let answer = get(proxy.address, "/", "x");
        assert!(
            answer.as_ref().map_or_else(|error| error.starts_with("body"), |(status, _)| *status == 504),
            "{answer:?}"
        );
        eventually("it is counted", || {
            (metric(&proxy, &["sluicegate_errors_total", &format!("\"{label}\"")]) == 1).then_some(())
        });
    }
}

#[test]
fn the_limits_are_the_operators() {
    let proxy = Proxy::start(&with(&[broken(hang)], "limits = { requests = 1 }"), |_| {});
    let first = thread::spawn({
        let address = proxy.address;
        move || get(address, "/", "x")
    });
    eventually("it is under way", || {
        (proxy.status()["clusters"]["api"]["endpoints"][0]["in_flight"] == 1).then_some(())
    });
    // Whichever worker it comes to.
    for _ in 0..10 {
        let (status, text) = get(proxy.address, "/", "x").unwrap();
        assert_eq!((status, &*text), (503, "sluicegate: overloaded: requests: the cluster's limit of 1 is reached\n"));
    }
    assert_eq!(metric(&proxy, &["sluicegate_errors_total", "circuit_open"]), 10);
    drop(proxy);
    assert!(first.join().unwrap().is_err(), "its proxy is gone");
}
