//! Networks.

use std::{fmt, net::IpAddr, str::FromStr};

use thiserror::Error;

/// A network: the addresses that begin with the same bits (RFC 4632). A network of IPv4 addresses that are mapped into
/// IPv6 is one of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// Why a network is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadCidr {
    /// No address before the slash.
    #[error("{0:?} is not an address or a network, like 10.0.0.0/8")]
    Address(String),
    /// No length behind it.
    #[error("{length:?} is not the length of a network's prefix: a number from 0 to {max}")]
    Length {
        /// What stands there.
        length: String,
        /// The largest length.
        max: u8,
    },
    /// The address is one within the network.
    #[error("{given} has bits behind its prefix; write {meant}")]
    HostBits {
        /// What stands there.
        given: String,
        /// The network that the address is in.
        meant: Cidr,
    },
}

impl Cidr {
    /// Whether an address is in this network. An IPv4 address that is mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.length) == self.address
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    /// Reads `10.0.0.0/8` or `::1`, which is a network of one.
    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let given: IpAddr = address.parse().map_err(|_| BadCidr::Address(text.to_owned()))?;
        let max = bits(given);
        let length = match length {
            None => max,
            Some(length) => Some(length)
                .filter(|length| !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|length| length.parse().ok().filter(|length| *length <= max))
                .ok_or_else(|| BadCidr::Length { length: length.to_owned(), max })?,
        };
        let canonical = given.to_canonical();
        // Of a mapped address, the prefix begins with the 96 bits that all mapped ones have.
        let (address, length) = match length.checked_sub(max - bits(canonical)) {
            Some(length) => (canonical, length),
            None => (given, length),
        };
        let meant = Self { address: masked(address, length), length };
        if meant.address == address { Ok(meant) } else { Err(BadCidr::HostBits { given: text.to_owned(), meant }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `length` bits of an address.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let cidr: Cidr = network.parse().unwrap_or_else(|error| panic!("{error}"));
        for address in inside {
            assert!(cidr.contains(address.parse().unwrap()), "{address} is in {network}");
        }
        for address in outside {
            assert!(!cidr.contains(address.parse().unwrap()), "{address} is not in {network}");
        }
    }

    #[test]
    fn what_is_inside() {
        check(
            "10.0.0.0/8",
            &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
            &["11.0.0.0", "9.255.255.255", "::a00:1"],
        );
        check("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::1", "::"]);
        check("::/0", &["::1", "2001:db8::1"], &["1.2.3.4", "::ffff:1.2.3.4"]);
        check("192.168.1.1", &["192.168.1.1"], &["192.168.1.2"]);
        check("192.168.1.128/25", &["192.168.1.128", "192.168.1.255"], &["192.168.1.127"]);
        check("2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::"]);
        check("fe80::/10", &["febf::1"], &["fec0::"]);
        check("::1", &["::1"], &["::", "::2", "1.2.3.4", "0.0.0.1"]);
        check("::ffff:10.0.0.0/104", &["10.1.2.3", "::ffff:10.1.2.3"], &["11.1.2.3"]);
        check("::ffff:0.0.0.0/96", &["10.1.2.3"], &["::1"]);
    }

    #[test]
    fn what_is_refused_says_what_to_write() {
        let error = |text: &str| text.parse::<Cidr>().unwrap_err().to_string();
        assert_eq!(error("10.0.0.1/8"), "10.0.0.1/8 has bits behind its prefix; write 10.0.0.0/8");
        assert_eq!(error("10.0.0.0/33"), "\"33\" is not the length of a network's prefix: a number from 0 to 32");
        assert_eq!(error("10.0.0/8"), "\"10.0.0/8\" is not an address or a network, like 10.0.0.0/8");
        for bad in [
            "",
            "/",
            "a",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "::/129",
            "::1/64",
            " ::1",
            "::1/999",
            "::ffff:0:0/90",
        ] {
            error(bad);
        }
    }

    proptest! {
        #[test]
        fn a_network_holds_what_it_was_made_of(address: IpAddr, length: u8) {
            let canonical = address.to_canonical();
            let length = length % (bits(canonical) + 1);
            let text = format!("{}/{length}", masked(canonical, length));
            let cidr: Cidr = text.parse().unwrap();
            prop_assert!(cidr.contains(address));
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
        }

        #[test]
        fn nothing_panics(text: String) {
            let _ = text.parse::<Cidr>();
        }
    }
}
