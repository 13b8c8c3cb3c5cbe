//! How connections to endpoints are secured, changed while some are kept and some are in use.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sluicegate_tests::{Authority, Proxy, eventually};
use tokio::{net::TcpListener, runtime::Builder, sync::Notify};
use tokio_rustls::TlsAcceptor;

use crate::h2::{
    frames::*,
    peer::{Door, Peer},
};

/// An endpoint that speaks either version of HTTP over TLS, and answers with the name that it was called by. `/held` is
/// answered when the test says so.
struct Endpoint {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    held: Arc<AtomicU64>,
    release: Arc<Notify>,
}

impl Endpoint {
    fn start(dir: &Path) -> Self {
        let certificate = CertificateDer::from_pem_file(dir.join("endpoint.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(dir.join("endpoint.key")).unwrap();
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            held: Arc::default(),
            release: Arc::default(),
        };
        let (connections, held, release) =
            (Arc::clone(&endpoint.connections), Arc::clone(&endpoint.held), Arc::clone(&endpoint.release));
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (listener, acceptor) =
                    (TcpListener::from_std(listener).unwrap(), TlsAcceptor::from(Arc::new(config)));
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, connections) = (acceptor.clone(), Arc::clone(&connections));
                    let (held, release) = (Arc::clone(&held), Arc::clone(&release));
                    tokio::spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        connections.fetch_add(1, Relaxed);
                        let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
                        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        let answer = service_fn(move |request: Request<Incoming>| {
                            let (name, held, release) = (name.clone(), Arc::clone(&held), Arc::clone(&release));
                            async move {
                                if request.uri().path() == "/held" {
                                    held.fetch_add(1, Relaxed);
                                    release.notified().await;
                                }
                                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(name)))
                            }
                        });
                        let io = TokioIo::new(stream);
                        if is_http2 {
                            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            let _ = server.serve_connection(io, answer).await;
                        } else {
                            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await;
                        }
                    });
                }
            });
        });
        endpoint
    }
}

/// All requests of a test go over one connection, so that one worker has them.
struct Client {
    peer: Peer,
    stream: u32,
}

impl Client {
    fn begin(&mut self, path: &str) -> u32 {
        let stream = self.stream;
        self.stream += 2;
        self.peer.send(&frame(HEADERS, END, stream, &head("GET", path, &[])));
        stream
    }

    /// The body of the answer on a stream.
    fn answer(&mut self, stream: u32) -> String {
        let data = self.peer.find("an answer", |frame| frame.kind == DATA && frame.stream == stream).unwrap();
        String::from_utf8(data.payload).unwrap()
    }

    fn get(&mut self) -> String {
        let stream = self.begin("/");
        self.answer(stream)
    }
}

fn check(protocol: &str) {
    let dir = tempfile::tempdir().unwrap();
    Authority::new(dir.path()).issue(dir.path(), "endpoint", &["one.test", "two.test"]);
    let other = tempfile::tempdir().unwrap();
    let _stranger = Authority::new(other.path());
    let endpoint = Endpoint::start(dir.path());
    let config = |ca: &Path, name: &str| {
        format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n[[route]]\ncluster = \"api\"\n[cluster.api]\n\
             endpoints = [\"{}\"]\nprotocol = \"{protocol}\"\ntls = {{ ca = {:?}, server_name = \"{name}\" }}\n",
            endpoint.address,
            ca.join("ca.pem")
        )
    };
    let proxy = Proxy::start(&config(dir.path(), "one.test"), |_| {});
    let mut client = Client { peer: Door::plain(proxy.addresses[1]).greet(&[]), stream: 1 };
    let change = |ca: &Path, name: &str| {
        let seen = proxy.log().len();
        proxy.reconfigure(&config(ca, name));
        proxy.wait_after(seen, "the change", |line| line["message"] == "configuration applied");
    };
    // A connection is kept when all of its answer has gone out, which the client may have a little before that.
    let keeps = |client: &mut Client, name: &str| {
        eventually("a connection is kept", || {
            let before = endpoint.connections.load(Relaxed);
            assert_eq!(client.get(), name);
            (endpoint.connections.load(Relaxed) == before).then_some(())
        });
    };
    keeps(&mut client, "one.test");
    // One is in use, and over HTTP/1.1 another one is kept.
    let held = client.begin("/held");
    eventually("it is under way", || (endpoint.held.load(Relaxed) == 1).then_some(()));
    assert_eq!(client.get(), "one.test");
    change(dir.path(), "two.test");
    assert_eq!(client.get(), "two.test", "the one that was kept is gone");
    endpoint.release.notify_one();
    assert_eq!(client.answer(held), "one.test", "what was under way goes on");
    // The one that was in use is idle now, and comes last.
    thread::sleep(Duration::from_millis(50));
    keeps(&mut client, "two.test");
    // Somebody else is trusted now: nobody who was let in before that is used.
    let held = client.begin("/held");
    eventually("it is under way", || (endpoint.held.load(Relaxed) == 2).then_some(()));
    change(other.path(), "two.test");
    let refused = client.get();
    assert!(refused.starts_with("sluicegate: can't connect") && refused.contains("certificate"), "{refused}");
    endpoint.release.notify_one();
    assert_eq!(client.answer(held), "two.test");
    thread::sleep(Duration::from_millis(50));
    assert!(client.get().starts_with("sluicegate: can't connect"));
    change(dir.path(), "one.test");
    assert_eq!(client.get(), "one.test");
}

#[test]
fn an_http1_connection_that_was_secured_otherwise_is_not_used_again() {
    check("http1");
}

#[test]
fn an_http2_connection_that_was_secured_otherwise_is_not_used_again() {
    check("http2");
}
