//! A host with an optional port, as in `Host` and in request targets.

use std::{net::Ipv6Addr, str};

use super::scan::host_run;

/// A host and a port that there is one reading of.
///
/// RFC 3986 allows more in a name: escapes and `!$&'()*+,;=`. Nothing that is called so exists in the DNS, and parsers
/// disagree on what it means. An empty port (`a:`) is refused for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    pub(super) host: &'a [u8],
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Nothing, if it is not valid or empty.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = match bytes {
            [b'[', ..] => bytes.iter().position(|byte| *byte == b']')? + 1,
            _ => host_run(bytes),
        };
        let (host, rest) = bytes.split_at(end);
        let port = match rest {
            [] => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return None,
        };
        let is_host = match host {
            [] => false,
            [b'[', address @ .., b']'] => is_ipv6(address),
            _ => true,
        };
        is_host.then_some(Self { host, port })
    }

    /// Whether both name the same, when `default_port` is what a missing port stands for. Without one, a missing port
    /// stands for any.
    pub(super) fn is_same(self, other: Self, default_port: Option<u16>) -> bool {
        let ports = match default_port {
            Some(default) => self.port.unwrap_or(default) == other.port.unwrap_or(default),
            None => self.port.is_none() || other.port.is_none() || self.port == other.port,
        };
        ports && self.host.eq_ignore_ascii_case(other.host)
    }
}

fn is_ipv6(address: &[u8]) -> bool {
    str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn port(digits: &[u8]) -> Option<u16> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if is_number { str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_one_reading_of() {
        for (good, host, port) in [
            ("a", "a", None),
            ("example.com:80", "example.com", Some(80)),
            ("my_host", "my_host", None),
            ("10.0.0.1:65535", "10.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1]:8080", "[2001:db8::1]", Some(8080)),
            ("[::ffff:10.0.0.1]:0080", "[::ffff:10.0.0.1]", Some(80)),
        ] {
            assert_eq!(Authority::parse(good.as_bytes()), Some(Authority { host: host.as_bytes(), port }), "{good}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently() {
        let bad = [
            "",
            ":80",
            "a:",
            "a:80:80",
            "a:+80",
            "a:65536",
            "a:8o",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "a,b",
            "a\\b",
            "a%2eb",
            "a;b",
            "a(b)",
            "[::1",
            "::1",
            "[]",
            "[::1]a",
            "[::1]:",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "[a]",
            "[::1]]",
            "\u{e4}",
            "a\tb",
            "a\0",
        ];
        for bad in bad {
            assert_eq!(Authority::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_same_with_and_without_the_default_port() {
        let is_same = |one: &str, other: &str, default| {
            let parse = |text: &'static str| Authority::parse(text.as_bytes()).unwrap();
            parse(one.to_owned().leak()).is_same(parse(other.to_owned().leak()), default)
        };
        assert!(is_same("A.example", "a.Example:80", Some(80)));
        assert!(!is_same("a", "a:8080", Some(80)));
        assert!(!is_same("a:443", "a:80", Some(80)));
        assert!(!is_same("a", "b", None));
        assert!(is_same("a:443", "a", None));
        assert!(!is_same("a:443", "a:444", None));
    }
}
