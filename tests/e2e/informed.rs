//! Built-in policies that go by what requests carry and by what endpoints say of themselves, in the real proxy.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use sluicegate_tests::{Proxy, ask, eventually};

/// An origin that says who it is, and whatever else the test wants in the heads of its answers. While it is held, only
/// probes are answered.
struct Backend {
    address: SocketAddr,
    head: Mutex<String>,
    requests: AtomicU64,
    probes: AtomicU64,
    is_held: AtomicBool,
}

impl Backend {
    fn start(head: &str) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let backend = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            head: Mutex::new(head.to_owned()),
            requests: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            is_held: AtomicBool::new(false),
        });
        let serving = Arc::clone(&backend);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let backend = Arc::clone(&serving);
                thread::spawn(move || backend.serve(&stream.unwrap()));
            }
        });
        backend
    }

    fn several(heads: &[&str]) -> Vec<Arc<Self>> {
        heads.iter().map(|head| Self::start(head)).collect()
    }

    /// Until the connection ends.
    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut length, mut is_probe, mut line) = (0, false, String::new());
            while line != "\r\n" {
                line.clear();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                is_probe |= line.starts_with("user-agent: sluicegate-probe");
                length = line.strip_prefix("content-length: ").map_or(length, |rest| rest.trim().parse().unwrap());
            }
            reader.read_exact(&mut vec![0; length]).ok()?;
            (if is_probe { &self.probes } else { &self.requests }).fetch_add(1, Relaxed);
            while !is_probe && self.is_held.load(Relaxed) {
                thread::sleep(Duration::from_millis(2));
            }
            let (name, head) = (self.address.to_string(), self.head.lock().unwrap().clone());
            write!(&mut &*stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{head}\r\n{name}", name.len()).ok()?;
        }
    }

    fn says(&self, head: &str) {
        head.clone_into(&mut self.head.lock().unwrap());
    }

    fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}

fn config(policy: &str, backends: &[Arc<Backend>]) -> String {
    let endpoints: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.address)).collect();
    format!("[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {policy}\nendpoints = [{}]\n", endpoints.join(", "))
}

/// Who answers so many requests, one after the other: how many of them each backend gets.
fn spread(proxy: &Proxy, backends: &[Arc<Backend>], requests: u64) -> Vec<u64> {
    let before: Vec<u64> = backends.iter().map(|backend| backend.requests()).collect();
    (0..requests).for_each(|_| assert_eq!(get(proxy, None).status(), StatusCode::OK));
    backends.iter().zip(before).map(|(backend, before)| backend.requests() - before).collect()
}

fn get(proxy: &Proxy, cookie: Option<&str>) -> Response<String> {
    let mut request = Request::get("/").header("host", "test");
    if let Some(cookie) = cookie {
        request = request.header("cookie", format!("theme=dark; sluicegate={cookie}"));
    }
    ask(proxy.address, request.body(String::new()).unwrap()).unwrap()
}

fn post(address: SocketAddr, body: &str) -> Response<String> {
    let request = Request::post("/v1/completions").header("host", "test");
    ask(address, request.body(body.to_owned()).unwrap()).unwrap()
}

/// One of the policy's own counters.
fn counted(proxy: &Proxy, name: &str) -> f64 {
    metric(proxy, &["sluicegate_policy_custom_total", &format!("name=\"{name}\"")])
}

fn metric(proxy: &Proxy, parts: &[&str]) -> f64 {
    let text = proxy.admin("/metrics").1;
    let lines = text.lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The value of the cookie that a response sets.
fn cookie(response: &Response<String>) -> Option<String> {
    let header = response.headers().get("set-cookie")?.to_str().unwrap();
    let (cookie, attributes) = header.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; Max-Age=600; HttpOnly; SameSite=Lax");
    Some(cookie.strip_prefix("sluicegate=").unwrap().to_owned())
}

const STICKY: &str = "{ name = \"sticky\", config = { key = \"000102030405060708090a0b0c0d0e0f\", max_age_s = 600 } }";

#[test]
fn a_cookie_keeps_a_client_at_its_endpoint() {
    let mut backends = Backend::several(&[""; 5]);
    let proxy = Proxy::start(&config(STICKY, &backends), |_| {});
    // Connections of one client may meet either worker.
    let clients: Vec<(String, String)> = (0..8)
        .map(|_| {
            let first = get(&proxy, None);
            let given = cookie(&first).unwrap();
            for _ in 0..6 {
                let again = get(&proxy, Some(&given));
                assert_eq!((again.body(), cookie(&again)), (first.body(), None));
            }
            (given, first.into_body())
        })
        .collect();
    assert_eq!([counted(&proxy, "hits"), counted(&proxy, "misses"), counted(&proxy, "forged")], [48.0, 8.0, 0.0]);

    // A cookie that was changed names nobody, whatever stands in it.
    let (given, home) = &clients[0];
    let forged = [&given[..47], if given.ends_with('0') { "1" } else { "0" }].concat();
    let answers: Vec<Response<String>> = (0..20).map(|_| get(&proxy, Some(&forged))).collect();
    assert!(answers.iter().all(|answer| cookie(answer).is_some_and(|new| new != forged)));
    assert!(answers.iter().any(|answer| answer.body() != home), "it is not followed");
    assert_eq!(counted(&proxy, "forged"), 20.0);

    // Its endpoint is taken out: the client gets a new one, and keeps that.
    backends.retain(|backend| backend.address.to_string() != *home);
    proxy.reconfigure(&config(STICKY, &backends));
    let moved = eventually("it is taken out", || Some(get(&proxy, Some(given))).filter(|answer| answer.body() != home));
    let new = cookie(&moved).unwrap();
    assert_eq!(get(&proxy, Some(&new)).body(), moved.body());
    assert!(counted(&proxy, "gone") >= 1.0);
    for (given, home) in clients.iter().filter(|(_, other)| other != home) {
        assert_eq!(get(&proxy, Some(given)).body(), home, "the others stay");
    }
}

#[test]
fn a_client_whose_endpoint_refuses_gets_another_cookie() {
    let backend = Backend::start("");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {STICKY}\nendpoints = [\"{nobody}\", \"{}\"]\n",
        backend.address
    );
    let proxy = Proxy::start(&endpoints, |_| {});
    for _ in 0..10 {
        let answer = get(&proxy, None);
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 1, "of the pick that counts");
        let given = cookie(&answer).unwrap();
        let again = get(&proxy, Some(&given));
        assert_eq!((again.body(), cookie(&again)), (&backend.address.to_string(), None));
    }
}

fn load(requests: u32, utilization: f64) -> String {
    format!("endpoint-load-metrics: TEXT rps_fractional={requests}, application_utilization={utilization}\r\n")
}

#[test]
fn load_reports_move_the_load() {
    let backends = Backend::several(&[&load(100, 0.1), &load(100, 0.5), &load(100, 0.5)]);
    let policy = "{ name = \"orca-weighted\", config = { blackout_period_ms = 0, weight_update_period_ms = 100 } }";
    let proxy = Proxy::start(&config(policy, &backends), |_| {});
    // By what they say, five sevenths of the requests are for the idle one; by turns it would be a third.
    eventually("the idle one has most", || (spread(&proxy, &backends, 60)[0] > 35).then_some(()));
    backends[0].says(&load(100, 0.5));
    backends[2].says(&load(100, 0.1));
    eventually("another one is idle", || (spread(&proxy, &backends, 60)[2] > 35).then_some(()));
    // Errors that they count themselves are load, too.
    backends[2].says("endpoint-load-metrics: TEXT rps_fractional=100, eps=90, application_utilization=0.1\r\n");
    eventually("its errors count", || (spread(&proxy, &backends, 60)[2] < 25).then_some(()));
}

fn state(queue: u32, latency_us: u32) -> String {
    let metrics = format!("named_metrics.queue_depth={queue}, named_metrics.latency_us={latency_us}");
    format!("endpoint-load-metrics: TEXT {metrics}\r\n")
}

#[test]
fn probes_find_who_is_slow() {
    let (fast, slow) = (state(0, 1000), state(5, 900_000));
    let backends = Backend::several(&[&fast, &fast, &slow]);
    let more = "[cluster.api.probe]\npath = \"/load\"\ntimeout_ms = 30000\n";
    let proxy = Proxy::start(&(config("\"prequal\"", &backends) + more), |_| {});
    eventually("all are probed", || backends.iter().all(|backend| backend.probes.load(Relaxed) > 0).then_some(()));
    // By chance this happens once in a thousand million times.
    let avoided = |slow: usize| move |spread: &Vec<u64>| spread[slow] <= 1;
    eventually("it is avoided", || Some(spread(&proxy, &backends, 60)).filter(avoided(2)));
    backends[2].says(&fast);
    backends[0].says(&slow);
    eventually("now another one is slow", || Some(spread(&proxy, &backends, 60)).filter(avoided(0)));
    assert!(metric(&proxy, &["sluicegate_probes_total", "passed"]) > 100.0);
    assert_eq!(metric(&proxy, &["sluicegate_policy_faults_total"]), 0.0);
}

/// Each worker learns by itself: one, so that the test knows what it knows.
fn with_one_worker(config: &str) -> Proxy {
    let dir = tempfile::TempDir::new().unwrap();
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n\
         [log]\nformat = \"json\"\naccess = false\n[policy]\ncache = false\npick_timeout_ms = 100\n{config}"
    );
    fs::write(dir.path().join("sluicegate.toml"), text).unwrap();
    Proxy::start_as_it_is(dir)
}

/// So many bytes that no other text has.
fn text(name: u32, bytes: usize) -> String {
    format!("This is said in conversation {name}, and nowhere else. ").chars().cycle().take(bytes).collect()
}

#[test]
fn prompts_that_begin_alike_go_to_one_endpoint_until_it_is_full() {
    let backends = Backend::several(&[""; 3]);
    let proxy = with_one_worker(&config("{ name = \"prefix-affinity\", config = { slack = 4 } }", &backends));
    let mut homes = Vec::new();
    for conversation in 0..20 {
        let mut said = text(conversation, 500);
        let home = post(proxy.address, &said).into_body();
        for turn in 1..5 {
            said += &text(1000 * conversation + turn, 200);
            let answer = post(proxy.address, &said).into_body();
            let counts = || {
                let faults = metric(&proxy, &["sluicegate_policy_faults_total"]);
                (faults, ["hits", "misses", "spills"].map(|name| counted(&proxy, name)))
            };
            assert_eq!(answer, home, "conversation {conversation}, turn {turn}: {:?}", counts());
        }
        homes.push(home);
    }
    homes.sort_unstable();
    homes.dedup();
    assert!(homes.len() > 1, "{homes:?}");
    assert_eq!([counted(&proxy, "hits"), counted(&proxy, "misses"), counted(&proxy, "spills")], [80.0, 20.0, 0.0]);

    // While its home answers nothing, requests pile up there, and then the others get some.
    let home = post(proxy.address, &text(0, 500)).into_body();
    let (mine, others): (Vec<_>, Vec<_>) = backends.iter().partition(|backend| backend.address.to_string() == home);
    let served = |backends: &[&Arc<Backend>]| backends.iter().map(|backend| backend.requests()).sum::<u64>();
    let (before, elsewhere) = (served(&mine), served(&others));
    mine[0].is_held.store(true, Relaxed);
    let address = proxy.address;
    let asked: Vec<_> = (0..12).map(|_| thread::spawn(move || post(address, &text(0, 500)))).collect();
    eventually("all have come", || (served(&mine) - before + served(&others) - elsewhere == 12).then_some(()));
    assert_eq!((served(&mine) - before, served(&others) - elsewhere), (4, 8));
    mine[0].is_held.store(false, Relaxed);
    assert!(asked.into_iter().all(|answer| answer.join().unwrap().status() == StatusCode::OK));
    assert!(counted(&proxy, "spills") >= 1.0);
}
