use super::{super::OddNames, *};
use Violation::*;

fn line_passes(line: &str) {
    passes(&format!("{line}\r\nHost: a\r\n\r\n"));
}

fn line_refused(line: &str, violation: Violation) {
    refused(format!("{line}\r\nHost: a\r\n\r\n"), violation);
}

fn header_passes(lines: &str) {
    passes(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"));
}

#[test]
fn request_lines_that_pass() {
    for method in
        ["GET", "HEAD", "POST", "PUT", "P", "DELETE", "OPTIONS", "TRACE", "PATCH", "M-SEARCH", "A!#$%&'*+.^_`|~"]
    {
        line_passes(&format!("{method} / HTTP/1.1"));
    }
    for target in ["/", "/?", "/a/b;c=d,e?f=g&h=%20", "//b/c", "/a:b@c", "/\"<>\\^`{|}[]", "/?a/../b"] {
        line_passes(&format!("GET {target} HTTP/1.1"));
        line_passes(&format!("GET {target} HTTP/1.0"));
    }
    for target in ["http://a", "http://a/", "HTTP://A/b?c", "http://a:80/", "https://a:443?b", "https://a/b"] {
        line_passes(&format!("GET {target} HTTP/1.1"));
    }
    line_passes("OPTIONS * HTTP/1.1");
    line_passes("OPTIONS http://a HTTP/1.1");
    line_passes("CONNECT a:443 HTTP/1.1");
    passes("CONNECT a:443 HTTP/1.1\r\nHost: A:443\r\n\r\n");
    passes("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]\r\n\r\n");
}

#[test]
fn methods_that_are_refused() {
    for bad in ["(", "G(T", "G\"T", "G/T", "G:T", "G@T", "{", "G\tT", "G\0T", "G\x7fT", "G\u{e9}T", "\u{16}\u{3}\u{1}"]
    {
        line_refused(&format!("{bad} / HTTP/1.1"), BadMethod);
    }
    // To some servers they are others.
    for bad in ["get", "Get", "gET", "POSt", "patch", "own", "MkCol"] {
        line_refused(&format!("{bad} / HTTP/1.1"), SmallMethod);
    }
    line_refused("PRI / HTTP/1.1", BadMethod);
    line_refused(" GET / HTTP/1.1", BadMethod);
    line_refused(" / HTTP/1.1", BadMethod);
    line_refused("  HTTP/1.1", BadMethod);
    line_refused("\tGET / HTTP/1.1", BadMethod);
    line_refused("GET", BadMethod);
    line_refused("GET\t/ HTTP/1.1", BadMethod);
    line_refused(&format!("{} / HTTP/1.1", "M".repeat(33)), MethodTooLong);
    line_refused(&"M".repeat(100), MethodTooLong);
    line_passes(&format!("{} / HTTP/1.1", "M".repeat(32)));
    line_refused("GET\n/ HTTP/1.1", BareLf);
}

#[test]
fn targets_that_are_refused() {
    for bad in ["/\t", "/\0", "/\x01", "/\x1f", "/\x7f", "/\u{e9}", "/a\x0bb", "/a\x0cb"] {
        line_refused(&format!("GET {bad} HTTP/1.1"), BadTarget);
    }
    line_refused("GET  / HTTP/1.1", BadTarget);
    line_refused("GET  HTTP/1.1", BadTarget);
    line_refused("OPTIONS  HTTP/1.1", BadTarget);
    line_refused("GET \r", BadTarget);
    line_refused("GET \t/ HTTP/1.1", BadTarget);
    refused(b"GET /\x80 HTTP/1.1\r\n\r\n", BadTarget);
    refused(b"GET /\xff HTTP/1.1\r\n\r\n", BadTarget);
    line_refused("GET /# HTTP/1.1", Fragment);
    line_refused("GET http://a/#b HTTP/1.1", Fragment);
    for bad in ["*", "a", "a:443", "a/b", "?a", "ftp://a/", "http:/a", "http:a", "urn:a", "\\a", "./", "ws://a/"] {
        line_refused(&format!("GET {bad} HTTP/1.1"), TargetForm);
    }
    line_refused("OPTIONS ** HTTP/1.1", TargetForm);
    line_refused("OPTIONS *?a HTTP/1.1", TargetForm);
    line_refused("connect a:443 HTTP/1.1", SmallMethod);
    for bad in ["*", "/", "/a", "http://a", "http://a:80/"] {
        line_refused(&format!("CONNECT {bad} HTTP/1.1"), TargetForm);
    }
    for bad in ["a", ":443", "a:", "a:0", "a:65536", "u@a:443", "::1:443", "a:443:443", "a:+1"] {
        line_refused(&format!("CONNECT {bad} HTTP/1.1"), BadAuthority);
    }
    for bad in [
        "http://",
        "http:///",
        "http://:80/",
        "http://u@a/",
        "http://u:p@a/",
        "http://a:/",
        "http://a:b/",
        "http://a\\b/",
        "http://[::1/",
        "http://%61/",
        "http://a,b/",
        "http://?a",
    ] {
        line_refused(&format!("GET {bad} HTTP/1.1"), BadAuthority);
    }
}

#[test]
fn versions_that_are_refused() {
    for bad in [
        "HTTP/1",
        "HTTP/1.",
        "HTTP/11",
        "HTTP/1.1 ",
        "HTTP/1.11",
        "HTTP/01.1",
        "HTTP/1.1\t",
        " HTTP/1.1",
        "http/1.1",
        "HTTP/1,1",
        "HTTP/a.1",
        "HTTP/1.a",
        "HTTPS/1.1",
        "XTTP/1.1",
        "b HTTP/1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/+1.1",
        "HTTP/\u{661}.1",
        "HTTP/2",
        "\tHTTP/1.1",
        "HTTP/1.1\0",
    ] {
        line_refused(&format!("GET / {bad}"), BadVersion);
    }
    line_refused("GET / ", BadVersion);
    line_refused("GET /", MissingVersion);
    line_refused("GET / HTTP/0.9", MissingVersion);
    for bad in ["HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/2.1"] {
        line_refused(&format!("GET / {bad}"), UnsupportedVersion);
    }
    assert_eq!(UnsupportedVersion.status(), 505);
    refused("GET / HTTP/1.1\nHost: a\n\n", BareLf);
    refused("GET / HTTP/1.1\rHost: a\r\n\r\n", BareCr);
    refused("GET / HTTP/1.1\r\rHost: a\r\n\r\n", BareCr);
    refused("GET /\nHost: a\n\n", BareLf);
}

#[test]
fn one_empty_line_may_come_before_a_request() {
    line_passes("\r\nGET / HTTP/1.1");
    passes("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    line_refused("\r\n\r\nGET / HTTP/1.1", EmptyLines);
    line_refused("\nGET / HTTP/1.1", BareLf);
    line_refused("\r\n\nGET / HTTP/1.1", BareLf);
    line_refused("\rGET / HTTP/1.1", BareCr);
    line_refused("\r\n GET / HTTP/1.1", BadMethod);
}

#[test]
fn headers_that_pass() {
    for line in [
        "X:",
        "X: ",
        "X:a",
        "X:\ta\t",
        "X: a b\tc",
        "X: \u{e9}",
        "x: :",
        "X-1: \"(),/:;<=>?@[\\]{}",
        "!#$%&'*+-.^_`|~: a",
        "_: a",
        "X: a\r\nX: b",
        "Upgrade: h2c\r\nConnection: upgrade",
        "api_key: 1",
        "Content-Type_: a",
        "Content-Lengths: x",
        "Xontent-Length: x",
        "TE: trailers",
        "Expect: 100-continue",
    ] {
        header_passes(line);
    }
    header_passes(&format!("X: {}", "a\tb".repeat(5000)));
    refused_by(Rules::default(), b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\x80\r\n\r\n!(", BadMethod);
}

#[test]
fn lines_that_are_refused() {
    for bad in ["X : a", "X\t: a", "Content-Length : 5", "Transfer-Encoding : chunked", "Host : a", "X y: a", "X a"] {
        header_refused(bad, SpaceBeforeColon);
    }
    for bad in [
        " X: a",
        "\tX: a",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X: a\r\n ",
        "Transfer-Encoding: chunked\r\n ,x",
        "Content-Length: 5\r\n\t",
    ] {
        header_refused(bad, Folded);
    }
    refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Folded);
    refused("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", Folded);
    for bad in [":", ": a", ":Host: a"] {
        header_refused(bad, EmptyName);
    }
    for bad in ["X", "Host", "X-Y\r\nX: b"] {
        header_refused(bad, MissingColon);
    }
    for bad in [
        "X\0: a",
        "X\x0b: a",
        "Content-Length\x0b: 5",
        "Transfer-Encoding\x0c: chunked",
        "X(: a",
        "X/Y: a",
        "[X]: a",
        "X\"Y\": a",
        "X=a",
        "X;: a",
        "\u{e9}: a",
        "X\u{a0}: a",
        "\x0bX: a",
        "Transfer\u{2d0}Encoding: chunked",
        "X\x7f: a",
        "{: a",
        "X@: a",
        "<: a",
    ] {
        header_refused(bad, BadName);
    }
    for bad in [
        "X: a\0b",
        "X: \x01",
        "X: a\x1fb",
        "X: \x7f",
        "X: \x0b",
        "X: a\x0c",
        "X: \x08",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\0",
        "Content-Length: 5\0",
        "Host: a\0b",
        "X: \x1b[0m",
    ] {
        header_refused(bad, ControlByte);
    }
}

#[test]
fn lines_end_in_crlf_and_in_nothing_else() {
    for bad in [
        "X: a\nY: b",
        "X\n: a",
        "X: \n",
        "\nX: a",
        "X: a\n\r",
        "Content-Length: 5\n",
        "X: a\nTransfer-Encoding: chunked",
    ] {
        header_refused(bad, BareLf);
    }
    for bad in ["X: a\rb", "X: a\r\r", "X: a\rTransfer-Encoding: chunked", "\rX: a", "X: \r"] {
        header_refused(bad, BareCr);
    }
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n", BareLf);
    refused("GET / HTTP/1.1\r\nHost: a\r\n\rX: a\r\n\r\n", BareCr);
    refused("GET / HTTP/1.1\r\nHost: a\n\r\n", BareLf);
}

#[test]
fn names_that_pretend_to_be_others() {
    let head = |name: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n").into_bytes();
    let by = |odd_names| Rules { odd_names, ..Rules::default() };
    for name in ["Content_Length", "content.length", "Transfer_Encoding", "TRANSFER~ENCODING"] {
        for odd_names in [OddNames::Allow, OddNames::RefuseAliases, OddNames::Refuse] {
            refused_by(by(odd_names), &head(name), AliasName);
        }
    }
    for name in
        ["X_Forwarded_For", "x-forwarded_proto", "X_Forwarded_Anything", "X.Real.IP", "x_request_id", "Keep_Alive"]
    {
        refused_by(by(OddNames::RefuseAliases), &head(name), AliasName);
        refused_by(by(OddNames::Refuse), &head(name), OddName);
        assert_eq!(whole(by(OddNames::Allow), &head(name)).verdict, Verdict::More);
    }
    for name in ["api_key", "_", "x_forwardedfor", "x.y"] {
        refused_by(by(OddNames::Refuse), &head(name), OddName);
        assert_eq!(whole(by(OddNames::RefuseAliases), &head(name)).verdict, Verdict::More);
    }
    for name in ["X-Forwarded-For", "X-Request-Id"] {
        assert_eq!(whole(by(OddNames::Refuse), &head(name)).verdict, Verdict::More);
    }
}

#[test]
fn heads_that_are_too_large() {
    let rules = Rules { request_line_bytes: 100, header_bytes: 200, header_count: 5, ..Rules::default() };
    let ends_at = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 16));
    assert_eq!(whole(rules, ends_at(100).as_bytes()).verdict, Verdict::More);
    refused_by(rules, ends_at(101).as_bytes(), RequestLineTooLong);
    refused_by(rules, ends_at(500).as_bytes(), RequestLineTooLong);
    refused_by(rules, format!("GET /{}", "a".repeat(200)).as_bytes(), RequestLineTooLong);
    refused_by(rules, format!("\r\n{}", ends_at(101)).as_bytes(), RequestLineTooLong);
    assert_eq!(whole(rules, format!("\r\n{}", ends_at(100)).as_bytes()).verdict, Verdict::More);
    assert_eq!(RequestLineTooLong.status(), 414);

    let of = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(bytes - 16));
    assert_eq!(whole(rules, of(200).as_bytes()).verdict, Verdict::More);
    refused_by(rules, of(201).as_bytes(), HeadersTooLarge);
    refused_by(rules, of(2000).as_bytes(), HeadersTooLarge);
    let lines = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(count));
    assert_eq!(whole(rules, lines(4).as_bytes()).verdict, Verdict::More);
    refused_by(rules, lines(5).as_bytes(), TooManyHeaders);
    refused_by(rules, &[b"GET / HTTP/1.1\r\n".as_slice(), &[b'a'; 300]].concat(), HeadersTooLarge);
    assert_eq!((TooManyHeaders.status(), HeadersTooLarge.status()), (431, 431));
}
