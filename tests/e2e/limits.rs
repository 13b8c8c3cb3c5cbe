//! What clients may take up, and for how long they are waited for.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use sluicegate_tests::{Origin, Proxy, eventually};

use super::config;

/// A proxy with one origin and these limits.
fn limited(limits: &str) -> (Proxy, Vec<Origin>) {
    let origins = Origin::several(1);
    let config = format!("{}\n[limits]\n{limits}\n", config("\"p2c\"", &origins));
    (Proxy::start(&config, |_| {}), origins)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Asks for `/`, and reads what comes until there is a whole head, or the end.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let (mut text, mut piece) = (String::new(), [0; 1024]);
    while !text.contains("\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(count @ 1..) => text += std::str::from_utf8(&piece[..count]).unwrap(),
            _ => break,
        }
    }
    text
}

/// How long it takes until the proxy ends a connection.
fn ended_after(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    loop {
        match stream.read(&mut [0; 1 << 16]) {
            Ok(0) => return start.elapsed(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return start.elapsed(),
            Err(error) => panic!("it did not end: {error}"),
        }
    }
}

#[test]
fn connections_above_the_limit_are_told_so_and_those_far_above_are_closed() {
    let (proxy, _origins) = limited("connections = 4");
    let mut good: Vec<_> = (0..4).map(|_| connect(proxy.address)).collect();
    assert!(good.iter_mut().all(|stream| ask(stream).starts_with("HTTP/1.1 200 ")));
    let mut excess: Vec<_> = (0..16).map(|_| connect(proxy.address)).collect();
    // The workers accept in any order.
    thread::sleep(Duration::from_millis(200));
    let mut too_many = connect(proxy.address);
    ended_after(&mut too_many);
    for stream in &mut excess {
        let answer = ask(stream);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        for header in ["retry-after: 1", "connection: close", "x-sluicegate-error: too_many_connections"] {
            assert!(answer.contains(header), "{answer}");
        }
    }
    drop((excess, good.pop()));
    eventually("there is room again", || ask(&mut connect(proxy.address)).starts_with("HTTP/1.1 200 ").then_some(()));
    assert!(good.iter_mut().all(|stream| ask(stream).starts_with("HTTP/1.1 200 ")));
}

#[test]
fn one_client_can_be_limited_without_the_others() {
    let (proxy, _origins) = limited("connections_per_client = 2");
    let from = |client: [u8; 4]| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
        socket.connect(&proxy.address.into()).unwrap();
        TcpStream::from(socket)
    };
    let mut first = [from([127, 0, 0, 2]), from([127, 0, 0, 2])];
    assert!(first.iter_mut().all(|stream| ask(stream).starts_with("HTTP/1.1 200 ")));
    assert!(ask(&mut from([127, 0, 0, 2])).starts_with("HTTP/1.1 503 "));
    assert!(ask(&mut from([127, 0, 0, 3])).starts_with("HTTP/1.1 200 "));
}

#[test]
fn clients_that_keep_the_proxy_waiting_are_cut_off() {
    let (proxy, _origins) = limited("head_timeout_ms = 500\nidle_timeout_ms = 3000");
    // A head that never ends, a byte now and then; and a client that says nothing at all.
    let (mut slow, mut idle) = (connect(proxy.address), connect(proxy.address));
    let mut writer = slow.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        let mut sent = 0;
        while writer.write_all(if sent == 0 { b"GET / HTTP/1.1\r\nx: " } else { b"x" }).is_ok() {
            sent += 1;
            thread::sleep(Duration::from_millis(100));
        }
    });
    let took = ended_after(&mut slow);
    assert!(took > Duration::from_millis(400) && took < Duration::from_secs(10), "{took:?}");
    dripping.join().unwrap();
    assert!(ended_after(&mut idle) > Duration::from_millis(500));
    // Between two requests, it is the idle timeout that counts.
    let mut kept = connect(proxy.address);
    ask(&mut kept);
    assert!(ended_after(&mut kept) > Duration::from_secs(2));
}

#[test]
fn connections_that_rest_give_their_memory_back() {
    const CLIENTS: u64 = 400;
    let (origins, dir) = (Origin::several(1), tempfile::tempdir().unwrap());
    // One worker: of two, the one that lets go later has the allocator give back what the other one has freed.
    let runtime = "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n\
                   [log]\nformat = \"json\"\naccess = false\n";
    fs::write(dir.path().join("sluicegate.toml"), runtime.to_owned() + &config("\"p2c\"", &origins)).unwrap();
    let proxy = Proxy::start_as_it_is(dir);
    ask(&mut connect(proxy.address));
    // Threads that the start has used end after ten seconds, and have the allocator give back what is free: not by chance
    // is what this is about.
    thread::sleep(Duration::from_secs(11));
    let before = proxy.resident();
    let _clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = connect(proxy.address);
            ask(&mut client);
            client
        })
        .collect();
    let each = || proxy.resident().saturating_sub(before) / CLIENTS;
    let at_once = each();
    assert!(at_once > 8 << 10, "hyper has two buffers: {at_once} bytes");
    eventually("half of it is given back", || (each() < at_once / 2).then_some(()));
}

#[test]
fn heads_have_the_size_that_is_configured() {
    let (proxy, _origins) = limited("request_line_bytes = 100\nheader_bytes = 1000\nheaders = 50");
    for (head, status) in [
        ("GET / HTTP/1.1\r\nhost: test\r\n".to_owned() + &"a: b\r\n".repeat(45), 200),
        ("GET / HTTP/1.1\r\nhost: test\r\n".to_owned() + &"a: b\r\n".repeat(50), 431),
        (format!("GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n", "x".repeat(1000)), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: test\r\n", "x".repeat(100)), 414),
    ] {
        let mut stream = connect(proxy.address);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}
