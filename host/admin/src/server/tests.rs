use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use metrics::{Counter, counter, with_local_recorder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;

struct Fake {
    ready: AtomicBool,
    scrapes: Counter,
}

impl Status for Fake {
    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Relaxed) { Ok(()) } else { Err("draining".to_owned()) }
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({ "clusters": ["a"] })
    }

    fn before_scrape(&self) {
        self.scrapes.increment(1);
    }
}

struct Server {
    address: SocketAddr,
    fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

async fn start() -> Server {
    let telemetry = Telemetry::new();
    let scrapes = with_local_recorder(&telemetry.shard(), || counter!("scrapes_total"));
    let fake = Arc::new(Fake { ready: true.into(), scrapes });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let status: Arc<dyn Status> = Arc::<Fake>::clone(&fake);
    let done = tokio::spawn(serve(listener, telemetry, status, async { drop(stopped.await) }));
    Server { address, fake, stop, done }
}

/// Sends a request and returns the whole answer, head and body.
async fn ask(address: SocketAddr, request_line: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request_line} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Checks the status and the beginning of the body, and returns the head.
async fn check(server: &Server, request_line: &str, status: u16, body_starts: &str) -> String {
    let (head, body) = ask(server.address, request_line).await;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request_line}: {head}");
    assert!(body.starts_with(body_starts), "{request_line}: {body}");
    head
}

#[tokio::test]
async fn routes() {
    let server = start().await;
    check(&server, "GET /", 200, "sluicegate admin\n").await;
    check(&server, "GET /ready", 200, "ready\n").await;
    server.fake.ready.store(false, Relaxed);
    check(&server, "GET /ready", 503, "draining\n").await;
    assert!(check(&server, "GET /status?x=1", 200, "{\n  \"clusters\"").await.contains("application/json"));
    check(&server, "GET /nothing", 404, "not found").await;
    check(&server, "POST /nothing", 404, "not found").await;
    assert!(check(&server, "POST /metrics", 405, "only").await.contains("allow: GET, HEAD"));
}

#[tokio::test]
async fn metrics_are_fresh_and_announced_as_what_they_are() {
    let server = start().await;
    let head = check(&server, "GET /metrics", 200, "# TYPE scrapes_total counter\nscrapes_total 1\n").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    check(&server, "GET /metrics", 200, "# TYPE scrapes_total counter\nscrapes_total 2\n").await;
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = start().await;
    let (head, body) = ask(server.address, "HEAD /").await;
    assert!(head.contains(&format!("content-length: {}", INDEX.len())), "{head}");
    assert_eq!(body, "");
}

#[tokio::test]
async fn rubbish_and_lost_connections_do_not_end_it() {
    let server = start().await;
    for rubbish in ["\r\n\r\n", "GET", "\u{0}\u{1}\u{2}\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(rubbish.as_bytes()).await.unwrap();
    }
    check(&server, "GET /ready", 200, "ready\n").await;
}

#[tokio::test]
async fn connections_past_the_limit_wait_for_their_turn() {
    let server = start().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let waiting = tokio::spawn(ask(server.address, "GET /ready"));
    let early = timeout(Duration::from_millis(50), async {
        while !waiting.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(early.await.is_err(), "served although all connections are taken");
    idle.pop();
    assert_eq!(timeout(GRACE, waiting).await.unwrap().unwrap().1, "ready\n");
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_the_listener() {
    let server = start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    check(&server, "GET /ready", 200, "ready\n").await;
    server.stop.send(()).unwrap();
    timeout(GRACE, server.done).await.unwrap().unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_slow_head_is_given_up_on() {
    let server = start().await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /ready HTTP/1.1\r\nhost:").await.unwrap();
    check(&server, "GET /ready", 200, "ready\n").await;
    tokio::time::pause();
    tokio::time::advance(HEADER_TIMEOUT).await;
    tokio::time::resume();
    let mut answer = String::new();
    timeout(GRACE, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}
