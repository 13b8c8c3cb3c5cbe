//! The PROXY protocol, versions 1 and 2: what a proxy in front says of the client, before the client's first byte
//! (HAProxy, "The PROXY protocol, versions 1 & 2", `doc/proxy-protocol.txt`).
//!
//! Whoever may send this header may claim any address. So whether one is expected is for the configuration to say, and
//! never to be guessed from the bytes (section 5 there).

mod crc32c;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

pub use v1::encode_v1;
pub use v2::{Extras, Tlv, encode_v2};

/// The largest header there is here, in bytes: version 2's fixed part, and a block of addresses and TLVs of 4 KiB. The
/// format allows 64 KiB; what is known to be sent is a few hundred bytes.
pub const MAX_BYTES: usize = 16 + MAX_BLOCK;

const MAX_BLOCK: usize = 4096;

/// What the bytes at the front of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Too few to tell. Show them again, with more; [`MAX_BYTES`] are always enough.
    More,
    /// Something else than a PROXY header.
    Other,
    /// A whole header.
    Header(Header<'a>),
}

/// A PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// How many bytes it has. What follows is the client's.
    pub length: usize,
    /// On whose behalf the connection was made.
    pub origin: Origin,
    /// What more is said; empty in version 1.
    tlvs: &'a [u8],
}

/// On whose behalf a connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own, for example to check health: the connection's real ends count.
    Local,
    /// Somebody's who has no address here: Unix sockets, datagrams, or not said. The connection's real ends count.
    Unknown,
    /// A client's.
    Client {
        /// The client's end.
        source: SocketAddr,
        /// The end that the client connected to.
        destination: SocketAddr,
    },
}

/// Why a header is refused. The connection has to be closed (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Malformed {
    /// Version 1: no line end in the first 107 bytes.
    #[error("the PROXY line has no end within 107 bytes")]
    LineTooLong,
    /// Version 1: a CR or LF alone, or another character that the line can't have.
    #[error("the PROXY line contains a stray control character, or ends in something else than CRLF")]
    BadLine,
    /// Version 1: neither `TCP4`, `TCP6` nor `UNKNOWN`.
    #[error("the PROXY line names an unknown protocol")]
    BadProtocol,
    /// Version 1: not two addresses of the family, and two ports, between single spaces.
    #[error("the PROXY line does not have two valid addresses and two valid ports")]
    BadAddress,
    /// Version 2: another version's.
    #[error("the PROXY header has another version than 2")]
    BadVersion,
    /// Version 2: neither LOCAL nor PROXY.
    #[error("the PROXY header has an unknown command")]
    BadCommand,
    /// Version 2: an address family or a transport that is not assigned.
    #[error("the PROXY header has an unknown address family or transport")]
    BadFamily,
    /// Version 2: larger than is allowed here.
    #[error("the PROXY header is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Version 2: shorter than its addresses.
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
    /// Version 2: TLVs that don't fill the header, or of a length that they can't have.
    #[error("the PROXY header's TLVs are malformed")]
    BadTlv,
    /// Version 2: the bytes are not those that were sent.
    #[error("the PROXY header's checksum is wrong")]
    BadChecksum,
}

impl Malformed {
    /// A short, stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::BadLine => "bad_line",
            Self::BadProtocol => "bad_protocol",
            Self::BadAddress => "bad_address",
            Self::BadVersion => "bad_version",
            Self::BadCommand => "bad_command",
            Self::BadFamily => "bad_family",
            Self::TooLarge => "too_large",
            Self::TooShort => "too_short",
            Self::BadTlv => "bad_tlv",
            Self::BadChecksum => "bad_checksum",
        }
    }
}

/// Looks at the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(byte, expected)| byte == expected);
    if begins(&v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins(v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Ok(Parsed::Other)
    }
}

impl<'a> Header<'a> {
    /// All TLVs, in their order. None for [`Origin::Local`], and none when the address family is not said.
    pub fn tlvs(&self) -> impl Iterator<Item = Tlv<'a>> + use<'a> {
        v2::tlvs(self.tlvs).map_while(Result::ok)
    }

    /// What the client speaks above TLS, as in ALPN: `h2`.
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.tlv(v2::ALPN)
    }

    /// The host that the client asked for, as in SNI: UTF-8 by right, but not checked.
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.tlv(v2::AUTHORITY)
    }

    /// What the proxy calls this connection: up to 128 bytes of any kind.
    pub fn unique_id(&self) -> Option<&'a [u8]> {
        self.tlv(v2::UNIQUE_ID)
    }

    fn tlv(&self, kind: u8) -> Option<&'a [u8]> {
        self.tlvs().find(|tlv| tlv.kind == kind).map(|tlv| tlv.value)
    }
}

/// Both ends in one family: IPv4 if both can be, or else IPv6.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let as_v6 = |ip| match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    };
    let (from, to) = if from.is_ipv4() && to.is_ipv4() { (from, to) } else { (as_v6(from), as_v6(to)) };
    (SocketAddr::new(from, source.port()), SocketAddr::new(to, destination.port()))
}
