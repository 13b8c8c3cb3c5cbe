//! A ledger: every request has a number, which its origin writes down and its client looks for in the answer. While
//! everything changes that can change, no request is lost, doubled, crossed over or invented.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use sluicegate_tests::{Proxy, eventually, wasm};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

/// Requests by number, and how often they came.
type Ledger = Arc<Mutex<BTreeMap<u64, u32>>>;

const CLIENTS: usize = 8;

/// An origin that writes down every request, and sends its number and its body back.
fn origin(ledger: &Ledger) -> SocketAddr {
    let (ledger, (tell, address)) = (Arc::clone(ledger), std::sync::mpsc::channel());
    thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let ledger = Arc::clone(&ledger);
                let service = service_fn(move |request| write_down(Arc::clone(&ledger), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
    });
    address.recv().unwrap()
}

async fn write_down(ledger: Ledger, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let number: u64 = request.uri().path().trim_start_matches('/').parse().unwrap();
    *ledger.lock().unwrap().entry(number).or_default() += 1;
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::new(Full::new([format!("{number} ").as_bytes(), &body].concat().into())))
}

/// Numbers that clients have sent, and what went wrong.
#[derive(Default)]
struct Sent {
    next: AtomicU64,
    stop: AtomicBool,
    failed: Mutex<Vec<String>>,
}

/// Sends one request after the other on a kept-alive connection, until it is told that the connection ends.
async fn client(address: SocketAddr, sent: Arc<Sent>) {
    let mut connection = None;
    while !sent.stop.load(Relaxed) {
        let number = sent.next.fetch_add(1, Relaxed);
        match send(address, &mut connection, number).await {
            Ok(true) => {}
            Ok(false) => connection = None,
            Err(error) => {
                connection = None;
                sent.failed.lock().unwrap().push(format!("{number}: {error}"));
            }
        }
    }
}

/// Says whether the connection may be used again.
async fn send(
    address: SocketAddr,
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    number: u64,
) -> Result<bool, String> {
    let text = |error: hyper::Error| format!("{error:?}");
    if connection.is_none() {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        tokio::spawn(driver);
        *connection = Some(sender);
    }
    let sender = connection.as_mut().unwrap();
    // Every second one is a POST, which nobody may send twice, with a body of its own.
    let (method, body) =
        if number.is_multiple_of(2) { ("GET", String::new()) } else { ("POST", "x".repeat(number as usize % 5000)) };
    let request = Request::builder().method(method).uri(format!("/{number}")).header("host", "test");
    sender.ready().await.map_err(text)?;
    let response = sender.send_request(request.body(Full::from(body.clone())).unwrap()).await.map_err(text)?;
    let (head, answer) = response.into_parts();
    let answer = answer.collect().await.map_err(text)?.to_bytes();
    if head.status != 200 || answer != format!("{number} {body}") {
        return Err(format!("{}: {:.100}", head.status, String::from_utf8_lossy(&answer)));
    }
    Ok(head.headers.get("connection").is_none_or(|value| value != "close"))
}

#[test]
fn none_is_lost_doubled_crossed_over_or_invented() {
    let ledger = Ledger::default();
    let origins: Vec<SocketAddr> = (0..4).map(|_| origin(&ledger)).collect();
    let config = |origins: &[SocketAddr], route: &str| {
        let endpoints: Vec<String> = origins.iter().map(|origin| format!("\"{origin}\"")).collect();
        format!(
            "[[route]]\ncluster = \"api\"\n{route}[cluster.api]\npolicy = {{ file = \"policy.wasm\" }}\nendpoints = [{}]\n",
            endpoints.join(", ")
        )
    };
    let policies = [wasm::builtin("p2c", "fast"), wasm::builtin("round-robin", "portable")];
    let mut proxy = Proxy::start(&config(&origins[..2], ""), |dir| {
        fs::write(dir.join("policy.wasm"), &policies[0]).unwrap();
    });
    let (address, sent) = (proxy.address, Arc::new(Sent::default()));
    let clients = thread::spawn({
        let sent = Arc::clone(&sent);
        move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(client(address, Arc::clone(&sent)))).collect();
                for client in clients {
                    client.await.unwrap();
                }
            });
        }
    });
    let some_more = || {
        let before = ledger.lock().unwrap().len();
        eventually("more requests", || (ledger.lock().unwrap().len() > before + 300).then_some(()));
    };
    for turn in 0..3_usize {
        for (from, to) in [(0, 4), (2, 4), (1, 3), (0, 2)] {
            let route = format!("[[route]]\nhost = \"turn{turn}.test\"\npath = \"/{from}\"\ncluster = \"api\"\n");
            let seen = proxy.log().len();
            proxy.reconfigure(&config(&origins[from..to], &route));
            proxy.wait_after(seen, "applied", |line| line["message"] == "configuration applied");
            some_more();
        }
        let seen = proxy.log().len();
        fs::write(proxy.path("policy.wasm"), &policies[(turn + 1) % 2]).unwrap();
        proxy.wait_after(seen, "a swap", |line| line["message"] == "policy in service");
        some_more();
        let (code, new) = proxy.upgrade();
        assert_eq!(code, Some(0));
        proxy = new;
        some_more();
    }
    sent.stop.store(true, Relaxed);
    clients.join().unwrap();
    let (ledger, count) = (ledger.lock().unwrap(), sent.next.load(Relaxed));
    assert_eq!(*sent.failed.lock().unwrap(), Vec::<String>::new(), "of {count} requests");
    assert!(ledger.keys().copied().eq(0..count), "{} of {count} requests arrived", ledger.len());
    let doubled: Vec<_> = ledger.iter().filter(|(_, times)| **times != 1).collect();
    assert_eq!(doubled, []);
}
