//! Endpoints: the servers that requests are sent to.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use crate::{Live, OutlierWatch, hash};

/// The lasting identity of an endpoint: the same after a swap, a reload and a restart of the proxy.
///
/// It is a hash of the address, so that state kept by a policy, or in a cookie, still means the same endpoint
/// tomorrow and on another proxy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u64);

impl EndpointId {
    /// The [`hash`] of the address as text.
    pub fn of(address: SocketAddr) -> Self {
        Self(hash(address.to_string().as_bytes()))
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the operator says of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share beside the others, from 1 to 65535.
    pub weight: u32,
    /// Endpoints of a priority get load when those before it can't bear it all: 0 comes first.
    pub priority: u32,
    /// Whether it gets no new requests, because somebody is about to take it away.
    pub drain: bool,
    /// Where it stands; empty when nobody said.
    pub zone: Arc<str>,
    /// Whatever else policies should know of it.
    pub labels: BTreeMap<String, String>,
}

impl EndpointSpec {
    /// An endpoint of weight 1 with nothing else said of it.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, weight: 1, priority: 0, drain: false, zone: "".into(), labels: BTreeMap::new() }
    }
}

/// An endpoint of a cluster: what the operator says of it, and how it is doing.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its lasting identity.
    pub id: EndpointId,
    /// Its address as text, made once.
    pub name: Arc<str>,
    /// What the operator says of it.
    pub spec: EndpointSpec,
    /// Its live signals. They outlive a change of the spec, as long as the address stays in the cluster.
    pub live: Live,
    /// Where its attempts are counted for outlier detection, if they are.
    pub watch: Option<Arc<OutlierWatch>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_the_address_alone_and_on_all_of_it() {
        let id = |text: &str| EndpointId::of(text.parse().unwrap());
        assert_eq!(id("127.0.0.1:9001"), id("127.0.0.1:9001"));
        assert_ne!(id("127.0.0.1:9001"), id("127.0.0.1:9002"));
        assert_ne!(id("127.0.0.1:9001"), id("[::1]:9001"));
        // Ids are kept in saved state and cookies: a release must not change them.
        assert_eq!(id("127.0.0.1:9001").to_string(), "33ac4f5af5b06ee4");
    }
}
