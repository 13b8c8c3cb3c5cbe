//! What a policy may learn of the request that it balances.

use std::net::{IpAddr, Ipv4Addr};

use sluicegate_core::EndpointId;

/// A request's head, and where the request has been.
///
/// It is moved into the policy's instance for the length of a pick, and only when the policy imports `request`:
/// one that does not ask pays nothing.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target and headers, as the endpoint gets them.
    pub parts: http::request::Parts,
    /// The client's end of the connection.
    pub client: IpAddr,
    /// The endpoints that this request has been to already, in order.
    pub tried: Vec<EndpointId>,
    /// The beginning of its body, as far as the policy needs it.
    pub body_prefix: Box<[u8]>,
    /// The candidate on trial that this request was drawn for; 0 for none.
    pub drawn_for: u64,
}

impl RequestHead {
    /// A request that has not been anywhere.
    pub fn new(parts: http::request::Parts, client: IpAddr) -> Self {
        Self { parts, client, tried: Vec::new(), body_prefix: Box::default(), drawn_for: 0 }
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new(http::Request::new(()).into_parts().0, Ipv4Addr::UNSPECIFIED.into())
    }
}
