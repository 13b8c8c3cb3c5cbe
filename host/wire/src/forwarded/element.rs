//! Entries of the lists.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str,
};

use super::Format;

/// A party, as `Forwarded` names it (RFC 7239, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// By its address and perhaps its port.
    Address(IpAddr, Option<u16>),
    /// Not at all (`unknown`), or by a name that means something to the sender only.
    Hidden,
}

impl fmt::Display for Node {
    /// Without the quotation marks that some need.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hidden => return f.write_str("unknown"),
            Self::Address(IpAddr::V4(ip), _) => write!(f, "{ip}")?,
            Self::Address(IpAddr::V6(ip), _) => write!(f, "[{ip}]")?,
        }
        match self {
            Self::Address(_, Some(port)) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

/// An element of `Forwarded`, to be sent (RFC 7239, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// Who connected.
    pub client: Node,
    /// Where to.
    pub by: Option<Node>,
    /// The host that was asked for. It is left out if it has characters that can't be sent.
    pub host: Option<&'a str>,
    /// The scheme: `http` or `https`.
    pub proto: Option<&'a str>,
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pair(f, "for=", &self.client.to_string())?;
        if let Some(by) = self.by {
            write_pair(f, ";by=", &by.to_string())?;
        }
        for (name, value) in [(";host=", self.host), (";proto=", self.proto)] {
            if let Some(value) = value.filter(|value| value.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
                write_pair(f, name, value)?;
            }
        }
        Ok(())
    }
}

/// Quoted, if it has to be (RFC 9110, section 5.6.4).
fn write_pair(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    if !value.is_empty() && value.bytes().all(is_token) {
        return write!(f, "{name}{value}");
    }
    write!(f, "{name}\"")?;
    for letter in value.chars() {
        if matches!(letter, '"' | '\\') {
            f.write_str("\\")?;
        }
        write!(f, "{letter}")?;
    }
    f.write_str("\"")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The entries of a line from the right, without empty ones.
pub(super) fn split_from_right(line: &[u8], format: Format) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    let entries = std::iter::from_fn(move || {
        let line = rest?;
        let comma = match format {
            Format::XForwardedFor => line.iter().rposition(|byte| *byte == b','),
            Format::Forwarded => last_comma(line),
        };
        rest = comma.map(|comma| &line[..comma]);
        Some(line[comma.map_or(0, |comma| comma + 1)..].trim_ascii())
    });
    entries.filter(|entry| !entry.is_empty())
}

/// The last comma that is not in quotation marks, counted from the right.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    for place in (0..line.len()).rev() {
        match line[place] {
            b'"' => {
                let escapes = line[..place].iter().rev().take_while(|byte| **byte == b'\\').count();
                // A backslash means something within quotation marks only, and from the right that is where we are.
                if !is_quoted || escapes % 2 == 0 {
                    is_quoted = !is_quoted;
                }
            }
            b',' if !is_quoted => return Some(place),
            _ => {}
        }
    }
    None
}

/// Whom an entry names. None if it is malformed.
pub(super) fn node(entry: &[u8], format: Format) -> Option<Node> {
    match format {
        Format::XForwardedFor => parse_node(str::from_utf8(entry).ok()?),
        Format::Forwarded => {
            let mut found = None;
            let mut rest = entry;
            while !rest.is_empty() {
                let (name, value, after) = pair(rest)?;
                if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
                    return None;
                }
                rest = after;
            }
            parse_node(&found?)
        }
    }
}

/// The first `name=value`, and what follows its semicolon.
fn pair(bytes: &[u8]) -> Option<(&[u8], String, &[u8])> {
    let bytes = bytes.trim_ascii_start();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&bytes[..equals], &bytes[equals + 1..]);
    let (value, rest) = match value {
        [b'"', quoted @ ..] => unquote(quoted)?,
        _ => {
            let end = value.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(value.len());
            (String::from_utf8(value[..end].to_vec()).ok()?, &value[end..])
        }
    };
    let is_name = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    let rest = rest.trim_ascii_start();
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(b";")? };
    is_name.then_some((name, value, rest))
}

/// A quoted string without its quotation marks, the first of which is already gone, and what follows it.
fn unquote(quoted: &[u8]) -> Option<(String, &[u8])> {
    let mut value = Vec::new();
    let mut rest = quoted;
    loop {
        match rest {
            [b'"', after @ ..] => return Some((String::from_utf8(value).ok()?, after)),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// An address with or without a port, or a name that hides one. What should be quoted or in brackets, and is not, is
/// read as well: many proxies send IPv6 addresses bare.
fn parse_node(text: &str) -> Option<Node> {
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Some(Node::Hidden);
    }
    if let Ok(address) = text.parse() {
        return Some(Node::Address(address, None));
    }
    if let Some(text) = text.strip_prefix('[') {
        let (address, rest) = text.split_once(']')?;
        let address = address.parse::<Ipv6Addr>().ok()?;
        let port = if rest.is_empty() { None } else { port(rest.strip_prefix(':')?)? };
        return Some(Node::Address(address.into(), port));
    }
    let (address, digits) = text.split_once(':')?;
    Some(Node::Address(IpAddr::V4(address.parse().ok()?), port(digits)?))
}

/// A port may be hidden, too. The outer None says that it is malformed.
fn port(text: &str) -> Option<Option<u16>> {
    if text.starts_with('_') {
        return Some(None);
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok().map(Some) } else { None }
}
