//! What takes thousands of options or trailers to say costs by how many they are, and not by the square of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use sluicegate_proxy::{ClusterSettings, UpstreamProtocol};

use crate::support::{Origin, Proxy, QUICK, Wire, ask};

const TIMES: usize = 8;

/// What is linear stays far below this, and the square of it is far above.
const TOO_MANY_TIMES: u32 = 30;

/// So often each is measured: the quickest round is the one in which the machine had nothing else to do.
const ROUNDS: u32 = 5;

/// For how long the proxy may go on to prove its innocence in more of them.
const APPEAL: Duration = Duration::from_secs(5);

/// Does something at two sizes.
async fn check(what: &str, small: usize, act: impl AsyncFn(usize)) {
    let mut best = [Duration::MAX; 2];
    let is_linear = |best: [Duration; 2]| best[1] < best[0] * TOO_MANY_TIMES;
    let (begin, mut round) = (Instant::now(), 0);
    while round == 0 || (round < ROUNDS || !is_linear(best)) && begin.elapsed() < APPEAL {
        for (best, count) in best.iter_mut().zip([small, small * TIMES]) {
            let start = Instant::now();
            act(count).await;
            *best = start.elapsed().min(*best);
        }
        round += 1;
    }
    assert!(is_linear(best), "{what}: {TIMES} times as many take {:?} instead of {:?}", best[1], best[0]);
}

/// So many different names, each of five letters.
fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("x{number:04x}"))
}

#[tokio::test]
async fn what_connection_names() {
    // What an endpoint names goes, however much that is; a client that names as much is refused.
    let origin = Origin::new(|mut wire, _| async move {
        let Some(request) = wire.request().await else { return };
        let count = request.header("x-count").unwrap().parse().unwrap();
        let named = names(count).collect::<Vec<_>>().join(",");
        wire.send(&format!("HTTP/1.1 200 OK\r\nconnection: {named}\r\nx0000: 1\r\ny: 2\r\n\r\n")).await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    check("options of an endpoint", 1000, async |count| {
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Count: {count}\r\nConnection: close\r\n\r\n");
        let mut client = proxy.connect().await;
        client.send(&request).await;
        let answer = client.head().await.unwrap();
        assert_eq!((answer.status(), answer.header("x0000"), answer.header("y")), (200, None, Some("2")));
        client.rest().await;
    })
    .await;
    check("options of a client", 1000, async |count| {
        let named = names(count).collect::<Vec<_>>().join(",");
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: {named}\r\n\r\n");
        assert_eq!(ask(&proxy, &request).await.status(), 400);
    })
    .await;
}

fn trailers(count: usize) -> HeaderMap {
    let fields = names(count).map(|name| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("1")));
    fields.collect()
}

/// An endpoint that speaks HTTP/2, and answers with as many trailers as it got.
async fn mirror() -> Origin {
    Origin::new(|Wire { stream, .. }, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(piece)) = body.data().await {
                    let _ = body.flow_control().release_capacity(piece.len());
                }
                let trailers = body.trailers().await.unwrap().unwrap_or_default();
                let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
                stream.send_data(Bytes::from_static(b"ok"), false).unwrap();
                stream.send_trailers(trailers).unwrap();
            });
        }
    })
    .await
}

/// Sends a body with trailers, and a head that announces many times as many: how many the answer has.
async fn send_trailers(proxy: &Proxy, count: usize) -> usize {
    let stream = tokio::net::TcpStream::connect(proxy.http2).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post("http://test/").header("te", "trailers");
    let request = request.header("trailer", "a,".repeat(16 * count));
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"a body"), false).unwrap();
    body.send_trailers(trailers(count)).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut answer = answer.into_body();
    while let Some(piece) = answer.data().await {
        let _ = answer.flow_control().release_capacity(piece.unwrap().len());
    }
    let trailers = answer.trailers().await.unwrap().unwrap_or_default();
    connection.abort();
    trailers.len()
}

#[tokio::test]
async fn trailers_to_and_of_http2_endpoints() {
    let origin = mirror().await;
    let settings = ClusterSettings { protocol: UpstreamProtocol::Http2, ..QUICK };
    let proxy = Proxy::new(&[origin.address], settings).await;
    check("trailers", 200, async |count| assert_eq!(send_trailers(&proxy, count).await, count)).await;
}

#[tokio::test]
async fn trailers_to_http1_endpoints() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    check("trailers", 200, async |count| assert_eq!(send_trailers(&proxy, count).await, 0)).await;
}
