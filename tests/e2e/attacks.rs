//! HTTP/2 from clients that mean harm, frame by frame: requests that an HTTP/1.1 origin would read in another way, and
//! floods, under which memory stays where it is and others are served.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use sluicegate_tests::{Echo, Proxy, get};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How a head begins whose `:status` is 200, compressed.
const STATUS_200: u8 = 0x88;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A length with a prefix of seven bits (RFC 7541, section 5.1), and the text as it is.
fn text(text: &[u8]) -> Vec<u8> {
    let mut out = vec![text.len().min(127) as u8];
    if let Some(mut rest) = text.len().checked_sub(127) {
        while rest > 127 {
            out.push(rest as u8 | 128);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    [&out, text].concat()
}

/// A header that is not remembered.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "test")];
    pseudo.iter().chain(more).flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect()
}

/// A connection that has said hello.
fn connect(address: SocketAddr, settings: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).unwrap();
    stream
}

/// Whether the first stream, or all of them, ended with anything else than a 200.
fn is_refused(stream: &mut TcpStream) -> bool {
    let mut is_good = false;
    loop {
        let mut start = [0; 9];
        if stream.read_exact(&mut start).is_err() {
            return true;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, start[0], start[1], start[2]]) as usize];
        stream.read_exact(&mut payload).unwrap();
        match start[3] {
            RST_STREAM | GOAWAY => return true,
            HEADERS => is_good = payload[0] == STATUS_200,
            _ => {}
        }
        if matches!(start[3], DATA | HEADERS) && start[4] & END_STREAM != 0 {
            return !is_good;
        }
    }
}

#[test]
fn what_http1_could_read_in_another_way_goes_no_further() {
    let origin = Echo::start();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n\
         [[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n",
        origin.address
    );
    let proxy = Proxy::start(&config, |_| {});
    let send = |head: &[u8], body: Option<&[u8]>| {
        let mut stream = connect(proxy.addresses[1], b"");
        let end = if body.is_none() { END_STREAM } else { 0 };
        stream.write_all(&frame(HEADERS, END_HEADERS | end, 1, head)).unwrap();
        if let Some(body) = body {
            stream.write_all(&frame(DATA, END_STREAM, 1, body)).unwrap();
        }
        is_refused(&mut stream)
    };
    for (name, value) in [
        ("x", "a\r\nevil: b"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("x", " a"),
        ("x\r\nevil", "a"),
        ("x: a", "b"),
        ("X", "a"),
        ("x\"", "a"),
        ("", "a"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("transfer_encoding", "chunked"),
        ("content_length", "5"),
        ("x_forwarded_for", "1.1.1.1"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("host", "other"),
        (":path", "/other"),
        (":status", "200"),
        ("content-length", ""),
        ("content-length", "5"),
    ] {
        assert!(send(&head("GET", "/", &[(name, value)]), None), "{name:?}: {value:?}");
    }
    for path in ["", "*", "a", "?a", "http://other/", "/a b", "/ HTTP/1.1\r\nevil: b", "/\u{e4}", "/?\u{e4}"] {
        assert!(send(&head("GET", path, &[]), None), "{path:?}");
    }
    for method in ["", "GET ", "GET / HTTP/1.1\r\nevil:", "CONNECT"] {
        assert!(send(&head(method, "/", &[]), None), "{method:?}");
    }
    for lengths in [&["4"][..], &["6"], &["+5"], &["0x5"], &["5, 5"], &["5", "6"], &["5", "5"], &["-1"], &[""]] {
        let lengths: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        let mut stream = connect(proxy.addresses[1], b"");
        stream.write_all(&frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &lengths))).unwrap();
        stream.write_all(&frame(DATA, END_STREAM, 1, b"hello")).unwrap();
        assert!(is_refused(&mut stream), "{lengths:?}");
    }
    assert_eq!(origin.asked(), Vec::<String>::new());
    let cookies = [("cookie", "a=1"), ("cookie", "b=2"), ("content-length", "5")];
    assert!(!send(&head("POST", "/good?a", &cookies), Some(b"hello")));
    let asked = origin.asked();
    assert!(asked[0].starts_with("POST /good?a\n") && asked[0].ends_with("\n\nhello"), "{asked:?}");
    assert!(asked[0].contains("cookie: a=1; b=2\n"), "{asked:?}");
}

#[test]
fn a_client_that_makes_no_room_for_its_answers_is_cut_off() {
    let origin = Echo::start();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n[limits]\nwrite_timeout_ms = 500\n\
         [[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n",
        origin.address
    );
    let proxy = Proxy::start(&config, |_| {});
    // Windows of zero, and a sign of life now and then.
    let mut stream = connect(proxy.addresses[1], &[0, 4, 0, 0, 0, 0]);
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/", &[]))).unwrap();
    let start = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    loop {
        match stream.read(&mut [0; 1000]) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => drop(stream.write_all(&frame(PING, 0, 0, &[0; 8]))),
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it goes on");
    }
    assert!(start.elapsed() > Duration::from_millis(400), "{:?}", start.elapsed());
}

/// What a flood is made of: what is sent first, and what is sent then, again and again.
type Flood = (&'static str, Vec<u8>, Vec<u8>);

/// Requests for something that is never answered, from one stream on.
fn requests(streams: std::ops::Range<u32>, more: &[u8], end: u8) -> Vec<u8> {
    let head = [head("POST", "/hung", &[]), more.to_vec()].concat();
    streams.flat_map(|stream| frame(HEADERS, END_HEADERS | end, stream * 2 + 1, &head)).collect()
}

fn floods() -> Vec<Flood> {
    let resets = |stream: u32| frame(RST_STREAM, 0, stream * 2 + 1, &8_u32.to_be_bytes());
    let rapid = (0..1000).flat_map(|stream| [requests(stream..stream + 1, b"", END_STREAM), resets(stream)].concat());
    let bomb = [&[0x40][..], &text(b"x"), &text(&[b'a'; 3900])].concat();
    let open = requests(0..1, b"", 0);
    vec![
        ("rapid reset", rapid.collect(), vec![]),
        ("streams above the limit", requests(0..5000, b"", END_STREAM), vec![]),
        ("CONTINUATION", frame(HEADERS, END_STREAM, 1, b""), frame(CONTINUATION, 0, 1, &field(b"x", b"y"))),
        ("empty CONTINUATION", frame(HEADERS, END_STREAM, 1, b""), frame(CONTINUATION, 0, 1, b"")),
        // Remembered once, and then said fifteen times in each of 127 requests with a byte each.
        ("HPACK bomb", [requests(0..1, &bomb, END_STREAM), requests(1..128, &[0xbe; 15], END_STREAM)].concat(), vec![]),
        ("cookies", requests(0..128, &field(b"cookie", b"a").repeat(1500), END_STREAM), vec![]),
        ("SETTINGS", vec![], frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0x10, 0])),
        ("PING", vec![], frame(PING, 0, 0, &[0; 8])),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("empty DATA", open.clone(), frame(DATA, 0, 1, b"")),
        ("DATA of a byte", open.clone(), frame(DATA, 0, 1, b"x")),
        ("padding", open.clone(), frame(DATA, 8, 1, &[&[255][..], &[0; 255]].concat())),
        ("WINDOW_UPDATE", open, frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
        ("a frame that nobody knows", vec![], frame(0x77, 0, 0, b"")),
        (
            "heads without anything",
            (0..5000).flat_map(|stream| frame(HEADERS, 5, stream * 2 + 1, b"")).collect(),
            vec![],
        ),
    ]
}

/// How much memory a process has, in bytes.
fn resident(proxy: &Proxy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Sends a flood until the time is over or the connection is; reads nothing.
fn flood(address: SocketAddr, first: &[u8], then: &[u8], end: Instant) {
    while Instant::now() < end {
        let mut stream = connect(address, b"");
        let then = then.repeat(if then.is_empty() { 0 } else { 1 + 50_000 / then.len() });
        let mut result = stream.write_all(first);
        while result.is_ok() && Instant::now() < end {
            if then.is_empty() {
                thread::sleep(Duration::from_millis(50));
            }
            result = stream.write_all(&then);
        }
    }
}

#[test]
fn floods_take_neither_memory_nor_time_from_others() {
    let (origin, hung) = (Echo::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n\
         [[route]]\npath = \"/hung\"\ncluster = \"hung\"\n[cluster.hung]\nendpoints = [\"{}\"]\n\
         [[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n",
        hung.local_addr().unwrap(),
        origin.address
    );
    let proxy = Proxy::start(&config, |_| {});
    let ask = || assert_eq!(get(proxy.address, "/", "test").unwrap().0, 200);
    ask();
    let before = resident(&proxy);
    for (name, first, then) in floods() {
        let end = Instant::now() + Duration::from_millis(700);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| flood(proxy.addresses[1], &first, &then, end));
            }
            while Instant::now() < end {
                let asked = Instant::now();
                ask();
                assert!(asked.elapsed() < Duration::from_secs(2), "{name}: {:?}", asked.elapsed());
                let grown = resident(&proxy).saturating_sub(before);
                assert!(grown < 64 << 20, "{name}: {grown} bytes more");
                thread::sleep(Duration::from_millis(20));
            }
        });
    }
}
