//! WebSocket over HTTP/2 (RFC 8441), from clients and to endpoints.

use std::{
    future::poll_fn,
    io::{Read, Write},
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{self, SendRequest},
    ext::Protocol,
    server::{self, SendResponse},
};
use http::{Method, Request, Response, Version};
use sluicegate_tests::{Echo, Origin, Proxy, eventually, peers};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    time::timeout,
};

/// PyPI's `websockets`, which refuses a client that names an origin.
const ECHO: &str = "import asyncio, websockets
async def echo(socket):
    async for message in socket: await socket.send(message)
async def main():
    async with websockets.serve(echo, '127.0.0.1', 0, subprotocols=['chat'], origins=[None]) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())";

/// Opens a WebSocket, or at `/bad` something else, and says and hears nothing after that.
const SILENT: &str = "import base64, hashlib, socket
server, kept = socket.create_server(('127.0.0.1', 0)), []
print(server.getsockname()[1], flush=True)
while True:
    peer, _ = server.accept()
    kept.append(peer)
    head = peer.recv(65536).decode()
    key = head.lower().split('sec-websocket-key: ')
    key = head[len(key[0]) + 19:].split('\\r')[0] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
    accept = 'x' if '/bad' in head else base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    peer.send(f'HTTP/1.1 101 Yes\\r\\nupgrade: websocket\\r\\nconnection: upgrade\\r\\n'
              f'sec-websocket-accept: {accept}\\r\\n\\r\\n'.encode())";

fn start(endpoint: SocketAddr, cluster: &str) -> Proxy {
    let config = format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{endpoint}\"]\n{cluster}\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n"
    );
    Proxy::start(&config, |_| {})
}

/// A connection whose server takes WebSockets.
async fn connect(proxy: &Proxy) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.addresses[1]).await.unwrap();
    let (client, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    while !client.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        client = client.ready().await.unwrap();
    }
    client
}

type Opened = (Response<RecvStream>, SendStream<Bytes>);

async fn ask(proxy: &Proxy, protocol: Option<&'static str>, path: &str, header: (&str, &str)) -> Opened {
    let request = Request::connect(format!("http://test{path}"))
        .version(Version::HTTP_2)
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .header(header.0, header.1);
    let mut request = match protocol {
        Some(protocol) => request.extension(Protocol::from_static(protocol)).body(()).unwrap(),
        None => request.body(()).unwrap(),
    };
    if protocol.is_none() {
        *request.uri_mut() = "test:80".parse().unwrap();
    }
    let (answer, stream) = connect(proxy).await.send_request(request, false).unwrap();
    (timeout(Duration::from_secs(20), answer).await.expect("an answer").unwrap(), stream)
}

async fn open(proxy: &Proxy) -> Opened {
    let opened = ask(proxy, Some("websocket"), "/chat", ("x-nothing", "")).await;
    assert_eq!(opened.0.status(), 200);
    opened
}

/// The next so many bytes; fewer at the end.
async fn read(stream: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let piece = timeout(Duration::from_secs(20), stream.data()).await.expect("bytes");
        let Some(Ok(piece)) = piece else { break };
        stream.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// A frame as clients send it, masked (RFC 6455, section 5.2). `length` is the payload's.
fn masked(kind: u8, length: &[u8], payload: &[u8]) -> Bytes {
    let mask = [1, 2, 3, 4];
    let payload: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    [&[kind, length[0] | 0x80], &length[1..], &mask, &payload].concat().into()
}

fn run(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// How many requests the endpoint has.
fn in_flight(proxy: &Proxy) -> String {
    // On a thread of its own, because it has a runtime of its own.
    let (_, metrics) = thread::scope(|scope| scope.spawn(|| proxy.admin("/metrics")).join().unwrap());
    let line = metrics.lines().find(|line| line.starts_with("sluicegate_endpoint_in_flight{"));
    line.and_then(|line| line.rsplit(' ').next()).unwrap_or("none").to_owned()
}

#[test]
fn text_goes_both_ways_and_an_end_is_an_end() {
    if !peers::has("python3") || !peers::has_module("websockets") {
        return;
    }
    let server = peers::Python::serve(ECHO);
    let proxy = start(server.address, "");
    run(async {
        let (answer, mut stream) = open(&proxy).await;
        assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
        for name in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(!answer.headers().contains_key(name), "{name}");
        }
        let mut body = answer.into_body();
        stream.send_data(masked(0x81, &[5], b"hello"), false).unwrap();
        assert_eq!(read(&mut body, 7).await, b"\x81\x05hello");
        // More than fits into a window.
        let (long, length) = (vec![b'x'; 300_000], [&[127][..], &300_000u64.to_be_bytes()].concat());
        stream.send_data(masked(0x81, &length, &long), false).unwrap();
        assert_eq!(read(&mut body, 300_010).await, [&[0x81], &length[..], &long].concat());
        stream.send_data(masked(0x88, &[2], &1000u16.to_be_bytes()), false).unwrap();
        assert_eq!(read(&mut body, 4).await, b"\x88\x02\x03\xe8");
        assert_eq!(read(&mut body, 1).await, b"", "the endpoint ends it");
    });
    eventually("its end", || (in_flight(&proxy) == "0").then_some(()));
}

#[test]
fn a_length_says_nothing_where_there_is_no_body() {
    let origin = Echo::start();
    let proxy = start(origin.address, "");
    run(async {
        // The endpoint would wait for so many bytes, and take the next request on the connection for them.
        ask(&proxy, Some("websocket"), "/", ("content-length", "5000")).await;
    });
    let asked = origin.asked();
    assert!(asked.len() == 1 && asked[0].contains("upgrade: websocket"), "{asked:?}");
    assert!(!asked[0].contains("content-length"), "{asked:?}");
}

#[test]
fn what_is_refused_stays_refused() {
    if !peers::has("python3") || !peers::has_module("websockets") {
        return;
    }
    let (server, silent, plain) = (peers::Python::serve(ECHO), peers::Python::serve(SILENT), Origin::several(1));
    let proxy = start(server.address, "");
    let check = async |proxy: &Proxy, protocol, path: &str, header: (&str, &str), status: u16, text: &str| {
        let (answer, _stream) = ask(proxy, protocol, path, header).await;
        assert_eq!(answer.status(), status, "{text}");
        let body = read(&mut answer.into_body(), 1000).await;
        assert!(String::from_utf8_lossy(&body).contains(text), "{body:?}");
    };
    let (websocket, none) = (Some("websocket"), ("x-nothing", ""));
    run(async {
        check(&proxy, websocket, "/", ("origin", "http://evil"), 403, "invalid Origin").await;
        check(&proxy, Some("connect-udp"), "/", none, 501, "a protocol other than websocket is not supported").await;
        check(&proxy, None, "", none, 501, "CONNECT is not supported").await;
        let neither = "neither a WebSocket handshake nor a refusal";
        check(&start(silent.address, ""), websocket, "/bad", none, 502, neither).await;
        check(&start(plain[0].address, ""), websocket, "/", none, 502, neither).await;
        let http2 = start(http2_endpoint(false), "protocol = \"http2\"");
        let text = "WebSocket to an endpoint that does not take it over HTTP/2 is not supported";
        check(&http2, websocket, "/", none, 501, text).await;
    });
}

/// An endpoint that speaks HTTP/2. WebSockets that it takes say what they hear, to their end; others are refused.
fn http2_endpoint(takes_websockets: bool) -> SocketAddr {
    let (tell, address) = mpsc::channel();
    thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut builder = server::Builder::new();
                    if takes_websockets {
                        builder.enable_connect_protocol();
                    }
                    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(say_it_again(request, respond));
                    }
                });
            }
        });
    });
    address.recv().unwrap()
}

async fn say_it_again(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let is_websocket = request.extensions().get::<Protocol>().is_some_and(|to| to.as_str() == "websocket");
    let (uri, headers) = (request.uri(), request.headers());
    let is_right = request.method() == Method::CONNECT
        && (uri.path(), uri.host()) == ("/chat", Some("test"))
        && headers["sec-websocket-version"] == "13"
        && ["sec-websocket-key", "upgrade", "connection"].iter().all(|name| !headers.contains_key(*name));
    if !is_websocket || !is_right {
        return drop(respond.send_response(Response::builder().status(404).body(()).unwrap(), true).unwrap());
    }
    let answer = Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
    let mut stream = respond.send_response(answer, false).unwrap();
    let mut incoming = request.into_body();
    while let Some(Ok(data)) = incoming.data().await {
        incoming.flow_control().release_capacity(data.len()).unwrap();
        stream.send_data(data, false).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
}

#[test]
fn an_endpoint_that_takes_them_over_http2_gets_them_so() {
    let proxy = start(http2_endpoint(true), "protocol = \"http2\"");
    // From HTTP/2. Larger than a window.
    run(async {
        let (answer, mut stream) = open(&proxy).await;
        assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
        let mut incoming = answer.into_body();
        let text = vec![b'x'; 30_000];
        for _ in 0..20 {
            stream.reserve_capacity(text.len());
            while stream.capacity() < text.len() {
                poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
            }
            stream.send_data(text.clone().into(), false).unwrap();
            assert_eq!(read(&mut incoming, text.len()).await, text);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(read(&mut incoming, 1).await, b"", "an end is an end");
    });
    eventually("none under way", || (in_flight(&proxy) == "0").then_some(()));
    // From HTTP/1.1: the proxy is the other side of its handshake.
    let mut stream = std::net::TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ask = "GET /chat HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: WebSocket\r\n\
               sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(ask.as_bytes()).unwrap();
    let (mut head, mut byte) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0].into());
    }
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in ["upgrade: websocket", "connection: upgrade", "sec-websocket-protocol: chat"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    for text in ["a", "b"] {
        stream.write_all(text.as_bytes()).unwrap();
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte, text.as_bytes());
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut byte).unwrap(), 0);
}

#[test]
fn a_silent_one_ends_with_its_time_its_client_or_the_proxy() {
    if !peers::has("python3") {
        return;
    }
    let server = peers::Python::serve(SILENT);
    let proxy = start(server.address, "stream_idle_timeout_ms = 300");
    run(async {
        let (answer, _stream) = open(&proxy).await;
        assert_eq!(read(&mut answer.into_body(), 1).await, b"", "nothing has moved");
    });
    let proxy = start(server.address, "");
    run(async {
        let (answer, mut stream) = open(&proxy).await;
        eventually("one under way", || (in_flight(&proxy) == "1").then_some(()));
        stream.send_reset(Reason::CANCEL);
        // The endpoint would never end it.
        let body = answer.into_body();
        let gone = async {
            while in_flight(&proxy) != "0" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.expect("its end");
        drop(body);
    });
    run(async {
        let (answer, _stream) = open(&proxy).await;
        proxy.signal();
        assert_eq!(read(&mut answer.into_body(), 1).await, b"", "the drain is over");
    });
    proxy.stop();
}
