//! Version 1: a line of text (section 2.1).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

use super::{Header, Malformed, Origin, Parsed, same_family};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// Of the longest line, its end included.
const MAX_LINE: usize = 107;

/// The caller has seen that `bytes` and the signature don't differ.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let seen = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = seen.iter().position(|byte| !matches!(byte, b' '..=b'~')) else {
        return if bytes.len() >= MAX_LINE { Err(Malformed::LineTooLong) } else { Ok(Parsed::More) };
    };
    match &seen[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if seen.len() == MAX_LINE => return Err(Malformed::LineTooLong),
        [b'\r'] => return Ok(Parsed::More),
        _ => return Err(Malformed::BadLine),
    }
    // What is before the end is ASCII.
    let line = str::from_utf8(&seen[SIGNATURE.len().min(end)..end]).map_err(|_| Malformed::BadLine)?;
    Ok(Parsed::Header(Header { length: end + 2, origin: origin(line)?, tlvs: &[] }))
}

fn origin(line: &str) -> Result<Origin, Malformed> {
    let mut words = line.split(' ');
    let family = match words.next() {
        Some("TCP4") => |word: &str| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some("TCP6") => |word: &str| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => return Ok(Origin::Unknown),
        _ => return Err(Malformed::BadProtocol),
    };
    let words: Vec<&str> = words.take(5).collect();
    let [source, destination, source_port, destination_port] = words[..] else { return Err(Malformed::BadAddress) };
    let end = |ip, word| Some(SocketAddr::new(family(ip)?, port(word)?));
    match (end(source, source_port), end(destination, destination_port)) {
        (Some(source), Some(destination)) => Ok(Origin::Client { source, destination }),
        _ => Err(Malformed::BadAddress),
    }
}

/// From 0 to 65535, without a sign or leading zeros.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if is_plain { word.parse().ok() } else { None }
}

/// Writes the line for a connection between these ends; without them, the line that says nothing.
pub fn encode_v1(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((source, destination)) = ends.map(|(source, destination)| same_family(source, destination)) else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}
