//! What policies ask for and hear of, with endpoints that speak HTTP/2.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use sluicegate_tests::eventually;
use tokio::{net::TcpListener, runtime::Builder};

use crate::contract::{REPORT, both, get, header, metric, start};

/// A server of HTTP/2 that reports its load, at the end of answers or in their heads. While it is held, it answers nothing.
#[derive(Debug, Default)]
struct Server {
    asked: AtomicU64,
    taken_back: AtomicU64,
    is_held: AtomicBool,
    reports_in_trailers: AtomicBool,
}

impl Server {
    fn start() -> (SocketAddr, Arc<Self>) {
        let server = Arc::<Self>::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, serving) = (listener.local_addr().unwrap(), Arc::clone(&server));
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let server = Arc::clone(&serving);
                    tokio::spawn(async move {
                        let mut connection = h2::server::handshake(stream).await.unwrap();
                        while let Some(Ok((_, respond))) = connection.accept().await {
                            tokio::spawn(Arc::clone(&server).answer(respond));
                        }
                    });
                }
            });
        });
        (address, server)
    }

    async fn answer(self: Arc<Self>, mut respond: SendResponse<Bytes>) {
        self.asked.fetch_add(1, Relaxed);
        if self.is_held.load(Relaxed) {
            let reset = poll_fn(|cx| respond.poll_reset(cx)).await;
            assert_eq!(reset.unwrap(), h2::Reason::CANCEL);
            self.taken_back.fetch_add(1, Relaxed);
            return;
        }
        let (name, value) = REPORT.trim_end().split_once(": ").unwrap();
        let report = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        let mut response = Response::new(());
        let in_trailers = self.reports_in_trailers.load(Relaxed);
        if !in_trailers {
            *response.headers_mut() = report.clone();
        }
        let mut stream = respond.send_response(response, false).unwrap();
        stream.send_data(Bytes::from_static(b"ok"), !in_trailers).unwrap();
        if in_trailers {
            stream.send_trailers(report).unwrap();
        }
    }
}

const HTTP2: &str = "protocol = \"http2\"\n";

#[test]
fn a_slow_stream_gets_a_second_one_beside_it() {
    both(|lane| {
        let ((slow, held), (quick, good)) = (Server::start(), Server::start());
        held.is_held.store(true, Relaxed);
        let proxy = start(lane, &[slow, quick], "", HTTP2);
        assert_eq!(get(&proxy, "to 0; hedge 1 5").body(), "ok");
        eventually("the first one is taken back", || (held.taken_back.load(Relaxed) == 1).then_some(()));
        assert_eq!(good.asked.load(Relaxed), 1);
        assert_eq!(metric(&proxy, &["sluicegate_hedges_total", "won"]), 1.0);
        // Its connection is none the worse for it.
        held.is_held.store(false, Relaxed);
        assert_eq!(get(&proxy, "to 0").body(), "ok");
        assert_eq!(held.asked.load(Relaxed), 2);
    });
}

#[test]
fn load_is_reported_in_heads_and_in_trailers() {
    for in_trailers in [false, true] {
        let (address, server) = Server::start();
        server.reports_in_trailers.store(in_trailers, Relaxed);
        let proxy = start("fast", &[address], "load_reports = true", HTTP2);
        let signals = || header(&get(&proxy, "tell"), "x-signals").to_owned();
        assert_eq!(signals(), "0 0 0 0 false");
        eventually("it is read", || (signals() == "500000 7 12500 1000 true").then_some(()));
    }
}

#[test]
fn probes_are_streams_too() {
    both(|lane| {
        let (address, server) = Server::start();
        let more = format!("{HTTP2}[cluster.api.probe]\npath = \"/load\"\ntimeout_ms = 30000\n");
        let proxy = start(lane, &[address], "", &more);
        eventually("an answer", || {
            (header(&get(&proxy, "probe 0; tell"), "x-probe") == "true Some(7) Some(900)").then_some(())
        });
        assert!(metric(&proxy, &["sluicegate_probes_total", "passed"]) >= 1.0);
        assert_eq!(metric(&proxy, &["sluicegate_probes_total", "failed"]), 0.0);
        assert!(server.asked.load(Relaxed) >= 2);
    });
}
