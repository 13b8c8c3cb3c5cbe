use std::{
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use metrics::{Counter, counter, with_local_recorder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::{Answer, Call, MAX_BODY_BYTES, Problem};

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

impl Api for Fake {
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            match call.path.first().map(String::as_str) {
                Some("bad") => Err(Problem::bad_request("no such thing")),
                _ => Ok(json!({ "changes": call.changes, "path": call.path, "body": call.body })),
            }
        })
    }
}

struct Server {
    address: SocketAddr,
    fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

async fn start() -> Server {
    start_with(Guard::of_loopback()).await
}

async fn start_with(guard: Guard) -> Server {
    let telemetry = Telemetry::new();
    let scrapes = with_local_recorder(&telemetry.shard(), || counter!("scrapes_total"));
    let fake = Arc::new(Fake { ready: true.into(), scrapes });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let desk = desk(telemetry, &fake, guard);
    let done = tokio::spawn(serve(Listener::Tcp(listener), desk, async { drop(stopped.await) }));
    Server { address, fake, stop, done }
}

fn desk(telemetry: Telemetry, fake: &Arc<Fake>, guard: Guard) -> Desk {
    let (status, api): (Arc<dyn Status>, Arc<dyn Api>) = (Arc::<Fake>::clone(fake), Arc::<Fake>::clone(fake));
    Desk { telemetry, status, api, guard: guard.into() }
}

/// Sends a request to the API, and returns the status and the answer.
async fn call(address: SocketAddr, request_line: &str, headers: &str, body: &str) -> (u16, Value) {
    let stream = TcpStream::connect(address).await.unwrap();
    call_on(stream, request_line, headers, body).await
}

async fn call_on(mut stream: impl Stream, request_line: &str, headers: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let head = format!("{request_line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // An early answer closes the connection.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// Sends a request and returns the whole answer, head and body.
async fn ask(address: SocketAddr, request_line: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request_line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
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

const LOCAL: &str = "host: 127.0.0.1:1\r\n";
const JSON_HERE: &str = "host: 127.0.0.1:1\r\ncontent-type: application/json; charset=utf-8\r\n";

#[tokio::test]
async fn calls_reach_the_api_and_come_back_as_json() {
    let server = start().await;
    let (status, answer) = call(server.address, "GET /policies/a%2Fb/history?x", LOCAL, "").await;
    assert_eq!((status, answer), (200, json!({ "changes": false, "path": ["a/b", "history"], "body": {} })));
    let (status, answer) = call(server.address, "POST /policies/a/swap", JSON_HERE, r#"{"x": 1}"#).await;
    assert_eq!((status, answer), (200, json!({ "changes": true, "path": ["a", "swap"], "body": { "x": 1 } })));
    assert_eq!(call(server.address, "POST /policies/a/swap", JSON_HERE, "").await.1["body"], json!({}));
}

#[tokio::test]
async fn bad_calls_get_readable_errors() {
    let server = start().await;
    let large = format!("{{\"x\": \"{}\"}}", "y".repeat(MAX_BODY_BYTES));
    let elsewhere = "host: evil.test\r\ncontent-type: application/json\r\n";
    let page = "host: localhost\r\norigin: http://evil.test\r\ncontent-type: application/json\r\n";
    for (line, headers, body, status, code) in [
        ("POST /policies/a/swap", LOCAL, "{}", 415, "content_type"),
        ("POST /policies/a/swap", "host: [::1]\r\ncontent-type: text/plain\r\n", "{}", 415, "content_type"),
        ("POST /policies/a/swap", JSON_HERE, "{", 400, "bad_request"),
        ("POST /policies/a/swap", JSON_HERE, "[]", 400, "bad_request"),
        ("POST /policies/a/swap", JSON_HERE, &large, 413, "too_large"),
        ("DELETE /policies/a", LOCAL, "", 405, "method"),
        ("POST /policies/%zz/swap", JSON_HERE, "{}", 400, "bad_request"),
        ("GET /policies/bad", LOCAL, "", 400, "bad_request"),
        ("POST /policies/a/swap", elsewhere, "{}", 403, "host"),
        ("GET /policies", elsewhere, "", 403, "host"),
        ("GET /status", elsewhere, "", 403, "host"),
        ("POST /policies/a/swap", page, "{}", 403, "origin"),
        ("OPTIONS /policies/a/swap", page, "", 403, "origin"),
    ] {
        let (found, answer) = call(server.address, line, headers, body).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{line}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() > 10, "{answer}");
    }
}

#[tokio::test]
async fn only_probes_and_scrapers_get_past_a_token_without_it() {
    let server = start_with(Guard::of_loopback().with_token("a-long-secret")).await;
    let (status, answer) = call(server.address, "POST /policies/a/promote", JSON_HERE, "{}").await;
    assert_eq!((status, &answer["error"]["code"]), (401, &json!("token")));
    let wrong = format!("{JSON_HERE}authorization: Bearer a-long-secreT\r\n");
    assert_eq!(call(server.address, "POST /policies/a/promote", &wrong, "{}").await.0, 401);
    let right = format!("{JSON_HERE}authorization: Bearer a-long-secret\r\n");
    assert_eq!(call(server.address, "POST /policies/a/promote", &right, "{}").await.0, 200);
    for line in ["GET /policies/a", "GET /status"] {
        assert_eq!(call(server.address, line, LOCAL, "").await.0, 401);
        assert_eq!(call(server.address, line, &right, "").await.0, 200);
    }
    for line in ["GET /metrics", "GET /ready"] {
        check(&server, line, 200, "").await;
    }
}

#[tokio::test]
async fn a_socket_is_served_like_an_address() {
    let dir = std::env::temp_dir().join(format!("sluicegate-admin-{}", std::process::id()));
    let _ = std::fs::remove_file(&dir);
    let listener = Listener::Unix(UnixListener::bind(&dir).unwrap());
    let fake = Arc::new(Fake { ready: true.into(), scrapes: Counter::noop() });
    let (stop, stopped) = oneshot::channel::<()>();
    let desk = desk(Telemetry::new(), &fake, Guard::of_socket());
    let done = tokio::spawn(serve(listener, desk, async { drop(stopped.await) }));
    let stream = UnixStream::connect(&dir).await.unwrap();
    let headers = "host: anything\r\ncontent-type: application/json\r\n";
    assert_eq!(call_on(stream, "POST /policies/a/promote", headers, "{}").await.0, 200);
    drop(stop);
    timeout(GRACE, done).await.unwrap().unwrap();
    std::fs::remove_file(&dir).unwrap();
}
