use super::*;
use Violation::*;

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

fn chunks_pass(body: &str) {
    passes(&format!("{CHUNKED}{body}"));
    passes(&format!("{CHUNKED}{body}{NEXT}{CHUNKED}{body}"));
}

/// Says how much of the body passes.
fn chunks_refused(body: impl AsRef<[u8]>, violation: Violation) -> usize {
    let stream = [CHUNKED.as_bytes(), body.as_ref()].concat();
    refused_by(Rules::default(), &stream, violation) - CHUNKED.len()
}

#[test]
fn sized_bodies_end_where_they_say() {
    passes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    passes(&format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{NEXT}{NEXT}", NEXT.len()));
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc(", BadMethod);
    let mut framing = Framing::new(Rules::default());
    let head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n";
    assert_eq!(framing.advance(head).passed, head.len());
    assert_eq!(framing.advance(&[0; 1000]), Step { passed: 1000, verdict: Verdict::More });
    assert_eq!(framing.phase(), Phase::Body);
}

#[test]
fn chunks_that_pass() {
    for body in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhel\r\n\r\n0\r\n\r\n",
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "0000000000000001\r\na\r\n0\r\n\r\n",
        "1;a\r\nx\r\n0;b=c\r\n\r\n",
        "1;a=\"b c;\";\td\r\nx\r\n0\r\n\r\n",
        "1;\r\nx\r\n0\r\n\r\n",
        "0\r\nX-Checksum: 1\r\n\r\n",
        "1\r\nx\r\n0\r\na: b\r\nc:\r\n\r\n",
        "0\r\nServer-Timing: a\r\nGrpc-Status: 0\r\n\r\n",
    ] {
        chunks_pass(body);
    }
    // Data is anything.
    let step = whole(Rules::default(), &[CHUNKED.as_bytes(), b"4\r\n\0\xff\r\n\r\n0\r\n\r\n"].concat());
    assert_eq!(step.verdict, Verdict::More);
}

#[test]
fn chunks_that_are_refused() {
    for bad in [
        "\r\n",
        " 5\r\n",
        "5 \r\n",
        "5\t;a\r\n",
        "g\r\n",
        "0x5\r\n",
        "+5\r\n",
        "-5\r\n",
        ";a\r\n",
        "5_0\r\n",
        "5,\r\n",
        "5\0\r\n",
        "5\x0b\r\n",
        "\u{665}\r\n",
        "5.\r\n",
    ] {
        chunks_refused(bad, BadChunkSize);
    }
    for bad in ["00000000000000001\r\n", "8000000000000000\r\n", "ffffffffffffffff\r\n", "10000000000000000\r\n"] {
        chunks_refused(bad, ChunkTooLarge);
    }
    for bad in ["5\n", "5;a\nhello", "\n", "0;\n\r\n"] {
        chunks_refused(bad, BareLf);
    }
    for bad in ["5\rhello", "5;a\rb\r\n", "5\r\r\n", "0\r0\r\n"] {
        chunks_refused(bad, BareCr);
    }
    for bad in ["5;\0\r\n", "5;a=\x7f\r\n", "5;\x0b\r\n", "5;\u{e9}\r\n"] {
        chunks_refused(bad, BadChunkExtension);
    }
    for bad in [
        "5\r\nhello!\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n",
        "5\r\nhello\r0",
        "5\r\nhello0\r\n\r\n",
        "1\r\n\r\n0\r\n\r\n",
    ] {
        chunks_refused(bad, BadChunkEnd);
    }
    assert_eq!(chunks_refused("5\r\nhello!", BadChunkEnd), 8);
    chunks_refused(format!("1;{}\r\n", "a".repeat(253)), ChunkLineTooLong);
    chunks_pass(&format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(252)));
}

#[test]
fn trailers_that_are_refused() {
    for bad in [
        "Content-Length: 5",
        "transfer-encoding: chunked",
        "HOST: b",
        "Connection: x",
        "TE: x",
        "Trailer: x",
        "Cookie: a",
        "Authorization: a",
        "X-Forwarded-For: a",
        "X_Forwarded: a",
        "Forwarded: a",
        "Upgrade: a",
        "Expect: a",
        "Content-Type: a",
        "X-Forwarded-Whatever: 1",
    ] {
        let expected = if bad.contains('_') { AliasName } else { ForbiddenTrailer };
        // Nothing of the trailers passes, so that the server never sees the body's end.
        assert_eq!(chunks_refused(format!("0\r\na: b\r\n{bad}\r\n\r\n"), expected), 3, "{bad}");
    }
    chunks_refused("0\r\nGET / HTTP/1.1\r\n\r\n", SpaceBeforeColon);
    chunks_refused("0\r\n\n", BareLf);
    chunks_refused("0\r\n\r\r", BareCr);
    chunks_refused("0\r\na: b\n\r\n", BareLf);
    chunks_refused("0\r\n a: b\r\n\r\n", Folded);
    chunks_refused("0\r\n: b\r\n\r\n", EmptyName);
    chunks_refused("0\r\na: \0\r\n\r\n", ControlByte);
    chunks_refused("0\r\nContent_Length: 0\r\n\r\n", AliasName);
    chunks_refused(format!("0\r\n{}\r\n", "a: b\r\n".repeat(33)), TooManyTrailers);
    chunks_pass(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(32)));
    chunks_refused(format!("0\r\na: {}\r\n\r\n", "b".repeat(8192)), TrailersTooLarge);
}

#[test]
fn what_comes_after_a_body_is_a_request() {
    // The smuggler's classics: what one side takes for the end of a body is the beginning of the other's next request.
    chunks_refused("0\r\n\r\n\0", BadMethod);
    chunks_refused("0\r\n\r\n0\r\n\r\n", BadMethod);
    chunks_refused("0\r\n\r\n\r\n\r\n", EmptyLines);
    chunks_refused("0\r\n\r\n\n", BareLf);
}
