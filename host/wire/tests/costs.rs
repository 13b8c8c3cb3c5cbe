//! Whoever sends eight times as much costs about eight times as much to read, and not 64 times: what a peer pays for by
//! the byte must not cost this side by the square of it.

#![allow(clippy::disallowed_methods)] // Tests may look at the clock.

use std::{
    hint::black_box,
    net::IpAddr,
    time::{Duration, Instant},
};

use sluicegate_wire::{
    forwarded::{Format, Trust, client_address},
    framing::{Chunks, Framing, Http2Head, Phase, Piece, Rules, Verdict},
    path::{PathRules, Separator, normalize},
};

/// As much as a request line has room for.
const SMALL: usize = 8 * 1024;

const TIMES: usize = 8;

/// What is linear stays far below this, whatever a processor's caches make of the larger input; a square is far above.
const TOO_MANY_TIMES: u32 = 30;

/// So often each is measured: the quickest round is the one in which the machine had nothing else to do.
const ROUNDS: u32 = 5;

/// For how long a reader may go on to prove its innocence in more of them.
const APPEAL: Duration = Duration::from_secs(5);

/// Reads `piece`, repeated to two sizes, between what comes before and behind it.
fn check(what: &str, [before, piece, behind]: [&str; 3], read: impl Fn(&[u8])) {
    check_both(what, |size| [before, &piece.repeat(size / piece.len()), behind].concat(), read);
}

/// Reads what is made at two sizes.
fn check_both(what: &str, make: impl Fn(usize) -> String, read: impl Fn(&[u8])) {
    let [small, large] = [1, TIMES].map(|times| make(SMALL * times).into_bytes());
    let quicker = |best: Duration, bytes: &[u8]| {
        let start = Instant::now();
        read(black_box(bytes));
        best.min(start.elapsed())
    };
    let mut best = [Duration::MAX; 2];
    let is_linear = |best: [Duration; 2]| best[1] < best[0] * TOO_MANY_TIMES;
    let (begin, mut round) = (Instant::now(), 0);
    while round == 0 || (round < ROUNDS || !is_linear(best)) && begin.elapsed() < APPEAL {
        best = [quicker(best[0], &small), quicker(best[1], &large)];
        round += 1;
    }
    assert!(is_linear(best), "{what}: {TIMES} times as much takes {:?} instead of {:?}", best[1], best[0]);
}

#[test]
fn a_path_costs_by_its_length() {
    let keeps = PathRules { merge_slashes: true, escaped_slash: Separator::Keep, backslash: Separator::Keep };
    for piece in [
        "/.%2e", "/a/.%2e", "/%2e", "//", "/a", "a", "%61", "%2F", "%2Fa", "\\a", ";", ";a", "%3B", "...%3B", "%253B",
        "%2f.a",
    ] {
        for behind in ["/..", "?/..", "/..;"] {
            check(&format!("/{piece}{piece}{behind}"), ["/", piece, behind], |path| {
                let path = str::from_utf8(path).unwrap();
                let _ = black_box(normalize(path, &keeps));
                let _ = black_box(normalize(path, &PathRules::default()));
            });
        }
    }
    // As many segments as there is room for, and then all of them are left.
    let leaves = |size: usize| "/a".repeat(size / 5) + &"/..".repeat(size / 5);
    check_both("folders that are left", leaves, |path| {
        let path = str::from_utf8(path).unwrap();
        assert_eq!(normalize(black_box(path), &keeps).unwrap(), "/");
    });
}

/// Limits that nothing here comes near to.
fn boundless() -> Rules {
    let most = usize::MAX / 2;
    Rules {
        request_line_bytes: most,
        header_bytes: most,
        header_count: most,
        chunk_line_bytes: most,
        trailer_bytes: most,
        trailer_count: most,
        ..Rules::default()
    }
}

/// Shows a stream to the check as it comes in pieces: what did not pass is shown again.
fn in_pieces(stream: &[u8], size: usize) {
    let mut framing = Framing::new(boundless());
    let (mut shown, mut seen) = (0, 0);
    while seen < stream.len() {
        seen = stream.len().min(seen + size);
        let step = framing.advance(&stream[shown..seen]);
        assert_eq!(step.verdict, Verdict::More);
        shown += step.passed;
    }
    assert_eq!((framing.phase(), shown), (Phase::Idle, stream.len()));
}

#[test]
fn a_request_costs_by_its_length_however_it_comes() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let ended = format!("{chunked}0\r\n");
    let parts = [
        ("a target", ["GET /", "a", " HTTP/1.1\r\nHost: a\r\n\r\n"]),
        ("a value", ["GET / HTTP/1.1\r\nHost: a\r\nX: ", "a", "\r\n\r\n"]),
        ("tabs", ["GET / HTTP/1.1\r\nHost: a\r\nX: ", "\t", "\r\n\r\n"]),
        ("a name", ["GET / HTTP/1.1\r\nHost: a\r\n", "a", ":\r\n\r\n"]),
        ("an odd name", ["GET / HTTP/1.1\r\nHost: a\r\n", "a_", ":\r\n\r\n"]),
        ("headers", ["GET / HTTP/1.1\r\nHost: a\r\n", "a:\r\n", "\r\n"]),
        ("odd headers", ["GET / HTTP/1.1\r\nHost: a\r\n", "a_b:\r\n", "\r\n"]),
        ("options", ["GET / HTTP/1.1\r\nHost: a\r\nConnection: ", "a,", "a\r\n\r\n"]),
        ("requests", ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""]),
        ("chunks", [chunked, "1\r\na\r\n", "0\r\n\r\n"]),
        ("an extension", [chunked, "1;a\r\na\r\n", "0\r\n\r\n"]),
        ("a long extension", [&format!("{chunked}0;"), "a", "\r\n\r\n"]),
        ("trailers", [&ended, "a:\r\n", "\r\n"]),
        ("odd trailers", [&ended, "a_b:\r\n", "\r\n"]),
        ("a trailer", [&format!("{ended}a:"), "a", "\r\n\r\n"]),
    ];
    for (what, parts) in parts {
        for size in [1, 7, 1000, usize::MAX / 2] {
            check(&format!("{what} in pieces of {size}"), parts, |stream| in_pieces(stream, size));
        }
    }
}

#[test]
fn a_body_that_is_taken_apart_costs_by_its_length() {
    for (what, parts) in [
        ("chunks", ["", "1\r\na\r\n", "0\r\n\r\n"]),
        ("trailers", ["0\r\n", "a:\r\n", "\r\n"]),
        ("forbidden trailers", ["0\r\n", "x-forwarded-a:\r\n", "\r\n"]),
    ] {
        for size in [1, 1000, usize::MAX / 2] {
            check(&format!("{what} in pieces of {size}"), parts, |body| {
                let mut chunks = Chunks::new(Rules { any_trailer: true, ..boundless() });
                let (mut at, mut seen, mut is_over) = (0, size.min(body.len()), false);
                while !is_over {
                    let (framing, piece) = chunks.next(&body[at..seen]).unwrap();
                    at += framing;
                    match piece {
                        Piece::Data(count) => at += count,
                        Piece::End(_) => is_over = true,
                        Piece::None => seen = body.len().min(seen + size),
                    }
                }
                assert_eq!(at, body.len());
            });
        }
    }
}

#[test]
fn a_head_over_http2_costs_by_its_length() {
    check("headers", ["", "x_y", ""], |names| {
        let head = Http2Head { method: b"GET", target: b"/", authority: None, has_body: false };
        let headers = names.chunks(3).map(|name| (name, &b"value"[..]));
        black_box(head.check(headers, &boundless())).unwrap();
    });
}

#[test]
fn who_the_client_is_costs_by_what_proxies_said() {
    let own: IpAddr = [127, 0, 0, 1].into();
    let trust = Trust::Networks(vec!["127.0.0.0/8".parse().unwrap()]);
    for (format, parts) in [
        (Format::XForwardedFor, ["", "127.0.0.1,", "127.0.0.1"]),
        (Format::XForwardedFor, ["", ",", ""]),
        (Format::XForwardedFor, ["", " ", ""]),
        (Format::Forwarded, ["", "for=127.0.0.1,", "for=127.0.0.1"]),
        (Format::Forwarded, ["", "for=\"127.0.0.1\";by=\"a,b\",", "for=127.0.0.1"]),
        (Format::Forwarded, ["", ";", ""]),
        (Format::Forwarded, ["", "\"", ""]),
        (Format::Forwarded, ["", ",\"", ""]),
        (Format::Forwarded, ["for=\"", "\\", "\""]),
        (Format::Forwarded, ["for=\"", "\\\",", "\""]),
    ] {
        check(&format!("{format:?}: {parts:?}"), parts, |line| {
            for trust in [&trust, &Trust::Hops(60)] {
                black_box(client_address(format, [line], own, trust));
            }
        });
    }
}
