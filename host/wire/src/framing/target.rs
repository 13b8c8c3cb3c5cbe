//! The four forms of a request target (RFC 9112, section 3.2).

use super::{host::Authority, violation::Violation};

/// What a method asks of the rest of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Method {
    Connect,
    Options,
    Trace,
    #[default]
    Other,
}

impl Method {
    /// Its characters are known to be those of a token. Methods are case-sensitive (RFC 9110, section 9.1), but to some
    /// servers `get` is GET, and a rule for GET would not see it coming; no method that is registered has small letters.
    /// PRI is what HTTP/2 begins with, and no method (RFC 9113, section 11.6).
    pub(super) fn parse(name: &[u8]) -> Result<Self, Violation> {
        match name {
            b"CONNECT" => Ok(Self::Connect),
            b"OPTIONS" => Ok(Self::Options),
            b"TRACE" => Ok(Self::Trace),
            b"PRI" => Err(Violation::BadMethod),
            name if name.iter().any(u8::is_ascii_lowercase) => Err(Violation::SmallMethod),
            _ => Ok(Self::Other),
        }
    }

    /// Whether a request may have a body (RFC 9110, sections 9.3.6 and 9.3.8).
    pub(super) fn may_have_body(self) -> bool {
        !matches!(self, Self::Connect | Self::Trace)
    }
}

/// A target that has the form its method asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Target {
    /// It names no host: `/path?query`, or `*`.
    #[default]
    Local,
    /// It does: from `start` to `end` in the target. Without a port, it means `default_port`.
    Remote { start: usize, end: usize, default_port: Option<u16> },
}

impl Target {
    /// Its characters are known to be visible ASCII.
    pub(super) fn parse(target: &[u8], method: Method) -> Result<Self, Violation> {
        match (method, target) {
            (Method::Connect, _) => match Authority::parse(target) {
                Some(Authority { port: Some(1..), .. }) => {
                    Ok(Self::Remote { start: 0, end: target.len(), default_port: None })
                }
                Some(_) => Err(Violation::BadAuthority),
                None if target.contains(&b'/') || target == b"*" => Err(Violation::TargetForm),
                None => Err(Violation::BadAuthority),
            },
            (_, [b'/', ..]) | (Method::Options, b"*") => Ok(Self::Local),
            _ => Self::absolute(target),
        }
    }

    fn absolute(target: &[u8]) -> Result<Self, Violation> {
        const SCHEMES: [(&[u8], u16); 2] = [(b"http://", 80), (b"https://", 443)];
        let has_scheme = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
        let (scheme, port) = SCHEMES.iter().find(|(scheme, _)| has_scheme(scheme)).ok_or(Violation::TargetForm)?;
        let start = scheme.len();
        let length = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?'));
        let end = length.map_or(target.len(), |length| start + length);
        // Whoever passes on a user and a password in a URI is mistaken, or misleads (RFC 9110, section 4.2.4).
        Authority::parse(&target[start..end]).ok_or(Violation::BadAuthority)?;
        Ok(Self::Remote { start, end, default_port: Some(*port) })
    }
}
