//! Version 2: binary (section 2.2).

use std::net::{IpAddr, SocketAddr};

use super::{Header, MAX_BLOCK, Malformed, Origin, Parsed, crc32c::crc32c, same_family};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and transport, and the length of what follows.
const FIXED: usize = 16;

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;

const MAX_UNIQUE_ID: usize = 128;

/// Something more that is said of a connection (section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// What it says, by the numbers of the specification.
    pub kind: u8,
    /// The value.
    pub value: &'a [u8],
}

/// What more to say of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras<'a> {
    /// What the client speaks above TLS.
    pub alpn: Option<&'a [u8]>,
    /// The host that the client asked for.
    pub authority: Option<&'a [u8]>,
    /// A name for this connection, of 128 bytes at most.
    pub unique_id: Option<&'a [u8]>,
    /// Whether to add a checksum.
    pub checksum: bool,
}

/// The caller has seen that `bytes` and the signature don't differ.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Malformed> {
    // What is wrong shows as early as it can.
    if bytes.get(12).is_some_and(|byte| byte >> 4 != 2) {
        return Err(Malformed::BadVersion);
    }
    if bytes.get(12).is_some_and(|byte| byte & 0xf > 1) {
        return Err(Malformed::BadCommand);
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(Parsed::More) };
    let size = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if size > MAX_BLOCK {
        return Err(Malformed::TooLarge);
    }
    let length = FIXED + size;
    let Some(header) = bytes.get(..length) else { return Ok(Parsed::More) };
    if fixed[12] & 0xf == 0 {
        // The family and the block are to be ignored.
        return Ok(Parsed::Header(Header { length, origin: Origin::Local, tlvs: &[] }));
    }
    let (origin, tlvs) = origin(fixed[13], &header[FIXED..])?;
    check_tlvs(header, tlvs)?;
    Ok(Parsed::Header(Header { length, origin, tlvs }))
}

/// Whose connection it is, and what is left of the block.
fn origin(family: u8, block: &[u8]) -> Result<(Origin, &[u8]), Malformed> {
    let size = match (family >> 4, family & 0xf) {
        (4.., _) | (_, 3..) => return Err(Malformed::BadFamily),
        // Where TLVs would begin is not said.
        (0, _) | (_, 0) => return Ok((Origin::Unknown, &[])),
        (1, _) => 12,
        (2, _) => 36,
        _ => 216,
    };
    let (addresses, tlvs) = block.split_at_checked(size).ok_or(Malformed::TooShort)?;
    let origin = match family {
        0x11 => ends::<4>(addresses),
        0x21 => ends::<16>(addresses),
        _ => Some(Origin::Unknown),
    };
    Ok((origin.ok_or(Malformed::TooShort)?, tlvs))
}

/// Two addresses of `N` bytes, and two ports.
fn ends<const N: usize>(bytes: &[u8]) -> Option<Origin>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let &[from_high, from_low, to_high, to_low] = rest.first_chunk::<4>()?;
    Some(Origin::Client {
        source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([from_high, from_low])),
        destination: SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([to_high, to_low])),
    })
}

/// The TLVs in a block, up to the first that is cut off.
pub(super) fn tlvs(mut block: &[u8]) -> impl Iterator<Item = Result<Tlv<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if block.is_empty() {
            return None;
        }
        let tlv = block.split_first_chunk::<3>().and_then(|(&[kind, high, low], rest)| {
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
            block = rest;
            Some(Tlv { kind, value })
        });
        if tlv.is_none() {
            block = &[];
        }
        Some(tlv.ok_or(Malformed::BadTlv))
    })
}

fn check_tlvs(header: &[u8], block: &[u8]) -> Result<(), Malformed> {
    let (mut at, mut has_checksum) = (header.len() - block.len(), false);
    for tlv in tlvs(block) {
        let Tlv { kind, value } = tlv?;
        at += 3;
        if kind == UNIQUE_ID && value.len() > MAX_UNIQUE_ID {
            return Err(Malformed::BadTlv);
        }
        if kind == CRC32C {
            let expected = value.first_chunk::<4>().filter(|_| value.len() == 4 && !has_checksum);
            let expected = u32::from_be_bytes(*expected.ok_or(Malformed::BadTlv)?);
            if crc32c(&[&header[..at], &[0; 4], &header[at + 4..]]) != expected {
                return Err(Malformed::BadChecksum);
            }
            has_checksum = true;
        }
        at += value.len();
    }
    Ok(())
}

/// Writes the header for a connection between these ends; without them, that of a connection of the proxy's own.
///
/// Fails if the extras are too large.
pub fn encode_v2(ends: Option<(SocketAddr, SocketAddr)>, extras: &Extras<'_>) -> Result<Vec<u8>, Malformed> {
    let mut out = SIGNATURE.to_vec();
    match ends.map(|(source, destination)| same_family(source, destination)) {
        None => {
            // A receiver ignores whatever else it is told.
            out.extend([0x20, 0, 0, 0]);
            return Ok(out);
        }
        Some((source, destination)) => {
            out.extend([0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, 0, 0]);
            for end in [source, destination] {
                match end.ip() {
                    IpAddr::V4(ip) => out.extend(ip.octets()),
                    IpAddr::V6(ip) => out.extend(ip.octets()),
                }
            }
            out.extend(source.port().to_be_bytes());
            out.extend(destination.port().to_be_bytes());
        }
    }
    for (kind, value) in [(ALPN, extras.alpn), (AUTHORITY, extras.authority), (UNIQUE_ID, extras.unique_id)] {
        let Some(value) = value else { continue };
        if kind == UNIQUE_ID && value.len() > MAX_UNIQUE_ID {
            return Err(Malformed::BadTlv);
        }
        let size = u16::try_from(value.len()).map_err(|_| Malformed::TooLarge)?;
        out.push(kind);
        out.extend(size.to_be_bytes());
        out.extend(value);
    }
    if extras.checksum {
        out.extend([CRC32C, 0, 4, 0, 0, 0, 0]);
    }
    let size = out.len() - FIXED;
    if size > MAX_BLOCK {
        return Err(Malformed::TooLarge);
    }
    out[14..FIXED].copy_from_slice(&(size as u16).to_be_bytes());
    if extras.checksum {
        let checksum = crc32c(&[&out]);
        let at = out.len() - 4;
        out[at..].copy_from_slice(&checksum.to_be_bytes());
    }
    Ok(out)
}
