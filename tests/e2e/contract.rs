//! What a policy may ask of the proxy beside its picks, with real sockets, in both lanes: each request tells the test
//! policy what to do.

mod raw;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use sluicegate_core::{ClusterSnapshot, EndpointId, EndpointSpec, LiveArena};
use sluicegate_policy::{Engine, Generation, GenerationSpec, Limits, OwnLines, RequestHead, RequestHeaders};
use sluicegate_sdk::harness::{Harness, SimCluster, SimReply, SimRequest};
use sluicegate_tests::{Echo, Proxy, ask, binary, eventually, wasm};
use sluicegate_tests_policy::Obedient;

use raw::Raw;

/// The test policy, built as its author would, with `sluicegate build`.
fn obedient(lane: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let output = folder.join("obedient.wasm");
        let mut build = Command::new(binary());
        build.arg("build").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("policy"));
        build.arg("--output").arg(&output).env("CARGO_TARGET_DIR", folder.join("policy"));
        assert!(build.status().unwrap().success());
        output
    });
    let module = fs::read(built).unwrap();
    if lane == "portable" { wasm::component(&module) } else { module }
}

/// A proxy with the test policy, its configuration and more for its cluster.
pub(crate) fn start(lane: &str, endpoints: &[SocketAddr], config: &str, more: &str) -> Proxy {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    let config = format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {{ file = \"policy.wasm\", config = {{ {config} }} }}\n\
         endpoints = [{}]\n{more}",
        endpoints.join(", ")
    );
    let proxy = Proxy::start(&config, |dir| fs::write(dir.join("policy.wasm"), obedient(lane)).unwrap());
    assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["generation"], 1);
    proxy
}

pub(crate) fn both(test: impl Fn(&str)) {
    test("fast");
    test("portable");
}

fn send(proxy: &Proxy, method: &str, commands: &str, body: &str) -> Response<String> {
    let request = Request::builder().method(method).uri("/").header("host", "test").header("x-do", commands);
    ask(proxy.address, request.body(body.to_owned()).unwrap()).unwrap()
}

pub(crate) fn get(proxy: &Proxy, commands: &str) -> Response<String> {
    send(proxy, "GET", commands, "")
}

pub(crate) fn header<'a>(response: &'a Response<String>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// A metric's value: the sum of all series with these parts in their names.
pub(crate) fn metric(proxy: &Proxy, parts: &[&str]) -> f64 {
    let text = proxy.admin("/metrics").1;
    let lines = text.lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn natively_and_in_both_lanes_the_same_is_said() {
    let specs: Vec<_> = (0..3).map(|number| EndpointSpec::new(([10, 0, 0, number], 80).into())).collect();
    let snapshot = Arc::new(ClusterSnapshot::empty("test").next(&specs, &mut LiveArena::default(), 0));
    let index = |id: &EndpointId| snapshot.endpoints().iter().position(|endpoint| endpoint.id == *id).unwrap() as u32;
    let engine = Engine::new(Limits::default(), None).unwrap();
    for lane in ["fast", "portable"] {
        let mut harness = Harness::<Obedient>::new("{\"body_prefix\": 3}", SimCluster::of(3)).unwrap();
        let artifact = engine.load(&obedient(lane)).unwrap();
        let config = "{\"body_prefix\": 3}".into();
        let (cluster, policy) = ("test".into(), "obedient".into());
        let spec = GenerationSpec { cluster, policy, artifact, config, seed: 0, workers: 1 };
        let mut instance = Generation::new(1, spec).instance(&engine, 0, Arc::clone(&snapshot), 0).unwrap();
        instance.lane().seated(0, true);
        instance.lane().tick(0).unwrap();
        for commands in [
            "",
            "to 2",
            "to 1; then 2; then 0; hedge 2 50",
            "explain \u{e4}\u{f6}",
            "reject 503 full",
            "response Set-Cookie a=b; response x y; request z 1",
            "share",
            "share; body; tell",
        ] {
            let native = SimRequest::get("/").header("x-do", commands).body("beginning");
            let expected = (harness.pick_for(&native), harness.reply().clone());
            let mut head = RequestHead { body_prefix: b"beg"[..].into(), ..RequestHead::default() };
            let told = HeaderValue::from_bytes(commands.as_bytes()).unwrap();
            // A policy is told what stands among the proxy's own lines, as any other header.
            match lane {
                "fast" => drop(head.parts.headers.all_mut().insert("x-do", told)),
                _ => {
                    let own = OwnLines::new(vec![(HeaderName::from_static("x-do"), told)]);
                    head.parts.headers = RequestHeaders::new(HeaderMap::new(), Some(Arc::new(own)));
                }
            }
            let picked = instance.lane().pick(0, 0, &mut head).unwrap();
            let reply = instance.lane().asked().reply.take().map(|reply| *reply).unwrap_or_default();
            let headers = |headers: Vec<(http::HeaderName, HeaderValue)>| {
                let text = |(name, value): (http::HeaderName, HeaderValue)| {
                    (name.to_string(), value.to_str().unwrap().to_owned())
                };
                headers.into_iter().map(text).collect()
            };
            let said = SimReply {
                rejected: reply.rejection.map(|rejection| (rejection.status.as_u16(), rejection.reason)),
                response_headers: headers(reply.response_headers),
                request_headers: headers(reply.request_headers),
                then: reply.then.iter().map(index).collect(),
                hedge: reply.hedge.map(|hedge| (index(&hedge.endpoint), hedge.after)),
                explanation: reply.explanation,
            };
            let picked = Some(picked).filter(|index| *index != u32::MAX);
            assert_eq!((picked, said), expected, "{lane}: {commands}");
        }
    }
}

#[test]
fn a_policy_rejects() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "", "");
        let response = get(&proxy, "reject 429 come back later; response retry-after 7");
        assert_eq!((response.status().as_u16(), response.body().as_str()), (429, "sluicegate: come back later\n"));
        assert_eq!(header(&response, "x-sluicegate-error"), "policy_rejected");
        assert_eq!(header(&response, "retry-after"), "7");
        assert_eq!(echo.asked().len(), 0);
        eventually("it is counted", || {
            (metric(&proxy, &["sluicegate_errors_total", "policy_rejected"]) == 1.0).then_some(())
        });
        assert_eq!(metric(&proxy, &["sluicegate_policy_faults_total"]), 0.0);
    });
}

#[test]
fn a_policy_sets_headers() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "", "");
        let commands = "response Set-Cookie a=b; response server policy; request x-policy yes";
        let response = get(&proxy, commands);
        assert_eq!((header(&response, "set-cookie"), header(&response, "server")), ("a=b", "policy"));
        assert!(response.body().contains("x-policy: yes"), "{}", response.body());
        // What can't be set is left out, and the rest is done.
        let response = get(&proxy, "response content-length 1; response bad(name x; response x-good yes");
        assert_eq!((response.status().as_u16(), header(&response, "x-good")), (200, "yes"));
        assert!(response.body().len() > 1);
        let line = proxy.wait_for("a fault", |line| line["label"] == "bad_reply");
        assert!(line["message"].as_str().unwrap().contains("content-length is not for policies"), "{line}");
        assert_eq!(get(&proxy, "").status().as_u16(), 200, "it serves on");
    });
}

#[test]
fn a_policy_says_where_to_go_next() {
    both(|lane| {
        let echoes = [Echo::start(), Echo::start()];
        let proxy = start(lane, &[nobody(), echoes[0].address, echoes[1].address], "", "");
        let response = get(&proxy, "to 0; then 0; then 2");
        assert_eq!(header(&response, "x-origin"), echoes[1].address.to_string());
        // Without it, the policy is asked again.
        let response = get(&proxy, "to 0");
        assert_eq!(response.status().as_u16(), 200, "it insists, and the proxy chooses by itself");
    });
}

#[test]
fn a_slow_endpoint_gets_a_second_one_beside_it() {
    both(|lane| {
        let (slow, echo) = (Raw::start(""), Echo::start());
        slow.is_held.store(true, Relaxed);
        let proxy = start(lane, &[slow.address, echo.address], "", "");
        let response = get(&proxy, "to 0; hedge 1 5");
        assert_eq!(header(&response, "x-origin"), echo.address.to_string());
        eventually("the first one is cut off", || (slow.left.load(Relaxed) == 1).then_some(()));
        let of = |outcome: &str, address: SocketAddr| {
            let address = address.to_string();
            metric(&proxy, &["sluicegate_endpoint_requests_total", &format!("\"{outcome}\""), &address])
        };
        eventually("each has one result", || {
            ((of("cancelled", slow.address), of("answered", echo.address)) == (1.0, 1.0)).then_some(())
        });
        assert_eq!(metric(&proxy, &["sluicegate_hedges_total", "won"]), 1.0);
        // A POST is not sent twice.
        let before = echo.asked().len();
        slow.is_held.store(false, Relaxed);
        assert_eq!(send(&proxy, "POST", "to 0; hedge 1 1", "").status().as_u16(), 200);
        assert_eq!(echo.asked().len(), before);
        // A PUT is, when its body is here.
        slow.is_held.store(true, Relaxed);
        let response = send(&proxy, "PUT", "to 0; hedge 1 300", "the body");
        assert!(response.body().ends_with("the body"), "{}", response.body());
    });
}

#[test]
fn explanations_are_in_the_access_log() {
    both(|lane| {
        let echo = Echo::start();
        let dir = tempfile::TempDir::new().unwrap();
        fs::write(dir.path().join("policy.wasm"), obedient(lane)).unwrap();
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
             [policy]\ncache = false\n[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n\
             policy = {{ file = \"policy.wasm\" }}\n",
            echo.address
        );
        fs::write(dir.path().join("sluicegate.toml"), config).unwrap();
        let proxy = Proxy::start_as_it_is(dir);
        get(&proxy, "explain least busy");
        let line = proxy.wait_for("the access log", |line| line["status"] == 200);
        assert_eq!(line["why"], "least busy", "{line}");
    });
}

#[test]
fn workers_and_successors_share_numbers() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "", "");
        let share = || header(&get(&proxy, "share"), "x-shared").parse::<u64>().unwrap();
        // Whichever workers these went to.
        assert_eq!((0..20).map(|_| share()).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        let mut again = obedient(lane);
        again.extend([0, 3, 1, b'n', 1]);
        fs::write(proxy.path("policy.wasm"), again).unwrap();
        proxy.wait_for_generation(2);
        assert_eq!(share(), 20, "a rehearsal has changed nothing");
    });
}

#[test]
fn counters_and_gauges_are_in_the_metrics() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "", "");
        (0..10).for_each(|_| drop(get(&proxy, "a; b; c")));
        let labels = ["cluster=\"api\"", "name=\"picks\""];
        assert_eq!(metric(&proxy, &["sluicegate_policy_custom_total", labels[0], labels[1]]), 10.0);
        let text = proxy.admin("/metrics").1;
        let gauge = text.lines().find(|line| line.starts_with("sluicegate_policy_custom{") && line.ends_with(" 3"));
        assert!(gauge.is_some_and(|line| line.contains("name=\"commands\"") && line.contains("worker=")), "{text}");
    });
}

pub(crate) const REPORT: &str = "endpoint-load-metrics: TEXT application_utilization=0.5, rps_fractional=12.5, eps=1, \
                      named_metrics.queue_depth=7, named_metrics.latency_us=900\r\n";

#[test]
fn load_reports_are_read_for_those_who_need_them() {
    both(|lane| {
        let origin = Raw::start(REPORT);
        let proxy = start(lane, &[origin.address], "load_reports = true", "");
        let signals = || header(&get(&proxy, "tell"), "x-signals").to_owned();
        assert_eq!(signals(), "0 0 0 0 false");
        assert_eq!(signals(), "500000 7 12500 1000 true");
        *origin.head.lock().unwrap() = "endpoint-load-metrics-bin: CQAAAAAAANA/\r\n".into();
        signals();
        assert_eq!(signals(), "250000 0 0 0 true");
        // Whatever it says, requests go on.
        *origin.head.lock().unwrap() = "endpoint-load-metrics: JSON {\"eps\": -1e999\r\n".into();
        signals();
        assert_eq!(signals(), "250000 0 0 0 true");
        let proxy = start(lane, &[origin.address], "", "");
        get(&proxy, "");
        assert_eq!(header(&get(&proxy, "tell"), "x-signals"), "0 0 0 0 false", "nobody asked");
    });
}

#[test]
fn probes_are_sent_and_heard_of() {
    both(|lane| {
        let origin = Raw::start(REPORT);
        let more = "[cluster.api.probe]\npath = \"/load\"\ntimeout_ms = 30000\n";
        let proxy = start(lane, &[origin.address, nobody()], "", more);
        // Each worker's instance asks for itself.
        eventually("an answer", || {
            (header(&get(&proxy, "probe 0; tell"), "x-probe") == "true Some(7) Some(900)").then_some(())
        });
        assert_eq!(header(&get(&proxy, "tell"), "x-signals"), "500000 7 12500 1000 true");
        eventually("no answer", || {
            (header(&get(&proxy, "probe 1; tell"), "x-probe") == "false None None").then_some(())
        });
        assert!(metric(&proxy, &["sluicegate_probes_total", "passed"]) >= 1.0);
        assert!(metric(&proxy, &["sluicegate_probes_total", "failed"]) >= 1.0);
        assert_eq!(metric(&proxy, &["sluicegate_policy_faults_total"]), 0.0);
    });
}

#[test]
fn ticks_come_by_themselves() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "tick_ms = 1", "");
        eventually("ticks", || (header(&get(&proxy, "tell"), "x-ticks").parse::<u64>().unwrap() > 20).then_some(()));
        let proxy = start(lane, &[echo.address], "", "");
        eventually("the first one", || (header(&get(&proxy, "tell"), "x-ticks") == "1").then_some(()));
        thread::sleep(Duration::from_millis(20));
        let answer = get(&proxy, "tell");
        assert_eq!(
            header(&answer, "x-ticks"),
            "1",
            "no other was asked for: {answer:?}, {}",
            proxy.status()["clusters"]
        );
    });
}

#[test]
fn the_beginning_of_a_body_is_seen_and_all_of_it_is_sent() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "body_prefix = 5", "");
        for body in ["", "abc", "abcde", &"abcdefghij".repeat(50_000)] {
            let response = send(&proxy, "POST", "body", body);
            assert_eq!(header(&response, "x-body"), &body[..body.len().min(5)]);
            assert!(response.body().ends_with(&format!("\n{body}")), "{} of {}", response.body().len(), body.len());
        }
        // Piece by piece, with more than the prefix on its way later.
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        let head =
            "PUT / HTTP/1.1\r\nhost: test\r\nx-do: body\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for piece in ["ab", "cd", "efgh", "ij"] {
            thread::sleep(Duration::from_millis(10));
            write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("x-body: abcde\r\n") && answer.contains("\nabcdefghij"), "{answer}");
    });
}

#[test]
fn a_body_that_does_not_come_holds_up_a_pick_for_a_while_only() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "body_prefix = 65536", "");
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: test\r\nx-do: body\r\ncontent-length: 6\r\nconnection: close\r\n\r\nabc";
        stream.write_all(head.as_bytes()).unwrap();
        eventually("the endpoint is picked and connected to", || {
            (metric(&proxy, &["sluicegate_upstream_connections_opened_total"]) >= 1.0).then_some(())
        });
        stream.write_all(b"def").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("x-body: abc\r\n") && answer.contains("\nabcdef"), "{answer}");
    });
}
