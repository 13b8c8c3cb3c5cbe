//! What of a request is hashed, so that a policy can send what belongs together to the same endpoint.

use std::net::IpAddr;

use http::HeaderName;
use sluicegate_core::hash;
use sluicegate_policy::RequestHead;

/// A part of a request. One that is empty counts as not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, without its port.
    Source,
    /// The path as it came, without its query.
    Path,
    /// The first value of a header.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(String),
    /// A parameter of the query, as it is written there.
    Query(String),
}

/// The hash of the first key that a request has; 0 if it has none of them.
#[inline(never)]
pub(super) fn hash_of(keys: &[HashKey], head: &RequestHead) -> u64 {
    let of = |bytes: &[u8]| if bytes.is_empty() { None } else { Some(hash(bytes).max(1)) };
    let found = keys.iter().find_map(|key| match key {
        HashKey::Source => match head.client {
            IpAddr::V4(address) => of(&address.octets()),
            IpAddr::V6(address) => of(&address.octets()),
        },
        HashKey::Path => of(head.parts.uri.path().as_bytes()),
        HashKey::Header(name) => head.parts.headers.get(name).and_then(|value| of(value.as_bytes())),
        HashKey::Cookie(name) => head.cookie(name).and_then(of),
        HashKey::Query(name) => {
            let pairs = head.parts.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| key == name).find_map(|(_, value)| of(value.as_bytes()))
        }
    });
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_is_there_counts() {
        let request = http::Request::get("/a/b?user=&user=7&x")
            .header("cookie", "id2=x; id=abc")
            .header("cookie", "last=z")
            .header("x-user", "u")
            .header("x-empty", "");
        let head = RequestHead::new(request.body(()).unwrap().into_parts().0, [10, 0, 0, 1].into());
        let header = |name| HashKey::Header(HeaderName::from_static(name));
        let (cookie, query) = (|name: &str| HashKey::Cookie(name.into()), |name: &str| HashKey::Query(name.into()));
        let check = |keys: &[HashKey], expected: &[u8]| assert_eq!(hash_of(keys, &head), hash(expected), "{keys:?}");
        check(&[HashKey::Source], &[10, 0, 0, 1]);
        check(&[HashKey::Path], b"/a/b");
        check(&[header("x-user"), HashKey::Source], b"u");
        check(&[header("x-empty"), header("x-none"), cookie("id")], b"abc");
        check(&[cookie("last")], b"z");
        check(&[cookie("none"), query("user")], b"7");
        for keys in [&[][..], &[header("x-none"), cookie("i"), query("x"), query("us")]] {
            assert_eq!(hash_of(keys, &head), 0, "{keys:?}");
        }
    }
}
