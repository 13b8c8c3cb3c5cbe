//! Of a listener: whom to believe who the client is, and what the endpoints are told.

use sluicegate_proxy::{Forwarding, Trace};
use sluicegate_wire::forwarded::{Format, Trust};

use super::{
    read::networks,
    tree::{Node, Table},
};

// Entries that are further from the right are not looked at.
const MAX_HOPS: u32 = 64;

/// The keys of a `[[listener]]` that are about this.
pub(super) fn forwarding(table: &Table<'_>) -> Forwarding {
    const FORMATS: &[(&str, Format)] = &[("x-forwarded-for", Format::XForwardedFor), ("forwarded", Format::Forwarded)];
    const TRACES: &[(&str, Trace)] = &[("pass", Trace::Pass), ("make", Trace::Make)];
    let default = Forwarding::default();
    if let (Some(_), Some(second)) = (table.get("trusted_hops"), table.get("trusted_proxies")) {
        second.error::<()>("says the same as trusted_hops in another way: keep one of them");
    }
    let hops = table.or("trusted_hops", default.trust, |node| node.integer(0..=MAX_HOPS).map(Trust::Hops));
    Forwarding {
        trust: table.or("trusted_proxies", hops, |node| networks(node).map(Trust::Networks)),
        format: table.or("forwarded", default.format, |node| node.choice(FORMATS)),
        request_id: table.or("request_id", default.request_id, Node::boolean),
        trace: table.or("trace", default.trace, |node| node.choice(TRACES)),
    }
}
