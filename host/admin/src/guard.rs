//! Who may ask the admin listener for what.

use std::net::IpAddr;

use hyper::{
    StatusCode,
    header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN},
    http::request::Parts,
};
use ring::{hmac, rand::SystemRandom};

use crate::Problem;

/// The rules of one listener.
///
/// A browser on the operator's machine can reach a loopback address, for any page that it shows. So whatever says that
/// it comes from a page is refused, and so is a `Host` that is a name: a page may have had its own name resolved to
/// 127.0.0.1. (A socket's file can't be reached by a browser.)
#[derive(Debug, Default)]
pub struct Guard {
    token: Option<Token>,
    any_host: bool,
}

/// Compared by its HMAC under a key of this process, so that the time that takes says nothing of the token.
#[derive(Debug)]
struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Guard {
    /// Without a token; for a loopback address.
    pub fn of_loopback() -> Self {
        Self::default()
    }

    /// Without a token; for a Unix socket, whose file says who may connect.
    pub fn of_socket() -> Self {
        Self { any_host: true, ..Self::default() }
    }

    /// From now on, all that is guarded needs this token: what a policy was configured with may be secret, too.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        // It fails only where the system has no randomness, and nothing would be safe there.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("the system's randomness");
        let tag = hmac::sign(&key, token.as_bytes());
        Self { token: Some(Token { key, tag }), any_host: true }
    }

    /// Whether this request may be answered.
    pub(crate) fn check(&self, parts: &Parts) -> Result<(), Problem> {
        let headers = &parts.headers;
        let forbidden = |code, message: &str| Err(Problem::new(StatusCode::FORBIDDEN, code, message));
        let is_from_page = headers.contains_key(ORIGIN)
            || headers.get("sec-fetch-site").is_some_and(|value| value != "none" && value != "same-origin");
        if is_from_page {
            return forbidden("origin", "requests of web pages are not answered: use `sluicegate policy`, or curl");
        }
        if !self.any_host && !parts.uri.host().or(host(headers)).is_some_and(is_local) {
            let message = "the Host must be an IP address or localhost, so that no web page gets in under a name of its \
                           own; with a token (`[admin] token_file`) any name will do";
            return forbidden("host", message);
        }
        match &self.token {
            Some(token) if !token.is_in(headers) => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "token",
                "this needs the token of `[admin] token_file` or `token_env`, as `Authorization: Bearer TOKEN`",
            )),
            _ => Ok(()),
        }
    }
}

impl Token {
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let Some((scheme, token)) =
            headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer")
            && hmac::verify(&self.key, token.trim().as_bytes(), self.tag.as_ref()).is_ok()
    }
}

/// The host that is asked for, without its port.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(HOST).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    match value.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(host),
        _ => Some(value),
    }
}

fn is_local(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn check(guard: &Guard, headers: &[(&str, &str)], expected: Option<&str>) {
        let mut request = Request::get("/policies");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let code = guard.check(&parts).err().map(|problem| problem.code);
        assert_eq!(code, expected, "{headers:?}");
    }

    #[test]
    fn pages_get_nothing() {
        for guard in [Guard::of_loopback(), Guard::of_socket(), Guard::of_loopback().with_token("secret")] {
            check(&guard, &[("host", "127.0.0.1"), ("origin", "https://evil.test")], Some("origin"));
            check(&guard, &[("host", "127.0.0.1"), ("origin", "null")], Some("origin"));
            check(&guard, &[("host", "127.0.0.1"), ("sec-fetch-site", "cross-site")], Some("origin"));
        }
    }

    #[test]
    fn names_are_for_listeners_with_a_token() {
        let guard = Guard::of_loopback();
        for host in ["127.0.0.1", "127.0.0.1:8081", "[::1]", "[::1]:8081", "LocalHost:1", "10.1.2.3:80"] {
            check(&guard, &[("host", host)], None);
        }
        for host in ["evil.test", "evil.test:8081", "127.0.0.1.evil.test", "localhost.evil.test", "", "[::1", "1:x"] {
            check(&guard, &[("host", host)], Some("host"));
            check(&Guard::of_socket(), &[("host", host)], None);
        }
        check(&guard, &[], Some("host"));
        check(&guard, &[("host", "localhost"), ("host", "evil.test")], Some("host"));
        let headers = [("host", "proxy-1.internal"), ("authorization", "Bearer secret")];
        check(&Guard::of_loopback().with_token("secret"), &headers, None);
    }

    #[test]
    fn nobody_gets_past_a_token_without_it() {
        let guard = Guard::of_loopback().with_token("secret");
        let authorized = |value, expected| check(&guard, &[("host", "x"), ("authorization", value)], expected);
        authorized("Bearer secret", None);
        authorized("bearer secret", None);
        for wrong in ["Bearer Secret", "Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "secret", ""] {
            authorized(wrong, Some("token"));
        }
        check(&guard, &[("host", "x")], Some("token"));
    }
}
