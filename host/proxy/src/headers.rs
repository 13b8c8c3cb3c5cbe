//! Headers that belong to one hop and must not be forwarded (RFC 9110, section 7.6.1), in either direction.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRANSFER_ENCODING, UPGRADE,
    },
};

pub(crate) use sluicegate_policy::FORWARDED_HOST;

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
/// A client's verified certificate. Only this proxy may say that.
pub(crate) const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Options in `Connection`: as many as there may be headers.
const MAX_OPTIONS: usize = 100;

/// Names that `Connection` may not take away: forwarding relies on them, or added them.
const KEPT: [HeaderName; 6] = [HOST, CONTENT_LENGTH, FORWARDED, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO];

/// What the hop's own headers said before they were removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The body is encoded in a way that only the sender and this proxy could know of.
    pub(crate) has_other_coding: bool,
    /// The sender understands trailers.
    pub(crate) takes_trailers: bool,
    /// The sender waits to be asked for the body.
    pub(crate) expects_continue: bool,
    /// What the sender would rather speak.
    pub(crate) upgrade: Option<HeaderValue>,
    /// An earlier proxy said which protocol the client speaks.
    pub(crate) has_forwarded_proto: bool,
    /// An earlier proxy said which host the client asked for.
    pub(crate) has_forwarded_host: bool,
    /// There is a `Forwarded`.
    pub(crate) has_forwarded: bool,
    /// There is something of a trace context.
    pub(crate) has_trace: bool,
    /// What was said of the host.
    pub(crate) host: HostSaid,
    /// `Connection` names more than anybody has a use for.
    pub(crate) has_too_many_options: bool,
}

/// What a message's lines say of the host that is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HostSaid {
    #[default]
    Never,
    Once,
    /// With something in it that no host has.
    Badly,
    /// More than once, in whatever words.
    Often,
}

impl HostSaid {
    fn and(self, host: &HeaderValue) -> Self {
        match self {
            Self::Never if is_host(host.as_bytes()) => Self::Once,
            Self::Never => Self::Badly,
            _ => Self::Often,
        }
    }
}

/// Nothing that ends a host in a URI, and nothing that two parsers could disagree on.
pub(crate) fn is_host(host: &[u8]) -> bool {
    const GOOD: [bool; 256] = {
        let mut good = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let is_end = matches!(byte as u8, b'/' | b'?' | b'#' | b'@' | b',' | b'\\');
            good[byte] = (byte as u8).is_ascii_graphic() && !is_end;
            byte += 1;
        }
        good
    };
    host.iter().all(|byte| GOOD[usize::from(*byte)])
}

impl Hop {
    /// Whether the sender said anything that the next hop has to be told in other words, or can't be told.
    pub(crate) fn is_special(&self) -> bool {
        self.has_other_coding || self.takes_trailers || self.upgrade.is_some()
    }
}

/// Removes what belongs to this hop, and says what it said. A message that says nothing of the hop, which is the
/// most common one, costs one walk over its names.
pub(crate) fn clean(headers: &mut HeaderMap) -> Hop {
    let mut hop = Hop::default();
    let (mut has_connection, mut has_other) = (false, false);
    for (name, value) in &*headers {
        match *name {
            HOST => hop.host = hop.host.and(value),
            CONNECTION => has_connection = true,
            FORWARDED => hop.has_forwarded = true,
            TRANSFER_ENCODING | TE | UPGRADE | EXPECT | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION => has_other = true,
            // The other names are no constants of the `http` crate, so they are compared as text.
            _ => match name.as_str() {
                "keep-alive" | "proxy-connection" => has_other = true,
                "x-forwarded-proto" => hop.has_forwarded_proto = true,
                "x-forwarded-host" => hop.has_forwarded_host = true,
                "traceparent" | "tracestate" => hop.has_trace = true,
                "x-forwarded-client-cert" => has_other = true,
                _ => {}
            },
        }
    }
    if has_other {
        clean_others(headers, &mut hop);
    }
    if has_connection {
        hop.has_too_many_options = !clean_connection(headers);
    }
    hop
}

/// Whether a header of an answer means only this hop, whatever `Connection` says, and beside what says where it ends.
pub(crate) fn is_of_hop(name: &HeaderName) -> bool {
    match *name {
        CONNECTION | TRANSFER_ENCODING | TE | UPGRADE | EXPECT | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection" | "x-forwarded-client-cert"),
    }
}

/// Removes what `Connection` names.
pub(crate) fn remove_named(headers: &mut HeaderMap, named: &[HeaderName]) {
    for name in named.iter().filter(|name| !KEPT.contains(name)) {
        headers.remove(name);
    }
}

/// Removes what HTTP/2 has no place for (RFC 9113, section 8.2.2).
pub(crate) fn clean_of_connection(headers: &mut HeaderMap) {
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
}

#[inline(never)]
fn clean_others(headers: &mut HeaderMap, hop: &mut Hop) {
    for value in headers.get_all(TRANSFER_ENCODING) {
        hop.has_other_coding |= !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    }
    if headers.remove(TRANSFER_ENCODING).is_some() {
        // It overrides a length (RFC 9112, section 6.3); to forward both would let the next hop see another message.
        headers.remove(CONTENT_LENGTH);
    }
    hop.takes_trailers = headers.get_all(TE).iter().any(|value| tokens(value).any(|token| is(token, "trailers")));
    // It counts only if `Connection` names it (RFC 9110, section 7.8); hyper sees it the same way.
    let is_named = |value: &HeaderValue| tokens(value).any(|token| is(token, "upgrade"));
    let is_meant = headers.get_all(CONNECTION).iter().any(is_named);
    hop.upgrade = headers.remove(UPGRADE).filter(|_| is_meant);
    // The client gets "100 Continue" when the body is first asked for, which is when the endpoint wants it.
    hop.expects_continue =
        headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    for name in [TE, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, KEEP_ALIVE, PROXY_CONNECTION, CLIENT_CERTIFICATE]
    {
        headers.remove(name);
    }
}

/// Removes `Connection` and what it names. False when that would take too long.
#[inline(never)]
fn clean_connection(headers: &mut HeaderMap) -> bool {
    let says_nothing_else = |value: &HeaderValue| matches!(value.as_bytes(), b"keep-alive" | b"close" | b"Keep-Alive");
    if !headers.get_all(CONNECTION).iter().all(says_nothing_else) {
        let options = headers.get_all(CONNECTION).iter().flat_map(tokens).take(MAX_OPTIONS + 1);
        let named: Vec<&str> = options.collect();
        if named.len() > MAX_OPTIONS {
            return false;
        }
        let named: Vec<_> = named.into_iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
        remove_named(headers, &named);
    }
    headers.remove(CONNECTION);
    true
}

/// The elements of a comma-separated list (RFC 9110, section 5.6.1). A value that is not text has none.
pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

pub(crate) fn is(token: &str, name: &str) -> bool {
    token.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&str, &str)], expected: &[&str]) -> Hop {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let hop = clean(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, expected);
        hop
    }

    #[test]
    fn what_belongs_to_the_hop_goes_and_the_rest_stays() {
        assert_eq!(check(&[("accept", "*/*")], &["accept"]), Hop::default());
        let hop = check(&[("host", "a"), ("accept", "*/*")], &["accept", "host"]);
        assert_eq!(hop.host, HostSaid::Once);
        let hop = check(&[("host", "a"), ("host", "b")], &["host"]);
        assert_eq!(hop.host, HostSaid::Often);
        assert_eq!(check(&[("host", "a b")], &["host"]).host, HostSaid::Badly);
        check(&[("connection", "keep-alive"), ("keep-alive", "timeout=5"), ("x", "1")], &["x"]);
        check(&[("connection", "close, X-One"), ("connection", "x-two"), ("x-one", "1"), ("x-two", "2")], &[]);
        check(&[("x-forwarded-client-cert", "Hash=0"), ("X-Forwarded-Client-Cert", "Hash=1")], &[]);
        check(&[("proxy-connection", "keep-alive"), ("proxy-authorization", "x"), ("trailer", "t")], &["trailer"]);
    }

    #[test]
    fn connection_takes_nothing_that_forwarding_needs() {
        let lines = [("connection", "host, content-length, x-forwarded-for"), ("host", "a"), ("content-length", "1")];
        check(&lines, &["content-length", "host"]);
    }

    #[test]
    fn nobody_has_a_use_for_many_options() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_str(&["a"; MAX_OPTIONS].join(",")).unwrap());
        assert!(!clean(&mut headers.clone()).has_too_many_options);
        headers.append(CONNECTION, HeaderValue::from_static("b"));
        assert!(clean(&mut headers).has_too_many_options);
    }

    #[test]
    fn framing_is_never_ambiguous() {
        let hop = check(&[("transfer-encoding", "chunked"), ("content-length", "5")], &[]);
        assert!(!hop.has_other_coding);
        assert!(check(&[("transfer-encoding", "gzip, chunked")], &[]).has_other_coding);
    }

    #[test]
    fn trailers_and_upgrades_are_noticed() {
        assert!(check(&[("te", "deflate, Trailers")], &[]).takes_trailers);
        assert_eq!(check(&[("upgrade", "h2c"), ("connection", "upgrade")], &[]).upgrade.unwrap(), "h2c");
        assert_eq!(check(&[("upgrade", "websocket"), ("connection", "keep-alive")], &[]).upgrade, None);
    }

    #[test]
    fn hosts_that_two_parsers_could_read_differently_are_refused() {
        for good in ["example.com", "example.com:80", "[::1]:80", "10.0.0.1", "", "a_b"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["a b", "a/b", "user@a", "a,b", "a?b", "a#b", "a\\b", "\u{e4}"] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
