"""Ambiguous HTTP/1.1: what two parsers have been known to read in different ways, and combinations of it.

A case is a name and the bytes of a connection. Most are one request in which one or two things are odd; a request that
is in order comes behind it, so that a reader who ends the odd one in another place shows it.
"""

import itertools
import random

# Behind every case. Whoever takes all or a part of it for something else has lost the thread.
LAST = b"GET /last HTTP/1.1\r\nHost: last.test\r\nConnection: close\r\n\r\n"

LINE = b"%s %s HTTP/1.1\r\n"
HOST = b"Host: a.test\r\n"
END = b"\r\n"

# What hides in a body, to show itself where the body is taken for a request.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: hidden.test\r\n\r\n"
CHUNKED_BODY = b"5\r\nhello\r\n0\r\n\r\n"

# fmt: off
LENGTHS = [
    b"5", b"05", b"+5", b"-5", b"5 ", b" 5", b"\t5", b"5\t", b"5,5", b"5, 5", b"5,6", b"0x5", b"5.0", b"5e0", b"", b" ",
    b"5 5", b"5;x", b"\x0b5", b"5\x0b", b"5\x0c", b"5\x00", b"\x005", b"5\xa0", b"\xef\xbc\x95", b"0", b"00", b"-0",
    b"+0", b"1_0", b"0b101", b"0o5", b"'5'", b'"5"', b"five", b"nan", b"18446744073709551621", b"4294967301",
    b"9223372036854775808", b"99999999999999999999999999", b"5\r", b"5\n", b"5\r\n 5", b"5\r\n\t", b"5\x85", b"5#",
]

CODINGS = [
    b"chunked", b"Chunked", b"CHUNKED", b"chunked ", b" chunked", b"\tchunked", b"chunked\t", b"\x0bchunked",
    b"chunked\x0b", b"\x0cchunked", b"chunked\x0c", b"chunked\x00", b"\x00chunked", b"xchunked", b"chunkedx",
    b"x chunked", b"chunked x", b"chunked,", b",chunked", b"chunked, chunked", b"chunked,chunked", b"identity",
    b"identity, chunked", b"chunked, identity", b"gzip, chunked", b"chunked, gzip", b"gzip", b"deflate", b"chunked;q=1",
    b"chunked; x=y", b"'chunked'", b'"chunked"', b"", b" ", b"cow", b"cow, chunked", b"chunked\r\n x", b"chunked\r\n ",
    b"\r\n chunked", b"\r\n\tchunked", b"chunked\r", b"\nchunked", b"chun\x00ked", b"\xffchunked", b"chun ked",
    b"c\xc4\xa5unked", b"chunked\xa0", b"chunked#", b"trailers, chunked",
]

CODING_NAMES = [
    b"Transfer-Encoding:", b"transfer-encoding:", b"TRANSFER-ENCODING:", b"Transfer-Encoding :",
    b"Transfer-Encoding\t:", b" Transfer-Encoding:", b"\tTransfer-Encoding:", b"Transfer_Encoding:",
    b"Transfer Encoding:", b"Transfer-Encoding\x00:", b"\x00Transfer-Encoding:", b"Transfer-Encoding\x0b:",
    b"\x0bTransfer-Encoding:", b"Transfer-Encoding\xa0:", b"Transfer-Encoding;", b"Transfer-Encoding",
    b"Transfer-Encoding=", b"Transfer.Encoding:", b"X: y\nTransfer-Encoding:", b"X: y\rTransfer-Encoding:",
    b"X: y\r\n Transfer-Encoding:", b"X:\r\n\r\nTransfer-Encoding:", b":Transfer-Encoding:", b"Transfer-Encoding::",
    b"TransferEncoding:", b"Transfer--Encoding:", b"Transfer-Encoding\r\n:", b"X: \x00\r\nTransfer-Encoding:",
    b'"Transfer-Encoding":', b"Transfer-Encod\xc4\xb1ng:",
]

CHUNKS = [
    b"5\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5\r\nhello\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n",
    b"5\rhello\r0\r\r", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n", b"6\r\nhello\r\n0\r\n\r\n", b"4\r\nhello\r\n0\r\n\r\n", b"05\r\nhello\r\n0\r\n\r\n",
    b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n", b"5\t\r\nhello\r\n0\r\n\r\n", b"5;\r\nhello\r\n0\r\n\r\n",
    b"5;a\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\n\r\n", b"5 ;a=b\r\nhello\r\n0\r\n\r\n",
    b"5;a=\"b\"\r\nhello\r\n0\r\n\r\n", b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", b"5;a\nhello\r\n0\r\n\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"5;\x00\r\nhello\r\n0\r\n\r\n", b"5;\xff\r\nhello\r\n0\r\n\r\n",
    b"5,5\r\nhello\r\n0\r\n\r\n", b"5;a\r\r\nhello\r\n0\r\n\r\n", b"5\r\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"5x\r\nhello\r\n0\r\n\r\n",
    b"5.0\r\nhello\r\n0\r\n\r\n", b"g\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n", b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"5_0\r\nhello\r\n0\r\n\r\n", b"A\r\nhellohello\r\n0\r\n\r\n", b"a\r\nhellohello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n00\r\n\r\n", b"5\r\nhello\r\n0;x\r\n\r\n", b"5\r\nhello\r\n0 \r\n\r\n", b"5\r\nhello\r\n0\r\n",
    b"5\r\nhello\r\n0\r\n\r", b"5\r\nhello\r\n0\r\n\n", b"5\r\nhello\r\n0\n\r\n", b"5\r\nhello\r\n0\r\r\n",
    b"5\r\nhello\r\n-0\r\n\r\n", b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
    b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\nHost: evil.test\r\n\r\n",
    b"5\r\nhello\r\n0\r\n X: folded\r\n\r\n", b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n", b"5\r\nhello\r\n0\r\nX\r\n\r\n",
    b"5\r\nhello\r\n0\r\n: 1\r\n\r\n", b"5\r\nhello\r\n0\r\nX: 1\n\r\n", b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: 1\r\n Y: 2\r\n\r\n", b"5\r\nhello\r\n0\r\nContent_Length: 9\r\n\r\n",
    b"5\r\nhello\r\n0\r\nCookie: a=b\r\nX-A: 2\r\n\r\n", b"5\r\nhello\r\n0\r\n" + HIDDEN,
    b"100000005\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"7fffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"fffffffffffffffb\r\nhello\r\n0\r\n\r\n", b"5" + b";x" * 200 + b"\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n",
    b"1\r\nh\r\n" * 5 + b"0\r\n\r\n", b"5\r\nhello\r\n\r\n0\r\n\r\n", b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
    b"5\r\nhel\r\n0\r\n\r\n\r\n", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
]

TARGETS = [
    b"/", b"/a", b"/a?b=c", b"/a?b=c?d", b"?a", b"a", b"", b"*", b"//", b"//b.test/a", b"///a", b"/a//b", b"/./a",
    b"/../a", b"/a/../b", b"/a/..", b"/a/.", b"/%2e%2e/a", b"/%2E./a", b"/a%2fb", b"/a%2Fb", b"/a%5cb", b"/a\\b",
    b"\\a", b"/a;b", b"/a/..;/b", b"/a;/../b", b"/%", b"/%zz", b"/%0", b"/%00", b"/%0d%0aX:%20y", b"/a%00b", b"/a%0ab",
    b"/a%20b", b"/a%25%32%65", b"/%c0%ae%c0%ae/", b"/\xc3\xa4", b"/\xff", b"/a\x00b", b"/a\x7fb", b"/a\x0bb",
    b"/a\x0cb", b"/a\tb", b"/a b", b"/a  b", b"/a#b", b"/a%23b", b"/a?b#c", b"/a?\x00", b"/a?%00", b"/a?b\tc", b'/a"b',
    b"/a<b>", b"/a{b}", b"/a|b", b"/a^b", b"/a`b", b"/a'b", b"/~a", b"/a:80", b"/a@b", b"/a=b&c", b"http://a.test/",
    b"http://a.test", b"http://a.test?b", b"http://a.test#b", b"HTTP://a.test/", b"hTTp://a.test/x", b"http://b.test/",
    b"https://a.test/", b"http://a.test:80/", b"http://a.test:/", b"http://a.test:x/", b"http://a.test:99999/",
    b"http://a.test:080/", b"http://user@a.test/", b"http://user:pw@a.test/", b"http://@a.test/", b"http:///a",
    b"http:/a", b"http:a", b"http://", b"http://a.test\\b.test/", b"http://a.test/../b", b"http://A.TEST/",
    b"http://a.test./", b"http://a%2etest/", b"http://[::1]/", b"http://[::1/", b"http://a test/", b"ftp://a.test/",
    b"file:///etc/passwd", b"ws://a.test/", b"x:y", b"://a.test/", b"a.test:80", b"a.test", b"/http://b.test/",
    b"/a?http://b.test/", b"/" + b"a" * 7000, b"/" + b"a" * 9000, b"/a?" + b"b" * 7900,
]

METHODS = [
    b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"get", b"Get", b"gEt",
    b"G", b"BREW", b"PROPFIND", b"PRI", b"M-SEARCH", b"GET\x00", b"\x00GET", b"GE\x00T", b"GET:", b"GET/", b"(GET)",
    b"\"GET\"", b"GET,POST", b"G\xc3\x8bT", b"", b" GET", b"\tGET", b"GET ", b"GET\t", b"G ET", b"!#$%&'*+-.^_`|~",
    b"A" * 31, b"A" * 40, b"A" * 300, b"\nGET", b"\rGET", b"\r\nGET", b"\r\n\r\nGET", b"\n\nGET", b"\r\n\nGET",
    b"\x0bGET", b"\xef\xbb\xbfGET", b"HTTP/1.1 200 OK\r\nGET", b"UPDATEREDIRECTREF", b"QUERY", b"SEARCH", b"LINK",
    b"PURGE",
]

VERSIONS = [
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/2", b"HTTP/1", b"HTTP/1.",
    b"HTTP/1.10", b"HTTP/1.01", b"HTTP/01.1", b"HTTP/11.1", b"HTTP/1.1 ", b" HTTP/1.1", b"\tHTTP/1.1", b"HTTP/1.1\t",
    b"HTTP/1.1x", b"http/1.1", b"Http/1.1", b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP/1 .1", b"HTTP/1. 1", b"HTTP/1,1",
    b"HTTP-1.1", b"HTTP/-1.1", b"HTTP/+1.1", b"HTTP/1.1\x00", b"HTTP/1.1 HTTP/1.1", b"x HTTP/1.1", b"HTTPS/1.1",
    b"HTP/1.1", b"ICY/1.1", b"RTSP/1.0", b"", b"HTTP/1.1\r", b"HTTP/1.\xb1", b"HTTP/\xef\xbc\x91.1", b"HTTP/3.0",
    b"HTTP/1.1;x", b"\x0bHTTP/1.1", b"\x0cHTTP/1.0", b"HTTP/1.0x",
]

HOSTS = [
    b"", b"Host: a.test\r\n", b"Host:a.test\r\n", b"Host:\r\n", b"Host: \r\n", b"Host: a.test \r\n",
    b"Host:\ta.test\t\r\n", b"Host: a.test\r\nHost: a.test\r\n", b"Host: a.test\r\nHost: b.test\r\n",
    b"Host: a.test, b.test\r\n", b"Host: a.test b.test\r\n", b"Host : a.test\r\n", b" Host: a.test\r\n",
    b"Host: a.test\r\n b.test\r\n", b"Host: a.test:80\r\n", b"Host: a.test:\r\n", b"Host: a.test:x\r\n",
    b"Host: a.test:80:80\r\n", b"Host: a.test:99999\r\n", b"Host: a.test:-1\r\n", b"Host: :80\r\n",
    b"Host: user@a.test\r\n", b"Host: a.test/b\r\n", b"Host: a.test?b\r\n", b"Host: a.test#b\r\n",
    b"Host: a.test\\b\r\n", b"Host: http://a.test\r\n", b"Host: [::1]\r\n", b"Host: [::1]:80\r\n", b"Host: [::1\r\n",
    b"Host: ::1\r\n", b"Host: [v1.x]\r\n", b"Host: A.Test\r\n", b"Host: a.test.\r\n", b"Host: .a.test\r\n",
    b"Host: a..test\r\n", b"Host: a_b.test\r\n", b"Host: a%2etest\r\n", b"Host: \xc3\xa4.test\r\n",
    b"Host: a.test\x00\r\n", b"Host: a\x00.test\r\n", b"Host: a.test\x0b\r\n", b"Host: 'a.test'\r\n",
    b"Host: \"a.test\"\r\n", b"Host: a.test;x\r\n", b"Host: (a)\r\n", b"Host: -\r\n", b"Host: *\r\n",
    b"Host: 127.0.0.1\r\n", b"Host: 127.1\r\n", b"Host: 0x7f.1\r\n", b"Host: a.test\nX-B: 2\r\n",
    b"Host: a.test\rX-B: 2\r\n", b"H\xc3\xb6st: a.test\r\n", b"Host\x00: a.test\r\n", b"Host;: a.test\r\n",
    b"X-B: 1\r\nHost: a.test\r\n", b"host: a.test\r\nHOST: a.test\r\n", b"Host: a.test\r\nX-Forwarded-Host: b.test\r\n",
    b"Host: " + b"a" * 300 + b"\r\n", b"Host: a,\r\n", b"Host: $host\r\n", b"Host: a~b\r\n", b"Host: a!b\r\n",
]

LINES = [
    b"X-A: 1", b"X-A:1", b"X-A:  1  ", b"X-A:\t1\t", b"X-A:", b"X-A: ", b"X-A : 1", b"X-A\t: 1", b" X-A: 1",
    b"\tX-A: 1", b"X-A: 1\r\n 2", b"X-A: 1\r\n\t2", b"X-A: 1\r\n ", b"X-A:\r\n 1", b"X-A", b"X-A 1", b": 1", b":", b" ",
    b"\t", b"X-A: 1\nX-B: 2", b"X-A: 1\rX-B: 2", b"X-A: 1\n\rX-B: 2", b"X-A: 1\r\r\nX-B: 2", b"X-A: 1\n\nX-B: 2",
    b"X-A: 1\r\rX-B: 2", b"X-A: \x00", b"X-A: 1\x002", b"X\x00A: 1", b"X-A: \x01", b"X-A: \x7f", b"X-A: \x08",
    b"X-A: \x0b", b"X-A: \x0c1", b"X-A: \x1b", b"X-A: 1\x85X-B: 2", b"X-A: \xff", b"X-A: \xc3\xa4", b"X-\xc3\x84: 1",
    b"X-A\xa0: 1", b"X_A: 1", b"X.A: 1", b"X-A: 1\r\nX_A: 2", b"X-A: 1\r\nx-a: 2", b"X-A: 1\r\nX-A: 1", b"X A: 1",
    b"X(A): 1", b"X/A: 1", b"X@A: 1", b"X[A]: 1", b"X{A}: 1", b"X\"A: 1", b"X,A: 1", b"X;A: 1", b"X=A: 1", b"X?A: 1",
    b"X\\A: 1", b"<X>: 1", b"!#$%&'*+-.^_`|~: 1", b"X-A: \"1\r\n2\"", b"X-A: a:b:c", b"X-A:: 1", b"X-A: " + b"1" * 8000,
    b"X-A: " + b"1" * 70000, b"\r\n".join(b"X-%d: 1" % n for n in range(90)),
    b"\r\n".join(b"X-%d: 1" % n for n in range(110)), b"X" * 300 + b": 1", b"Connection: close",
    b"Connection: keep-alive", b"Connection: close, keep-alive", b"Connection: X-A\r\nX-A: 1", b"Connection: Host",
    b"Connection: Content-Length", b"Connection: Transfer-Encoding", b"Connection: close, Host, X-A\r\nX-A: 1",
    b"Connection: \x00", b"Connection: ,,,", b"Connection: \"close\"", b"Connection: Cookie\r\nCookie: a=b",
    b"Connection: X-Forwarded-For", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.0", b"Connection: Upgrade\r\nUpgrade: websocket, h2c", b"Upgrade: h2c",
    b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"Proxy-Connection: keep-alive", b"TE: trailers",
    b"TE: chunked", b"TE: trailers, deflate;q=0.5", b"Trailer: X-T", b"Trailer: Content-Length",
    b"Expect: 100-continue", b"Expect: 100-Continue", b"Expect: 100-continue, x", b"Expect: x", b"Expect: ",
    b"Expect: 100-continue\r\nExpect: 100-continue", b"Expect: 200-ok", b"Max-Forwards: 0", b"Max-Forwards: x",
    b"Cookie: a=b\r\nCookie: c=d", b"Cookie: a=\"b;c\"", b"Authorization: x\r\nAuthorization: y",
    b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8", b"X_Forwarded_For: 1.2.3.4",
    b"X-Forwarded_For: 1.2.3.4", b"Forwarded: for=1.2.3.4", b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /b",
    b"X-Rewrite-URL: /b", b"Content-Type: a/b\r\nContent-Type: c/d", b"Range: bytes=0-1",
    b"Range: bytes=0-1\r\nRange: bytes=2-3", b"Content_Length: 9", b"Content-Length_: 9", b"Content.Length: 9",
    b"HTTP_HOST: evil.test", b"Content-Encoding: gzip", b"If-None-Match: *", b"Sec-WebSocket-Key: x",
    b"HTTP2-Settings: x", b"GET /hidden HTTP/1.1", b"HTTP/1.1 200 OK", b"Host: evil.test", b"Content-Length: 9",
]

ENDS = [b"\r\n", b"\n", b"\r", b"\n\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\r\n\r", b" \r\n", b"\t\r\n", b"\x00\r\n", b"\r\r\n", b"\r\n ", b"", b"\x0b\r\n", b"\x0c\r\n"]

LINE_ENDS = [b"\n", b"\r", b"\r\r\n", b" \r\n", b"\n\r", b"\x0b", b"\x0c", b"\x85", b"\r\n\x00", b"\xe2\x80\xa8", b"\r \n", b"\x00\r\n", b"\r\n\t"]


# fmt: on


def request(method=b"GET", target=b"/a", version=b"HTTP/1.1", head=HOST, end=END, body=b""):
    return method + b" " + target + b" " + version + b"\r\n" + head + end + body


def length_line(value):
    return b"Content-Length: " + value + b"\r\n"


def coding_line(value, name=b"Transfer-Encoding:"):
    return name + b" " + value + b"\r\n"


def single():
    """One thing is odd."""
    for value in LENGTHS:
        for method in (b"POST", b"GET"):
            yield "length", request(method, head=HOST + length_line(value), body=b"hello")
        yield "length first", request(b"POST", head=length_line(value) + HOST, body=b"hello")
    for value in CODINGS:
        for body in (CHUNKED_BODY, b"", b"5\r\nhello\r\n0\r\n\r\n" + HIDDEN):
            yield "coding", request(b"POST", head=HOST + coding_line(value), body=body)
    for name in CODING_NAMES:
        yield "coding name", request(b"POST", head=HOST + coding_line(b"chunked", name), body=CHUNKED_BODY)
        yield "coding name first", request(b"POST", head=coding_line(b"chunked", name) + HOST, body=CHUNKED_BODY)
    for body in CHUNKS:
        for method in (b"POST", b"GET"):
            yield "chunks", request(method, head=HOST + coding_line(b"chunked"), body=body)
    for target, method in itertools.product(TARGETS, (b"GET", b"POST", b"OPTIONS", b"CONNECT")):
        body = b"hello" if method == b"POST" else b""
        yield "target", request(method, target, head=HOST + (length_line(b"5") if body else b""), body=body)
    for method in METHODS:
        for head, body in (
            (HOST, b""),
            (HOST + length_line(b"5"), b"hello"),
            (HOST + coding_line(b"chunked"), CHUNKED_BODY),
        ):
            yield "method", request(method, head=head, body=body)
    for version in VERSIONS:
        for head, body in (
            (HOST, b""),
            (b"", b""),
            (HOST + length_line(b"5"), b"hello"),
            (HOST + coding_line(b"chunked"), CHUNKED_BODY),
        ):
            yield "version", request(version=version, head=head, body=body)
    for head, target in itertools.product(HOSTS, (b"/a", b"http://a.test/a", b"http://b.test:8080/a")):
        yield "host", request(target=target, head=head)
    for line in LINES:
        for head in (HOST + line + b"\r\n", line + b"\r\n" + HOST):
            yield "line", request(head=head)
            yield "line and length", request(b"POST", head=head + length_line(b"5"), body=b"hello")
            yield "line and coding", request(b"POST", head=head + coding_line(b"chunked"), body=CHUNKED_BODY)
    for end in ENDS:
        yield "end of head", request(head=HOST, end=end)
        yield "end of head and length", request(b"POST", head=HOST + length_line(b"5"), end=end, body=b"hello")
    for end in LINE_ENDS:
        yield "end of line", b"GET /a HTTP/1.1" + end + HOST + END
        yield "end of line", b"GET /a HTTP/1.1\r\nHost: a.test" + end + b"X-A: 1\r\n\r\n"
        yield "end of line", b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5" + end + b"X-A: 1\r\n\r\nhello"
        yield "end of line", b"POST /a HTTP/1.1\r\nHost: a.test\r\nX-A: 1" + end + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED_BODY
    for separator in (b"  ", b"\t", b"\x0b", b"\x0c", b"\r", b"\xa0", b"\x00", b" \t "):
        yield "separator", b"GET" + separator + b"/a HTTP/1.1\r\n" + HOST + END
        yield "separator", b"GET /a" + separator + b"HTTP/1.1\r\n" + HOST + END
    for start in (
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\x00",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        b"0\r\n\r\n",
        b"\r\n \r\n",
        b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ):
        yield "start", start + request()
        yield "start of the second", request() + start + request(target=b"/b")
        yield "start behind a body", request(b"POST", head=HOST + length_line(b"5"), body=b"hello") + start + request(
            target=b"/b"
        )


def framing():
    """A length and a coding, or several, in both orders."""
    lengths = [b"5", b"0", b"3", b"100", b"", b"x", b"+5", b"5, 5", b"5 "]
    codings = [
        b"chunked",
        b"identity",
        b"",
        b"xchunked",
        b"chunked, identity",
        b" chunked",
        b"Chunked",
        b"chunked\x0b",
        b"gzip, chunked",
        b"chunked\r\n ",
        b"chunked,",
    ]
    names = [b"Transfer-Encoding:", b"transfer_encoding:", b"Transfer-Encoding :", b"X: y\nTransfer-Encoding:"]
    for length, coding, name, order in itertools.product(lengths, codings, names, (0, 1)):
        lines = [length_line(length), coding_line(coding, name)]
        head = HOST + b"".join(lines[::-1] if order else lines)
        yield "length and coding", request(b"POST", head=head, body=CHUNKED_BODY)
        yield "length and coding, hidden", request(b"POST", head=head, body=b"0\r\n\r\n" + HIDDEN)
    for one, two in itertools.product(LENGTHS[:24] + [b"6", b"0"], (b"5", b"6", b"0", b"05", b" 5")):
        yield "two lengths", request(b"POST", head=HOST + length_line(one) + length_line(two), body=b"hello")
    for one, two in itertools.product(CODINGS, (b"chunked", b"identity", b"x")):
        yield "two codings", request(b"POST", head=HOST + coding_line(one) + coding_line(two), body=CHUNKED_BODY)
    for version, coding in itertools.product((b"HTTP/1.0", b"HTTP/1.1"), CODINGS[:8]):
        for more in (b"", b"Connection: keep-alive\r\n", b"Connection: close\r\n"):
            yield "coding and version", request(
                b"POST", version=version, head=HOST + more + coding_line(coding), body=CHUNKED_BODY
            )
    for method, length in itertools.product(METHODS[:17], (b"5", b"0")):
        yield "method and length", request(method, head=HOST + length_line(length), body=b"hello"[: int(length)])
    for count in (1, 2, 3):
        yield "pipeline", b"".join(request(target=b"/%d" % n) for n in range(count))
        yield "pipeline of bodies", b"".join(
            request(b"POST", b"/%d" % n, head=HOST + length_line(b"5"), body=b"hello") for n in range(count)
        )
        yield "pipeline of chunks", b"".join(
            request(b"POST", b"/%d" % n, head=HOST + coding_line(b"chunked"), body=CHUNKED_BODY) for n in range(count)
        )
        yield "pipeline, too short", b"".join(
            request(b"POST", b"/%d" % n, head=HOST + length_line(b"4"), body=b"hello") for n in range(count)
        )
    for expect in (b"100-continue", b"100-Continue", b"x"):
        yield "expect and length", request(
            b"POST", head=HOST + b"Expect: " + expect + b"\r\n" + length_line(b"5"), body=b"hello"
        )
        yield "expect and coding", request(
            b"POST", head=HOST + b"Expect: " + expect + b"\r\n" + coding_line(b"chunked"), body=CHUNKED_BODY
        )
        yield "expect and nothing", request(b"GET", head=HOST + b"Expect: " + expect + b"\r\n")


def mutations(seed, count):
    """Good requests with bytes of the kind that matters put in, taken away, or exchanged, at random."""
    rng = random.Random(seed)
    bases = [
        request(),
        request(b"POST", head=HOST + length_line(b"5"), body=b"hello"),
        request(b"POST", head=HOST + coding_line(b"chunked"), body=CHUNKED_BODY),
        request(
            b"POST", head=HOST + b"X-A: 1\r\n" + coding_line(b"chunked"), body=b"5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
        ),
        request(
            b"PUT", b"http://a.test/a?b", head=HOST + b"X-A: 1\r\nCookie: a=b\r\n" + length_line(b"5"), body=b"hello"
        ),
        request() + request(b"POST", b"/b", head=HOST + length_line(b"5"), body=b"hello"),
    ]
    bytes_ = [
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\x00",
        b"\x0b",
        b"\x0c",
        b":",
        b",",
        b";",
        b"\x7f",
        b"\x85",
        b"\xa0",
        b"\xff",
        b"_",
        b"-",
        b"0",
        b"5",
        b"a",
        b"#",
        b"?",
        b"/",
        b"\\",
        b"@",
        b"%",
        b"%0a",
        b'"',
        b"\r\n ",
        b"\n ",
        b"\x1f",
    ]
    for _ in range(count):
        text = bytearray(rng.choice(bases))
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            at = rng.randrange(len(text) + 1)
            kind = rng.randrange(3)
            if kind == 0:
                text[at:at] = rng.choice(bytes_)
            elif kind == 1:
                del text[at : at + 1]
            else:
                text[at : at + 1] = rng.choice(bytes_)
        yield "mutation", bytes(text)


def cases(seed=1, mutated=4000):
    """All cases, each once, with `LAST` behind it."""
    seen = set()
    for name, text in itertools.chain(single(), framing(), mutations(seed, mutated)):
        if text not in seen:
            seen.add(text)
            yield name, text + LAST
