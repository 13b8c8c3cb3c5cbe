//! What a policy may learn of the request that it balances.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderValue, Method, Uri, header::COOKIE, request};
use sluicegate_core::EndpointId;

use crate::RequestHeaders;

/// A request's method, target and headers.
#[derive(Clone, Debug, Default)]
pub struct RequestParts {
    /// What is to be done.
    pub method: Method,
    /// With what: in origin form, where the proxy has settled it.
    pub uri: Uri,
    /// And what is said of it.
    pub headers: RequestHeaders,
}

impl From<request::Parts> for RequestParts {
    fn from(parts: request::Parts) -> Self {
        Self { method: parts.method, uri: parts.uri, headers: parts.headers.into() }
    }
}

/// A request's head, and where the request has been.
///
/// It is moved into the policy's instance for the length of a pick, and only when the policy imports `request`:
/// one that does not ask pays nothing.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target and headers, as the endpoint gets them.
    pub parts: RequestParts,
    /// The client's end of the connection.
    pub client: IpAddr,
    /// The endpoints that this request has been to already, in order.
    pub tried: Vec<EndpointId>,
    /// The beginning of its body, as far as the policy needs it.
    pub body_prefix: Box<[u8]>,
    /// The candidate on trial that this request was drawn for; 0 for none.
    pub drawn_for: u64,
}

impl RequestHead {
    /// A request that has not been anywhere.
    pub fn new(parts: impl Into<RequestParts>, client: IpAddr) -> Self {
        Self { parts: parts.into(), client, tried: Vec::new(), body_prefix: Box::default(), drawn_for: 0 }
    }

    /// The first cookie of that name. Bytes, because one cookie that is not text would hide all others of its header.
    pub fn cookie(&self, name: &str) -> Option<&[u8]> {
        let lines = self.parts.headers.get_all(&COOKIE).map(HeaderValue::as_bytes);
        let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
        pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new(RequestParts::default(), Ipv4Addr::UNSPECIFIED.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_is_no_text_hides_no_other() {
        let lines = [&b"a=1; bad=\xe4\xff; b=2;c"[..], b" ab=3; b=4"];
        let request = lines.iter().fold(http::Request::get("/"), |request, line| request.header("cookie", *line));
        let head = RequestHead::new(request.body(()).unwrap().into_parts().0, [10, 0, 0, 1].into());
        let check = |name: &str, expected: Option<&[u8]>| assert_eq!(head.cookie(name), expected, "{name}");
        check("a", Some(b"1"));
        check("bad", Some(b"\xe4\xff"));
        check("b", Some(b"2"));
        check("ab", Some(b"3"));
        check("c", None);
        check("none", None);
    }
}
