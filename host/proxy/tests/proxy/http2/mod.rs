//! Endpoints that speak HTTP/2, and clients that do.

mod bodies;
mod clients;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response, StatusCode};
use sluicegate_proxy::{ClusterSettings, RetryCondition, RetryOn, RetrySettings, UpstreamProtocol};

use crate::support::{GET, Origin, Proxy, QUICK, Wire, ask, check_failure};

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";

/// An HTTP/2 server of a few frames: what it does after the head of each request, by the connection's number.
async fn http2(react: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static) -> Origin {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let react = Arc::new(react);
    Origin::new(move |Wire { mut stream, .. }, number| {
        let react = Arc::clone(&react);
        async move {
            let mut preface = [0; 24];
            if stream.read_exact(&mut preface).await.is_err() {
                return;
            }
            // Settings: none.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                stream.read_exact(&mut payload).await.unwrap();
                let id = u32::from_be_bytes(head[5..].try_into().unwrap());
                // The end of a request: of its head, or of its body.
                if matches!(head[3], 0 | 1) && head[4] & 1 == 1 && stream.write_all(&react(number, id)).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// A frame with one number in it.
fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, if kind == 1 { 5 } else { 0 }];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `:status: 200`, from HPACK's static table, and the end of the stream.
fn ok(stream: u32) -> Vec<u8> {
    frame(1, stream, &[0x88])
}

fn http2_settings() -> ClusterSettings {
    ClusterSettings { protocol: UpstreamProtocol::Http2, ..QUICK }
}

#[tokio::test]
async fn what_an_http2_endpoint_refuses_goes_elsewhere_whatever_it_is() {
    let refuses = http2(|_, id| frame(3, id, &7_u32.to_be_bytes())).await;
    let good = http2(|_, id| ok(id)).await;
    let proxy = Proxy::new(&[refuses.address, good.address], http2_settings()).await;
    for request in [GET, POST].repeat(10) {
        assert_eq!(ask(&proxy, request).await.status(), 200);
    }
    assert!(proxy.count("sluicegate_retries_total", &[("cause", "refused_stream")]) > 0);
    let proxy = Proxy::new(&[refuses.address], http2_settings()).await;
    check_failure(&proxy, POST, 503, "refused_stream").await;
}

#[tokio::test]
async fn what_an_http2_endpoint_has_not_looked_at_before_it_closes_is_sent_again() {
    // The first connection says farewell to its second request: it has looked at no more than the first.
    let farewell: Vec<u8> = [1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    let origin = http2(move |number, id| match (number, id) {
        (0, 3) => frame(7, 0, &farewell),
        _ => ok(id),
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    for request in [GET, POST, POST, GET] {
        assert_eq!(ask(&proxy, request).await.status(), 200);
    }
    assert_eq!(origin.connections(), 2);
    assert_eq!(proxy.count("sluicegate_retries_total", &[]), 0, "the same endpoint got it: that is no retry");
}

#[tokio::test]
async fn a_dead_http2_connection_is_left() {
    // The first connection answers one request and nothing more.
    let origin = || http2(|number, id| if number == 0 && id > 1 { Vec::new() } else { ok(id) });
    // It does not answer pings either, so the request that waits ends long before its time.
    let first = origin().await;
    let patient = ClusterSettings {
        ping_interval: Duration::from_millis(100),
        response_timeout: Duration::from_secs(20),
        ..http2_settings()
    };
    let proxy = Proxy::new(&[first.address], patient).await;
    assert_eq!(ask(&proxy, GET).await.status(), 200);
    check_failure(&proxy, GET, 502, "upstream_closed").await;
    assert_eq!(ask(&proxy, GET).await.status(), 200);
    // Without pings: after the first request that nothing came for, the next one goes over another connection.
    let second = origin().await;
    let proxy = Proxy::new(&[second.address], http2_settings()).await;
    assert_eq!(ask(&proxy, GET).await.status(), 200);
    check_failure(&proxy, GET, 504, "response_timeout").await;
    assert_eq!(ask(&proxy, GET).await.status(), 200);
    assert_eq!(second.connections(), 2);
}

/// A client's HTTP/2 connection.
async fn http2_client(proxy: &Proxy) -> hyper::client::conn::http2::SendRequest<String> {
    let stream = tokio::net::TcpStream::connect(proxy.http2).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn a_grpc_call_is_tried_again_after_a_status_that_was_named() {
    // `:status: 200` and `grpc-status: 14` or `0`: a name and a value that stand in no table.
    let answers = |status: &'static str| {
        let fields = [&[0x88, 0, 11][..], b"grpc-status", &[status.len() as u8], status.as_bytes()].concat();
        http2(move |_, id| frame(1, id, &fields))
    };
    let (bad, good) = (answers("14").await, answers("0").await);
    for (condition, retries) in [(14, true), (8, false)] {
        let retry =
            RetrySettings { on: RetryOn::NONE.with(RetryCondition::GrpcStatus(condition)), ..RetrySettings::DEFAULT };
        let settings = ClusterSettings { retry, ..http2_settings() };
        let proxy = Proxy::new(&[bad.address, good.address], settings).await;
        let mut client = http2_client(&proxy).await;
        let mut failed = 0;
        for _ in 0..20 {
            let call = http::Request::post("http://test/").header("content-type", "application/grpc");
            let response = client.send_request(call.body("hello".into()).unwrap()).await.unwrap();
            failed += usize::from(response.headers()["grpc-status"] != "0");
        }
        assert_eq!(failed == 0, retries, "{failed}");
        assert_eq!(proxy.count("sluicegate_retries_total", &[("cause", "grpc_status")]) > 0, retries);
    }
}

/// An HTTP/2 server that does this with each request, in a task of its own.
async fn server<F, H>(handle: H) -> Origin
where
    F: Future<Output = ()> + Send + 'static,
    H: Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
{
    let handle = Arc::new(handle);
    Origin::new(move |Wire { stream, .. }, _| {
        let handle = Arc::clone(&handle);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(handle(request, respond));
            }
        }
    })
    .await
}

fn answer(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

/// All of a body, however it is cut; none if it breaks off.
async fn whole(body: &mut h2::RecvStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        let _ = body.flow_control().release_capacity(piece.len());
        all.extend_from_slice(&piece);
    }
    Some(all)
}

#[tokio::test]
async fn early_hints_of_an_http2_endpoint_reach_the_client() {
    let origin = server(|request, mut respond| async move {
        let hints = if request.uri().path() == "/flood" { 100 } else { 2 };
        for hint in 0..hints {
            let hint = Response::builder().status(103).header("link", format!("</{hint}.css>"));
            if respond.send_informational(hint.body(()).unwrap()).is_err() {
                return;
            }
        }
        let _ = respond.send_response(answer(204), true);
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    for expected in ["</0.css>", "</1.css>"] {
        let hints = client.head().await.unwrap();
        assert_eq!((hints.status(), hints.header("link")), (103, Some(expected)));
    }
    assert_eq!(client.response("GET").await.unwrap().status(), 204);
    let stream = tokio::net::TcpStream::connect(proxy.http2).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (mut answer, _) = client.send_request(Request::get("http://test/").body(()).unwrap(), true).unwrap();
    for expected in ["</0.css>", "</1.css>"] {
        let hints = std::future::poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((hints.status(), &hints.headers()["link"]), (StatusCode::EARLY_HINTS, &expected.parse().unwrap()));
    }
    assert_eq!(answer.await.unwrap().status(), 204);
    // More than a few would be held for a client that reads slowly.
    let mut client = proxy.connect().await;
    client.send("GET /flood HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let mut head = client.head().await.unwrap();
    while head.status() == 103 {
        head = client.head().await.unwrap();
    }
    assert_eq!((head.status(), head.header("x-sluicegate-error")), (502, Some("bad_response")));
}

#[tokio::test]
async fn a_connection_that_says_farewell_to_new_requests_is_left_while_old_ones_go_on() {
    // The first connection's first answer does not end; with the second request it says that it takes no more.
    let farewell: Vec<u8> = [1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    let origin = http2(move |number, id| match (number, id) {
        (0, 1) => {
            let mut head = ok(id);
            // Without the end of the stream.
            head[4] = 4;
            head
        }
        (0, _) => frame(7, 0, &farewell),
        _ => ok(id),
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    let mut long = proxy.connect().await;
    long.send(GET).await;
    assert_eq!(long.head().await.unwrap().status(), 200);
    for request in [POST, GET, POST, GET] {
        assert_eq!(ask(&proxy, request).await.status(), 200);
    }
    assert_eq!(origin.connections(), 2);
    assert_eq!(proxy.read(0, sluicegate_core::Signal::InFlight), 1, "the long one goes on");
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_while_its_connection_answers_pings() {
    let origin = server(|_, mut respond| async move {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let _ = respond.send_response(answer(204), true);
    })
    .await;
    let settings = ClusterSettings {
        // On a busy machine, whoever answers may have to wait for a processor.
        ping_interval: Duration::from_millis(250),
        response_timeout: Duration::from_secs(20),
        ..http2_settings()
    };
    let proxy = Proxy::new(&[origin.address], settings).await;
    for _ in 0..2 {
        let answer = ask(&proxy, GET).await;
        assert_eq!(answer.status(), 204, "{answer:?}");
        // Nobody pings while nobody waits.
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn what_an_http2_endpoint_hears_of_a_request() {
    let origin = server(|request, mut respond| async move {
        let length = request.headers().get("content-length").map_or("none", |length| length.to_str().unwrap());
        let authority = request.uri().authority().map_or("nobody", |authority| authority.as_str());
        let said = format!("{} {} {authority} {length}", request.method(), request.uri().path());
        let mut stream = respond.send_response(answer(200), false).unwrap();
        stream.send_data(said.into(), true).unwrap();
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    for (request, said) in [
        ("GET /a HTTP/1.1\r\nHost: test\r\n\r\n", "GET /a test none"),
        ("GET /a HTTP/1.1\r\nHost: test:8080\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "GET /a test:8080 none"),
        ("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n", "POST /a test 0"),
        ("POST /a HTTP/1.1\r\nHost: test\r\n\r\n", "POST /a test 0"),
        ("PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok", "PUT /a test 2"),
        ("DELETE /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "DELETE /a test none"),
        // Without a host, the path is still the path.
        ("GET /a HTTP/1.1\r\nHost:\r\n\r\n", "GET /a nobody none"),
    ] {
        let answer = ask(&proxy, request).await;
        assert_eq!((answer.status(), answer.text()), (200, said), "{request}");
    }
}

#[tokio::test]
async fn who_waits_for_a_connection_that_does_not_come_waits_once() {
    // A queue of one that is full: what else comes is not answered.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let _queued: Vec<_> = std::iter::from_fn(connect).collect();
    let settings = ClusterSettings { max_attempts: 1, ..http2_settings() };
    let proxy = Proxy::new(&[address], settings).await;
    let began = std::time::Instant::now();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.connect().await;
        client.send(GET).await;
        clients.push(client);
    }
    for client in &mut clients {
        let answer = client.response("GET").await.unwrap();
        assert_eq!(answer.header("x-sluicegate-error"), Some("connect_timeout"));
    }
    let waited = began.elapsed();
    assert!(waited < 10 * QUICK.connect_timeout, "{waited:?}");
}
