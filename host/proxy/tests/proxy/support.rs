//! Origins that do as they are told, a proxy in front of them, and a client that sees every byte.

mod wire;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use sluicegate_core::{ClusterSnapshot, Endpoint, EndpointSpec, LiveArena, Signal};
use sluicegate_policy::{Clock, SeatHandle, seat};
use sluicegate_proxy::{
    ClusterSettings, ListenerSettings, ProbeSettings, RetrySettings, Route, RouteMatch, RouteTable, UpstreamProtocol,
    WorkerOptions, Workers, spawn_workers,
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

pub(crate) use wire::{Message, Wire};

/// Far more than anything here takes: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server whose connections are each handled by the same function.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) async fn new<F, H>(handle: H) -> Self
    where
        F: Future<Output = ()> + Send,
        H: Fn(Wire, usize) -> F + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (count, handle) = (Arc::clone(&connections), Arc::new(handle));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (number, handle) = (count.fetch_add(1, SeqCst), Arc::clone(&handle));
                tokio::spawn(async move { handle(Wire::new(stream), number).await });
            }
        });
        Self { address, connections }
    }

    /// Answers every request with its own head and body, and its address in `x-origin`.
    pub(crate) async fn echo() -> Self {
        let own = Arc::new(Mutex::new(String::new()));
        let name = Arc::clone(&own);
        let origin = Self::new(move |mut wire, _| {
            let name = name.lock().unwrap().clone();
            async move {
                while let Some(request) = wire.request().await {
                    let headers = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
                    let head = format!("{}\n{}\n", request.start, headers.collect::<String>());
                    let length = head.len() + request.body.len();
                    wire.send(&format!(
                        "HTTP/1.1 200 OK\r\nx-origin: {name}\r\nconnection: keep-alive\r\ncontent-length: {length}\r\n\r\n{head}"
                    ))
                    .await;
                    if wire.stream.write_all(&request.body).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        *own.lock().unwrap() = origin.address.to_string();
        origin
    }

    /// Answers every request with these bytes, and closes the connection after `per_connection` of them.
    pub(crate) async fn canned(response: &'static str, per_connection: usize) -> Self {
        Self::new(move |mut wire, _| async move {
            for _ in 0..per_connection {
                if wire.request().await.is_none() {
                    return;
                }
                wire.send(response).await;
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A proxy with one cluster, `test`, for all requests.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// Where clients may speak HTTP/2.
    pub(crate) http2: SocketAddr,
    pub(crate) workers: Option<Workers>,
    counts: &'static Counts,
    snapshot: Arc<ClusterSnapshot>,
    arena: LiveArena,
    pub(crate) clock: Clock,
    /// Kept, because a seat whose handle is gone takes in nothing more.
    pub(crate) _seats: Vec<SeatHandle>,
}

pub(crate) const QUICK: ClusterSettings = ClusterSettings {
    protocol: UpstreamProtocol::Http1,
    tls: None,
    proxy_protocol: None,
    connect_timeout: Duration::from_millis(500),
    response_timeout: Duration::from_millis(500),
    attempt_timeout: None,
    request_timeout: None,
    stream_idle_timeout: Duration::from_millis(500),
    ping_interval: Duration::from_secs(90),
    max_attempts: 3,
    retry: RetrySettings::DEFAULT,
    limits: None,
    max_idle_per_endpoint: 64,
    idle_timeout: Duration::from_secs(50),
    probe: ProbeSettings::DEFAULT,
};

impl Proxy {
    pub(crate) async fn new(endpoints: &[SocketAddr], settings: ClusterSettings) -> Self {
        Self::with_workers(1, endpoints, settings).await
    }

    pub(crate) async fn with_workers(count: u32, endpoints: &[SocketAddr], settings: ClusterSettings) -> Self {
        let clock = Clock::start();
        let counts: &'static Counts = Box::leak(Box::default());
        let thread_start =
            Arc::new(|_| Box::new(metrics::set_default_local_recorder(counts)) as Box<dyn std::any::Any>);
        let options = WorkerOptions { clock, access_log: true, limits: Arc::default(), thread_start };
        let plain = ListenerSettings::plain("127.0.0.1:0".parse().unwrap());
        let http2 = ListenerSettings { http2: true, ..plain.clone() };
        let workers = spawn_workers(count, &[plain, http2], &options).unwrap();
        let mut arena = LiveArena::default();
        let snapshot = Arc::new(ClusterSnapshot::empty("test").next(&specs(endpoints), &mut arena, clock.now()));
        let routes = vec![Route::to_cluster(RouteMatch::default(), "test")];
        let routes = Arc::new(RouteTable::new(routes));
        let (reports, _) = tokio::sync::mpsc::channel(1);
        let mut seats = Vec::new();
        let load = Arc::default();
        for handle in workers.handles() {
            let (seat, inbox) = seat(handle.worker(), 7, clock, reports.clone());
            seats.push(seat);
            let (settings, load) = (settings.clone(), Arc::clone(&load));
            handle.add_cluster("test".into(), settings, Arc::clone(&snapshot), inbox, load).await.unwrap();
            handle.set_routes(Arc::clone(&routes)).await.unwrap();
        }
        workers.start().await.unwrap();
        let (address, http2) = (workers.addresses()[0], workers.addresses()[1]);
        Self { address, http2, workers: Some(workers), snapshot, arena, clock, counts, _seats: seats }
    }

    pub(crate) async fn set_endpoints(&mut self, endpoints: &[SocketAddr]) {
        self.snapshot = Arc::new(self.snapshot.next(&specs(endpoints), &mut self.arena, self.clock.now()));
        for handle in self.workers.as_ref().unwrap().handles() {
            handle.set_endpoints("test".into(), Arc::clone(&self.snapshot)).await.unwrap();
        }
    }

    pub(crate) async fn connect(&self) -> Wire {
        Wire::connect(self.address).await
    }

    pub(crate) fn endpoint(&self, index: u32) -> &Arc<Endpoint> {
        self.snapshot.get(index).unwrap()
    }

    pub(crate) fn read(&self, index: u32, signal: Signal) -> u64 {
        self.endpoint(index).live.read(signal, self.clock.now())
    }

    /// The sum of all counters of this name that have all these labels.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let has = |key: &Key| labels.iter().all(|pair| key.labels().any(|label| (label.key(), label.value()) == *pair));
        let counters = self.counts.0.lock().unwrap();
        counters.iter().filter(|(key, _)| key.name() == name && has(key)).map(|(_, count)| count.load(SeqCst)).sum()
    }

    /// Waits until nothing is in flight any more.
    pub(crate) async fn settle(&self) {
        let idle = || self.snapshot.endpoints().iter().all(|endpoint| endpoint.live.in_flight() == 0);
        eventually("in flight returns to 0", idle).await;
    }
}

/// A recorder of counters.
#[derive(Default)]
struct Counts(Mutex<HashMap<Key, Arc<AtomicU64>>>);

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(key.clone()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn specs(endpoints: &[SocketAddr]) -> Vec<EndpointSpec> {
    endpoints.iter().map(|address| EndpointSpec::new(*address)).collect()
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Checks that the proxy answers by itself, with this status and label.
pub(crate) async fn check_failure(proxy: &Proxy, request: &str, status: u16, label: &str) -> Message {
    let mut client = proxy.connect().await;
    client.send(request).await;
    let response = client.response("GET").await.expect("a response");
    assert_eq!((response.status(), response.header("x-sluicegate-error")), (status, Some(label)), "{response:?}");
    assert!(response.text().starts_with("sluicegate: "), "{response:?}");
    proxy.settle().await;
    response
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// The answer to a request, on a connection of its own.
pub(crate) async fn ask(proxy: &Proxy, request: &str) -> Message {
    let mut client = proxy.connect().await;
    client.send(request).await;
    client.response("GET").await.unwrap()
}
