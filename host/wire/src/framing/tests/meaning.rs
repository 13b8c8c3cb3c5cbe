use super::*;
use Violation::*;

#[test]
fn exactly_one_host() {
    for good in [
        "a",
        "",
        " ",
        "a:80",
        "example.com",
        "[::1]:8080",
        "10.0.0.1",
        "a_b",
        "A.EXAMPLE",
        "\ta\t",
        "xn--bcher-kva.example",
    ] {
        passes(&format!("GET / HTTP/1.1\r\nHost:{good}\r\n\r\n"));
    }
    passes("GET / HTTP/1.0\r\n\r\n");
    passes("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n");
    refused("GET / HTTP/1.1\r\n\r\n", MissingHost);
    refused("GET http://a/ HTTP/1.1\r\n\r\n", MissingHost);
    refused("GET / HTTP/1.1\r\nHosts: a\r\n\r\n", MissingHost);
    header_refused("Host: a", DuplicateHost);
    header_refused("HOST: b", DuplicateHost);
    refused("GET / HTTP/1.1\r\nhost:\r\nHost: a\r\n\r\n", DuplicateHost);
    refused("GET / HTTP/1.0\r\nHost: a\r\nX: b\r\nHost: a\r\n\r\n", DuplicateHost);
    for bad in [
        "a b", "a, b", "a,b", "u@a", "a/b", "a:b", "a:", ":80", "a?b", "a#b", "a\\b", "::1", "[::1", "a:99999", "a\tb",
        "%61", "http://a", "a;b", "\u{e9}",
    ] {
        refused(format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n"), BadHost);
    }
    for bad in ["b", "a:8080", "", "a.b", "a:443"] {
        refused(format!("GET http://a/ HTTP/1.1\r\nHost: {bad}\r\n\r\n"), HostMismatch);
    }
    refused("GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n", HostMismatch);
    refused("CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", HostMismatch);
    refused("CONNECT a:443 HTTP/1.1\r\nHost: a:80\r\n\r\n", HostMismatch);
    passes("GET http://a:80/ HTTP/1.1\r\nHost: A\r\n\r\n");
}

#[test]
fn lengths_that_are_refused() {
    for bad in [
        "", " ", "+5", "-5", "5,5", "5, 5", "0x5", "5 5", "5.0", "1e3", "five", "5;", "\"5\"", "1_000", "\u{665}",
        "5a", "a5", "5,",
    ] {
        header_refused(format!("Content-Length: {bad}"), BadLength);
    }
    for bad in ["9223372036854775808", "18446744073709551615", "18446744073709551616", &"9".repeat(100)] {
        header_refused(format!("Content-Length: {bad}"), LengthTooLarge);
    }
    header_refused("Content-Length: 0\r\nContent-Length: 0", DuplicateLength);
    header_refused("Content-Length: 5\r\ncontent-length: 6", DuplicateLength);
    header_refused("Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 5", DuplicateLength);
    passes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    passes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t000000000000000000000002 \r\n\r\nab");
    for method in ["TRACE / HTTP/1.1\r\nHost: a", "CONNECT a:1 HTTP/1.1\r\nHost: a"] {
        refused(format!("{method}\r\nContent-Length: 1\r\n\r\na"), BodyNotAllowed);
        refused(format!("{method}\r\nTransfer-Encoding: chunked\r\n\r\n"), BodyNotAllowed);
        passes(&format!("{method}\r\nContent-Length: 0\r\n\r\n"));
    }
}

#[test]
fn codings_that_are_refused() {
    for bad in [
        "",
        "identity",
        "gzip",
        "chunked, gzip",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "chunked chunked",
        "chunked, chunked",
        "chunked, identity",
        "'chunked'",
        "chun\tked",
        "x chunked",
        "chunk",
        "chunked\u{a0}",
        "(), chunked",
        "gzip;q=1, chunked",
    ] {
        header_refused(format!("Transfer-Encoding: {bad}"), BadCoding);
    }
    for bad in ["gzip, chunked", "identity,chunked", "deflate ,\tChunked", "x, y, chunked"] {
        header_refused(format!("Transfer-Encoding: {bad}"), UnsupportedCoding);
    }
    assert_eq!(UnsupportedCoding.status(), 501);
    header_refused("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", DuplicateCoding);
    header_refused("Transfer-Encoding: chunked\r\ntransfer-encoding: identity", DuplicateCoding);
    header_refused("Transfer-Encoding: chunked\r\nContent-Length: 5", LengthAndCoding);
    header_refused("Content-Length: 5\r\nTransfer-Encoding: chunked", LengthAndCoding);
    header_refused("Content-Length: 0\r\nTransfer-Encoding: identity", LengthAndCoding);
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", CodingInHttp10);
    for good in ["chunked", "Chunked", "CHUNKED", " \tchunked\t "] {
        passes(&format!("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:{good}\r\n\r\n0\r\n\r\n"));
    }
}
