//! HTTP/2 from clients that mean harm, frame by frame: requests that an HTTP/1.1 origin would read in another way, and
//! floods, under which memory stays where it is and others are served.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use sluicegate_tests::{Echo, Proxy, get};

use crate::h2::{
    self, ENHANCE_YOUR_CALM,
    frames::*,
    peer::{Door, Peer},
};

/// How a head begins whose `:status` is 200, compressed.
const STATUS_200: u8 = 0x88;

/// How long a flood waits for the proxy to take more of it, before it tries another connection.
const WRITE_TIMEOUT: Duration = Duration::from_millis(300);

/// Whether the first stream, or all of them, ended with anything else than a 200. A connection that breaks refuses what
/// was said, too, wherever that happens.
fn is_refused(peer: &mut Peer) -> bool {
    let mut is_good = false;
    while let Some(frame) = peer.next().unwrap() {
        match frame.kind {
            RST_STREAM | GOAWAY => return true,
            HEADERS => is_good = frame.payload.first() == Some(&STATUS_200),
            _ => {}
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            return !is_good;
        }
    }
    true
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
    let door = Door::plain(proxy.addresses[1]);
    let send = |head: &[u8], body: Option<&[u8]>| {
        let mut peer = door.greet(&[]);
        let end = if body.is_none() { END_STREAM } else { 0 };
        peer.send(&frame(HEADERS, END_HEADERS | end, 1, head));
        if let Some(body) = body {
            peer.send(&frame(DATA, END_STREAM, 1, body));
        }
        is_refused(&mut peer)
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
        assert!(send(&head("POST", "/", &lengths), Some(b"hello")), "{lengths:?}");
    }
    assert_eq!(origin.asked(), Vec::<String>::new());
    let cookies = [("cookie", "a=1"), ("cookie", "b=2"), ("content-length", "5")];
    assert!(!send(&head("POST", "/good?a", &cookies), Some(b"hello")));
    let asked = origin.asked();
    assert!(asked[0].starts_with("POST /good?a\n") && asked[0].ends_with("\n\nhello"), "{asked:?}");
    assert!(asked[0].contains("cookie: a=1; b=2\n"), "{asked:?}");
}

#[test]
fn an_answer_for_which_there_is_no_room_ends_and_others_go_on() {
    let origin = Echo::start();
    let (_proxy, doors) = h2::start(&format!(
        "[limits]\nwrite_timeout_ms = 4000\n[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n",
        origin.address
    ));
    for door in doors {
        // Windows of zero. One of two answers gets a byte of room now and then.
        let mut peer = door.greet(&[(WINDOW, 0)]);
        let path = format!("/{}", "a".repeat(4000));
        peer.send(&[1, 3].map(|stream| frame(HEADERS, END, stream, &head("GET", &path, &[]))).concat());
        let end = loop {
            peer.send(&update(3, 1));
            let frame = peer.find("a byte", |frame| matches!(frame.kind, DATA | RST_STREAM | GOAWAY)).unwrap();
            if frame.kind != DATA {
                break frame;
            }
            assert_eq!(frame.stream, 3);
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!((end.kind, end.stream), (RST_STREAM, 1));
        // A short one: all of it is on its way, and none of it goes any more.
        peer.send(&[headers(END, 5), update(5, 1)].concat());
        peer.find("an end", |frame| (frame.kind, frame.stream) == (RST_STREAM, 5)).unwrap();
    }
}

#[test]
fn an_answer_goes_on_that_gets_a_little_room_now_and_then() {
    let origin = Echo::start();
    let (_proxy, doors) = h2::start(&format!(
        "[limits]\nwrite_timeout_ms = 3000\n[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n",
        origin.address
    ));
    for door in doors {
        let mut peer = door.greet(&[(WINDOW, 0)]);
        // A short one, and one in several pieces.
        peer.send(&[headers(END, 1), headers(END_HEADERS, 3)].concat());
        (0..4).for_each(|_| peer.send(&frame(DATA, 0, 3, &[b'a'; 15_000])));
        peer.send(&data(END_STREAM, 3));
        // For longer than they may stand still.
        for _ in 0..50 {
            for stream in [1, 3] {
                peer.send(&update(stream, 1));
                peer.gives(stream, 1).unwrap();
            }
            thread::sleep(Duration::from_millis(100));
        }
        for stream in [1, 3] {
            peer.send(&update(stream, 1 << 20));
            peer.find("the rest", |frame| frame.stream == stream && frame.flags & END_STREAM != 0).unwrap();
        }
    }
}

#[test]
fn frames_for_their_own_sake_end_the_connection() {
    let origin = Echo::start();
    let (_proxy, doors) =
        h2::start(&format!("[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n", origin.address));
    for door in doors {
        for (name, each) in [
            ("PING", frame(PING, 0, 0, &[0; 8])),
            ("SETTINGS", settings(&[(WINDOW, 1), (WINDOW, 70_000)])),
            ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
            ("empty DATA", frame(DATA, 0, 1, b"")),
            ("WINDOW_UPDATE", update(1, 1)),
        ] {
            let mut peer = door.greet(&[]);
            peer.send(&[requests(0..1, b"", 0), each.repeat(2000)].concat());
            peer.ends(&[ENHANCE_YOUR_CALM]).unwrap_or_else(|seen| panic!("{name}: {seen}"));
        }
    }
}

/// What a flood is made of: what is sent first, and what is sent then, again and again.
type Flood = (&'static str, Vec<u8>, Vec<u8>);

/// Requests for something that is never answered, from one stream on.
fn requests(streams: std::ops::Range<u32>, more: &[u8], end: u8) -> Vec<u8> {
    let head = [head("POST", "/hung", &[]), more.to_vec()].concat();
    streams.flat_map(|stream| frame(HEADERS, END_HEADERS | end, stream * 2 + 1, &head)).collect()
}

/// As many requests, each with something behind it.
fn requests_with(count: u32, end: u8, more: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|stream| [requests(stream..stream + 1, b"", end), more(stream * 2 + 1)].concat()).collect()
}

fn floods() -> Vec<Flood> {
    let bomb = [&[0x40][..], &text(b"x"), &text(&[b'a'; 3900])].concat();
    let (open, many) = (requests(0..1, b"", 0), requests(0..128, b"", 0));
    let asked: Vec<u8> = (0..128).flat_map(|stream| headers(END, stream * 2 + 1)).collect();
    vec![
        ("rapid reset", requests_with(1000, END_STREAM, reset), vec![]),
        // CVE-2025-8671: what makes this side reset a stream.
        ("resets by windows", requests_with(1000, 0, |stream| update(stream, 0x7fff_ffff)), vec![]),
        ("resets by empty windows", requests_with(1000, 0, |stream| update(stream, 0)), vec![]),
        ("resets by HEADERS", requests_with(1000, 0, |stream| headers(END_HEADERS, stream)), vec![]),
        ("resets by DATA", requests_with(1000, END_STREAM, |stream| data(0, stream)), vec![]),
        (
            "resets by priorities",
            requests_with(1000, 0, |stream| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[0]].concat())),
            vec![],
        ),
        (
            "resets by bad heads",
            (0..5000).flat_map(|stream| frame(HEADERS, END, stream * 2 + 1, b"\x82")).collect(),
            vec![],
        ),
        ("streams above the limit", requests(0..5000, b"", END_STREAM), vec![]),
        ("CONTINUATION", frame(HEADERS, END_STREAM, 1, b""), frame(CONTINUATION, 0, 1, &field("x", "y"))),
        ("empty CONTINUATION", frame(HEADERS, END_STREAM, 1, b""), frame(CONTINUATION, 0, 1, b"")),
        // Remembered once, and then said fifteen times in each of 127 requests with a byte each.
        ("HPACK bomb", [requests(0..1, &bomb, END_STREAM), requests(1..128, &[0xbe; 15], END_STREAM)].concat(), vec![]),
        ("cookies", requests(0..128, &field("cookie", "a").repeat(1500), END_STREAM), vec![]),
        ("SETTINGS", vec![], settings(&[(1, 4096)])),
        ("SETTINGS that change windows", many, [settings(&[(WINDOW, 0)]), settings(&[(WINDOW, 0x7fff_ffff)])].concat()),
        ("answers without room", [settings(&[(WINDOW, 0)]), asked.clone()].concat(), vec![]),
        ("answers with little room", [settings(&[(WINDOW, 1)]), asked].concat(), update(1, 1)),
        ("PING", vec![], frame(PING, 0, 0, &[0; 8])),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("empty DATA", open.clone(), frame(DATA, 0, 1, b"")),
        ("DATA of a byte", open.clone(), frame(DATA, 0, 1, b"x")),
        ("padding", open.clone(), frame(DATA, PADDED, 1, &[&[255][..], &[0; 255]].concat())),
        ("WINDOW_UPDATE", open, update(1, 1)),
        ("a frame that nobody knows", vec![], frame(0x77, 0, 0, b"")),
        (
            "heads without anything",
            (0..5000).flat_map(|stream| frame(HEADERS, END, stream * 2 + 1, b"")).collect(),
            vec![],
        ),
    ]
}

/// Sends a flood until the time is over; reads nothing.
fn flood(door: &Door, first: &[u8], then: &[u8], end: Instant) {
    let then = then.repeat(if then.is_empty() { 0 } else { 1 + 50_000 / then.len() });
    while Instant::now() < end {
        let mut peer = door.greet(&[]);
        peer.set_write_timeout(WRITE_TIMEOUT);
        let mut result = peer.flood(first);
        while result.is_ok() && Instant::now() < end {
            if then.is_empty() {
                thread::sleep(Duration::from_millis(50));
            }
            result = peer.flood(&then);
        }
    }
}

#[test]
fn floods_take_neither_memory_nor_time_from_others() {
    let (origin, hung) = (Echo::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (proxy, doors) = h2::start(&format!(
        "[[route]]\npath = \"/hung\"\ncluster = \"hung\"\n[cluster.hung]\nendpoints = [\"{}\"]\n\
         [[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n",
        hung.local_addr().unwrap(),
        origin.address
    ));
    let ask = || assert_eq!(get(proxy.address, "/", "test").unwrap().0, 200);
    ask();
    let before = proxy.resident();
    for (name, first, then) in floods() {
        for door in &doors {
            let end = Instant::now() + Duration::from_millis(500);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| flood(door, &first, &then, end));
                }
                while Instant::now() < end {
                    let asked = Instant::now();
                    ask();
                    assert!(asked.elapsed() < Duration::from_secs(2), "{name}: {:?}", asked.elapsed());
                    let grown = proxy.resident().saturating_sub(before);
                    assert!(grown < 64 << 20, "{name}: {grown} bytes more");
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
    }
}
