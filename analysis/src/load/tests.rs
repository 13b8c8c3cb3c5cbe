//! The generator, against servers of which it is known what they do.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use super::{arrivals::Schedule, command::table, *};
use crate::stand::{OriginSpec, Origins};

fn phases(rate: f64, seconds: u64) -> Vec<Phase> {
    vec![Phase { rate, time: Duration::from_secs(seconds) }]
}

#[test]
fn constant_arrivals_are_at_equal_distances() {
    let due: Vec<_> = Schedule::new(Arrivals::Constant, phases(1000.0, 1), 1).collect();
    assert_eq!((due.len(), due[0], due[1]), (999, 1_000_000, 2_000_000));
}

#[test]
fn poisson_arrivals_have_their_rate_and_their_spread() {
    let due: Vec<_> = Schedule::new(Arrivals::Poisson, phases(1000.0, 100), 7).collect();
    // The standard deviation of such a count is its root, 316.
    assert!((98_500..101_500).contains(&due.len()), "{}", due.len());
    let distances: Vec<_> = due.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = distances.iter().sum::<f64>() / distances.len() as f64;
    let longer = distances.iter().filter(|distance| **distance > mean).count() as f64 / distances.len() as f64;
    assert!((longer - (-1.0_f64).exp()).abs() < 0.01, "exponential distances: {longer}");
    assert_eq!(due, Schedule::new(Arrivals::Poisson, phases(1000.0, 100), 7).collect::<Vec<_>>());
}

#[test]
fn phases_have_rates_of_their_own() {
    let both = [phases(1000.0, 10), phases(100.0, 10)].concat();
    let due: Vec<_> = Schedule::new(Arrivals::Poisson, both, 3).collect();
    let first = due.iter().filter(|due| **due < 10_000_000_000).count();
    assert!((9_600..10_400).contains(&first), "{first}");
    assert!((850..1_150).contains(&(due.len() - first)), "{}", due.len() - first);
}

/// A server that says this on each connection, once, after so long.
fn server(answer: &'static str, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                thread::sleep(delay);
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

fn plan(address: SocketAddr, rate: f64, connections: usize) -> Plan {
    let time = Duration::from_secs(1);
    Plan { connections, ..Plan::steady(Target::at(address, "/"), rate, Duration::ZERO, time) }
}

#[test]
fn every_request_that_was_due_is_told_of() {
    let origins = Origins::start(vec![OriginSpec::default()]).unwrap();
    let expected = Schedule::new(Arrivals::Poisson, phases(200.0, 1), 1).count() as u64;
    let outcome = plan(origins.addresses[0], 200.0, 4).run().unwrap();
    assert_eq!((outcome.due, outcome.latency.len(), outcome.error_count()), (expected, expected, 0));
    assert!(table(&outcome).contains("p99.9"));
    assert_eq!(outcome.json()["answered"], expected);
}

#[test]
fn beside_the_origins_and_watching_the_clock_it_is_in_time() {
    let origins = Origins::start(vec![OriginSpec::default()]).unwrap();
    let plan = Plan { watches: true, ..plan(origins.addresses[0], 200.0, 4) };
    let expected = Schedule::new(Arrivals::Poisson, phases(200.0, 1), 1).count() as u64;
    // One after the other: whoever runs the second time finds the origins as they were.
    for _ in 0..2 {
        let outcome = origins.run(plan.clone()).unwrap();
        assert_eq!((outcome.due, outcome.latency.len(), outcome.error_count()), (expected, expected, 0));
        // Woken by a timer it would take a twentieth of a processor.
        assert!(outcome.processor > 0.15, "{}", outcome.processor);
    }
    assert_eq!(origins.served(), [2 * expected]);
}

#[test]
fn http2_too() {
    let (connections, streams) = (2, 8);
    // NGINX or the proxy speak it for real in the report; here the library does, both ways.
    let address = http2_server();
    let plan = Plan { protocol: Protocol::Http2 { streams }, ..plan(address, 200.0, connections) };
    let outcome = plan.run().unwrap();
    assert_eq!((outcome.latency.len(), outcome.error_count()), (outcome.due, 0));
    assert!(outcome.due > 100);
}

fn http2_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        body.send_data("hello".into(), true).unwrap();
                    }
                });
            }
        }));
    });
    address
}

#[test]
fn latency_counts_from_when_a_request_was_due() {
    // One connection and 100 ms for each answer: of 40 requests in a second, ten are answered within it, and the
    // others wait. A closed loop would say 100 ms for each.
    let origins = Origins::start(vec![OriginSpec { extra_ms: 100.0, ..OriginSpec::default() }]).unwrap();
    let plan =
        Plan { arrivals: Arrivals::Constant, timeout: Duration::from_secs(30), ..plan(origins.addresses[0], 40.0, 1) };
    let outcome = plan.run().unwrap();
    assert_eq!((outcome.due, outcome.error_count()), (39, 0));
    assert!(outcome.ms(0.5).unwrap() > 1000.0, "{:?}", outcome.ms(0.5));
    assert!(outcome.waited > 30);
}

#[test]
fn errors_have_kinds() {
    let check = |address: SocketAddr, kind: &str| {
        let outcome = Plan { timeout: Duration::from_secs(20), ..plan(address, 20.0, 4) }.run().unwrap();
        assert_eq!(outcome.errors.keys().collect::<Vec<_>>(), [kind], "{:?}", outcome.errors);
        assert_eq!(outcome.due, outcome.error_count());
    };
    check(server("HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", Duration::ZERO), "status 503");
    check(server("", Duration::ZERO), "closed without an answer");
    check(server("SSH-2.0-x\r\n\r\n", Duration::ZERO), "protocol");
}

#[test]
fn who_never_answers_is_an_error_each_time() {
    let address = server("", Duration::from_secs(600));
    let outcome = Plan { timeout: Duration::from_millis(300), ..plan(address, 50.0, 2) }.run().unwrap();
    let expected = Schedule::new(Arrivals::Poisson, phases(50.0, 1), 1).count() as u64;
    assert_eq!((outcome.due, outcome.error_count(), outcome.latency.len()), (expected, expected, 0));
    assert!(outcome.errors.contains_key("timeout"));
}

#[test]
fn whose_figures_they_are() {
    let said_of = |plan: Plan, processor: f64, late_ms: u64| {
        let mut outcome = Outcome::new(&plan);
        outcome.processor = processor;
        outcome.latency.record(2_000_000).unwrap();
        outcome.lateness.record(late_ms * 1_000_000).unwrap();
        outcome.own_limit().map(|limit| limit.to_string())
    };
    let open = plan(([127, 0, 0, 1], 1).into(), 10.0, 1);
    let closed = Plan { arrivals: Arrivals::Closed, ..open.clone() };
    let watching = Plan { watches: true, ..open.clone() };
    let said =
        |processor, late_ms, is_open| said_of(if is_open { open.clone() } else { closed.clone() }, processor, late_ms);
    assert_eq!(said_of(watching.clone(), 1.0, 0), None, "it takes all of it on purpose");
    assert!(said_of(watching, 1.0, 3).unwrap().contains("3.0 ms late"));
    assert_eq!(said(0.5, 0, true), None);
    assert_eq!(said(0.97, 0, false).unwrap(), "the generator was the limit: it used 97% of a processor");
    assert_eq!(said(0.5, 3, false), None, "a closed loop has no schedule to be late for");
    let late = said(0.5, 3, true).unwrap();
    assert!(late.contains("3.0 ms late") && late.ends_with("its own doing, or a machine that stood still"), "{late}");
}

#[test]
fn keys_are_many_and_the_same_each_time() {
    let target = Target::parse("http://127.0.0.1:1/128?key={key}").unwrap();
    let path = |ns| target.path_at(ns, 7).into_owned();
    assert_eq!(path(5), path(5));
    let keys: std::collections::HashSet<_> = (0..1000).map(path).collect();
    assert!(keys.len() > 900 && keys.iter().all(|path| path.starts_with("/128?key=") && !path.contains('{')));
}

#[test]
fn two_paths_are_asked_for_in_turns() {
    let origins = Origins::start(vec![OriginSpec::default()]).unwrap();
    let target = Target::at(origins.addresses[0], "/128").in_turns_with("/nobody", Duration::from_millis(20));
    let path = |ms: u64| target.path_at(ms * 1_000_000, 7).into_owned();
    assert_eq!([0, 19, 20, 39, 40].map(path), ["/128", "/128", "/nobody", "/nobody", "/128"]);
}

#[test]
fn urls() {
    let target = Target::parse("http://127.0.0.1:8080/a?b").unwrap();
    assert_eq!((target.address.port(), target.path.as_str(), target.host.as_str()), (8080, "/a?b", "127.0.0.1:8080"));
    assert_eq!(Target::parse("http://[::1]/").unwrap().address, "[::1]:80".parse().unwrap());
    for bad in ["https://127.0.0.1/", "127.0.0.1", "", "http:///x"] {
        assert!(Target::parse(bad).is_err(), "{bad}");
    }
}
