//! Endpoints that fail in the ways that endpoints do, and a proxy that runs out of descriptors.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use sluicegate_tests::{
    Echo, Load, Origin, Patient, Proxy, eventually, get,
    patient::{CLOSED, HUNG},
};

fn config(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"round-robin\"\nendpoints = {endpoints:?}\n{more}\n"
    )
}

/// The value of the first series that has all of this in it.
fn metric(proxy: &Proxy, parts: &[&str]) -> u64 {
    let text = proxy.admin("/metrics").1;
    let line = text.lines().find(|line| parts.iter().all(|part| line.contains(part)));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// A listening socket whose backlog is full: the kernel answers nobody any more, as if packets got lost.
struct BlackHole {
    address: SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl BlackHole {
    fn new() -> Self {
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = (0..8).map(|_| {
            let client = socket();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address);
            client
        });
        let waiting = waiting.collect();
        let address = address.as_socket().unwrap();
        eventually("its backlog is full", || TcpStream::connect_timeout(&address, Duration::from_millis(100)).err());
        Self { address, _listener: listener, _waiting: waiting }
    }
}

/// An origin that does this with each connection, when it has read a request.
fn origin(then: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (then, mut stream) = (then.clone(), stream.unwrap());
            thread::spawn(move || {
                if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                    then(stream);
                }
            });
        }
    });
    address
}

/// Closes with a reset instead of an end.
fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO)).unwrap();
}

#[test]
fn endpoints_that_fail_before_they_answer_cost_no_request() {
    let hole = BlackHole::new();
    let closes = origin(drop);
    let resets = origin(|stream| reset(&stream));
    let half_closes = origin(|mut stream| {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0; 1]);
    });
    let half_a_head = origin(|mut stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap());
    for (bad, cause) in [
        (hole.address, "connect_failure"),
        (closes, "reset"),
        (resets, "reset"),
        (half_closes, "reset"),
        (half_a_head, "reset"),
    ] {
        let good = Origin::start(Duration::ZERO);
        let proxy = Proxy::start(&config(&[bad, good.address], "connect_timeout_ms = 300"), |_| {});
        for _ in 0..6 {
            assert_eq!(get(proxy.address, "/", "x").unwrap(), (200, good.address.to_string()), "{bad}: {cause}");
        }
        let cause = format!("cause=\"{cause}\"");
        assert!(metric(&proxy, &["sluicegate_retries_total", "cluster=\"api\"", &cause]) > 0, "{cause}");
    }
}

#[test]
fn an_answer_that_is_reset_is_no_whole_answer() {
    for head in ["content-length: 1000", "transfer-encoding: chunked"] {
        let address = origin(move |mut stream| {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nhalf\r\n").as_bytes()).unwrap();
            // So that it is on its way before the reset, which would overtake it.
            thread::sleep(Duration::from_millis(200));
            reset(&stream);
        });
        let proxy = Proxy::start(&config(&[address], ""), |_| {});
        let answer = get(proxy.address, "/", "x");
        assert!(answer.as_ref().is_err_and(|error| error.starts_with("body")), "{answer:?}");
    }
}

#[test]
fn an_endpoint_that_flaps_in_every_way_costs_no_request() {
    let patients: Vec<Patient> = (0..3).map(|_| Patient::start()).collect();
    let addresses: Vec<_> = patients.iter().map(|patient| patient.address).collect();
    let proxy = Proxy::start(&config(&addresses, "attempt_timeout_ms = 2000"), |_| {});
    let load = Load::start(proxy.address, 4);
    for patient in &patients {
        for illness in [CLOSED, HUNG, 200] {
            let before = load.so_far().good;
            patient.becomes(illness);
            eventually("it goes on", || (load.so_far().good > before + 20).then_some(()));
        }
    }
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

/// How many descriptors a process has open.
fn descriptors(proxy: &Proxy) -> u64 {
    fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count() as u64
}

#[test]
fn running_out_of_descriptors_ends_nothing() {
    let origin = Origin::start(Duration::ZERO);
    let proxy = Proxy::start(&config(&[origin.address], ""), |_| {});
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    // Somebody who is served already, with a connection to the endpoint that is there already.
    let mut kept = TcpStream::connect(proxy.address).unwrap();
    assert_eq!(&ask(&mut kept), b"HTTP/1.1 200");
    let limit = descriptors(&proxy) + 10;
    let pid = Pid::from_raw(proxy.pid() as i32);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
    let many: Vec<_> = (0..60).map(|_| TcpStream::connect(proxy.address).unwrap()).collect();
    proxy.wait_for("it can't accept", |line| line["message"] == "can't accept a connection");
    let (mut rest, mut piece) = (Vec::new(), [0; 4096]);
    kept.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    kept.write_all(b"GET /kept HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    while rest.windows(8).filter(|text| text == b"HTTP/1.1").count() < 1 {
        let count = kept.read(&mut piece).unwrap();
        assert!(count > 0, "who is served already goes on");
        rest.extend_from_slice(&piece[..count]);
    }
    drop(many);
    // Those that waited in the backlog are gone, and there is room again.
    eventually("others are served again", || {
        get(proxy.address, "/", "x").is_ok_and(|(status, _)| status == 200).then_some(())
    });
    prlimit(pid, Resource::Nofile, before).unwrap();
    assert_eq!(get(proxy.address, "/", "x").unwrap().0, 200);
    assert_eq!(proxy.stop().0, Some(0));
}

/// Streams that are reset without an error (NO_ERROR), in the middle of a body: hyper takes that for its end.
#[test]
fn a_body_whose_stream_is_reset_is_no_whole_body() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                tokio::spawn(async move {
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        body.send_data("half".into(), false).unwrap();
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            body.send_reset(h2::Reason::NO_ERROR);
                        });
                    }
                });
            }
        });
        let echo = Echo::start();
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n[[route]]\npath = \"/down\"\ncluster = \"down\"\n\
             [cluster.down]\nprotocol = \"http2\"\nendpoints = [\"{address}\"]\n[[route]]\ncluster = \"up\"\n\
             [cluster.up]\nendpoints = [\"{}\"]\n",
            echo.address
        );
        let proxy = tokio::task::spawn_blocking(move || Proxy::start(&config, |_| {})).await.unwrap();
        // From an endpoint.
        let from = proxy.address;
        let answer = tokio::task::spawn_blocking(move || get(from, "/down", "x")).await.unwrap();
        assert!(answer.as_ref().is_err_and(|error| error.starts_with("body")), "{answer:?}");
        // From a client.
        let stream = tokio::net::TcpStream::connect(proxy.addresses[1]).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post("http://x/up").body(()).unwrap();
        let (_answer, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data("half".into(), false).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        body.send_reset(h2::Reason::NO_ERROR);
        let asked = tokio::task::spawn_blocking(move || {
            eventually("the endpoint gets the request", || {
                (!echo.asked().is_empty() || echo.broken() == 1).then_some(())
            });
            echo.asked()
        });
        assert_eq!(asked.await.unwrap(), Vec::<String>::new(), "taken for whole");
    });
}
