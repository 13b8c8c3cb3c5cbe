//! What the check of a head costs: prints nanoseconds per head for a few kinds of heads,
//! beside what httparse takes to parse them.

use std::{hint::black_box, time::Instant};

use sluicegate_wire::framing::{Framing, Rules, Verdict};

const HEADS: u32 = 500;
const ROUNDS: u32 = 1000;

fn main() {
    let browser = "GET /assets/app.js?v=1234567 HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux \
                   x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: */*\r\nAccept-Language: en-US,en;q=0.5\r\n\
                   Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef\r\n\
                   \r\n";
    let small = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
    let cookie = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "k=0123456789abcdef; ".repeat(200));
    let many: String = (0..90).map(|index| format!("X-Header-{index}: value {index}\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    let post = "POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello=world";
    for (name, text) in
        [("small", small), ("browser", browser), ("post", post), ("4 KB cookie", &cookie), ("90 headers", &many)]
    {
        let (bytes, heads) = (text.as_bytes(), f64::from(HEADS));
        let ours = best(|| {
            let mut framing = Framing::new(Rules::default());
            for _ in 0..HEADS {
                let step = framing.advance(black_box(bytes));
                assert!(step.passed == text.len() && step.verdict == Verdict::More);
            }
        });
        let theirs = best(|| {
            for _ in 0..HEADS {
                let mut headers = [httparse::EMPTY_HEADER; 100];
                assert!(httparse::Request::new(&mut headers).parse(black_box(bytes)).unwrap().is_complete());
            }
        });
        println!("{name:12} {:5} bytes {:7.1} ns, httparse {:7.1} ns", text.len(), ours / heads, theirs / heads);
    }
}

/// The best of many short rounds, in nanoseconds: the machine may have other work to do.
fn best(mut round: impl FnMut()) -> f64 {
    let mut best = u128::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round();
        best = best.min(start.elapsed().as_nanos());
    }
    best as f64
}
