//! Who the client is, by what proxies in front say: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Each proxy adds, on the right, who connected to it. Whatever is on the left of what a trusted proxy added can be
//! made up. So the lists are read from the right, and only as far as there is trust; in `Forwarded`, where a comma may
//! be quoted, that also keeps a quotation mark that somebody left open from swallowing what a trusted proxy added.

mod cidr;
mod element;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use cidr::{BadCidr, Cidr};
pub use element::{Element, Node};

/// How many entries are looked at: nobody has more proxies in front, and the list is as long as the client likes.
const MAX_ENTRIES: usize = 64;

/// Which header the proxies in front use. Reading the other one, too, would let a client choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `X-Forwarded-For`: addresses between commas.
    XForwardedFor,
    /// `Forwarded`: the `for` parameter of each element.
    Forwarded,
}

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// So many proxies in front, the one that connects to this one included: the client is in the entry with this
    /// number from the right (Envoy's `xff_num_trusted_hops`). With 0, the client is whoever connects. If there are
    /// fewer entries, or it names no address, the connection did not come that way, and whoever connects is the client.
    Hops(u32),
    /// Proxies with these addresses: the client is the first from the right who is none of them (NGINX's
    /// `real_ip_recursive`). If all are, or an entry names no address, it is the last one that was named.
    Networks(Vec<Cidr>),
}

/// Finds the client's address. `lines` are the values of all header lines of this format in their order, and `peer` is
/// whoever connects. An IPv4 address that is mapped into IPv6 comes out as IPv4.
pub fn client_address<'a, I>(format: Format, lines: I, peer: IpAddr, trust: &Trust) -> IpAddr
where
    I: IntoIterator<Item = &'a [u8], IntoIter: DoubleEndedIterator>,
{
    let peer = peer.to_canonical();
    let from_right = lines.into_iter().rev().flat_map(|line| element::split_from_right(line, format));
    let mut entries = from_right.take(MAX_ENTRIES).map(|entry| match element::node(entry, format) {
        Some(Node::Address(address, _)) => Some(address.to_canonical()),
        _ => None,
    });
    match trust {
        Trust::Hops(0) => peer,
        Trust::Hops(hops) => entries.nth(*hops as usize - 1).flatten().unwrap_or(peer),
        Trust::Networks(networks) => {
            let mut client = peer;
            while networks.iter().any(|network| network.contains(client)) {
                match entries.next().flatten() {
                    Some(address) => client = address,
                    None => break,
                }
            }
            client
        }
    }
}
