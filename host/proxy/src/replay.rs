//! A request's head once more, from the bytes that were sent.
//!
//! hyper does not return a request that it began to send, and a copy of every head that may have to be sent again
//! would cost each request several allocations. Keeping the bytes costs one short copy; only the rare request that
//! does have to be sent again is taken apart for it.

use http::{HeaderName, HeaderValue, Request, request::Parts};

/// The head of a request without a body, as hyper wrote it. None when it is not whole.
pub(crate) fn parse(sent: &[u8]) -> Option<Parts> {
    let text = sent.strip_suffix(b"\r\n\r\n")?;
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut start = lines.next()?.split(|byte| *byte == b' ');
    let (method, target, version) = (start.next()?, start.next()?, start.next()?);
    if version != b"HTTP/1.1" {
        return None;
    }
    let (mut parts, ()) = Request::builder().method(method).uri(target).body(()).ok()?.into_parts();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        parts.headers.append(HeaderName::from_bytes(&line[..colon]).ok()?, value);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_as_it_was() {
        let parts = parse(b"GET /a?b HTTP/1.1\r\nhost: h\r\nx: 1\r\nx: \xff: 2\r\nempty: \r\n\r\n").unwrap();
        assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("GET", "/a?b"));
        let values: Vec<_> = parts.headers.get_all("x").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"1"[..], b"\xff: 2"]);
        assert!(parts.headers["host"] == "h" && parts.headers["empty"].is_empty());
        assert!(parse(b"OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n").is_some());
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        for sent in [&b""[..], b"GET / HTTP/1.1\r\nhost: h\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nhost\r\n\r\n"] {
            assert!(parse(sent).is_none());
        }
    }
}
