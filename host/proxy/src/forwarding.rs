//! Who the client is and which request this is: what proxies in front say of it, how far they are believed, and what
//! the endpoint is told.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{FORWARDED, HOST},
};
use sluicegate_core::Rng;
use sluicegate_policy::{OwnLines, RequestHeaders};
use sluicegate_wire::{
    forwarded::{Element, Format, Node, Trust, client_address},
    trace::{RequestId, TraceParent},
};

use crate::{
    connection::ClientConnection,
    headers::{
        CLIENT_CERTIFICATE, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, Hop, REQUEST_ID, TRACE_PARENT, TRACE_STATE,
    },
};

/// How long a request's id may be that somebody else made, in bytes: a UUID three times over. It stands in every log.
const MAX_REQUEST_ID: usize = 128;

/// What a listener believes of those who connect to it, and what it says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Who may say whom a request comes from, over which scheme and for which host, and what it is called. Nobody by
    /// default, as every client could.
    pub trust: Trust,
    /// The header that this is read from and written to. The other one is taken away: nobody known has written it.
    pub format: Format,
    /// Whether requests get an `X-Request-Id`. Off by default: it is of use only where somebody collects it.
    pub request_id: bool,
    /// What becomes of the trace context.
    pub trace: Trace,
}

/// What becomes of a request's trace context (W3C, `traceparent` and `tracestate`). One that is not valid goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// It stays as it is: this proxy has no part in the trace.
    #[default]
    Pass,
    /// The request to the endpoint is a span of its own, in the client's trace or in a new one. A new one is marked as
    /// sampled: with the default settings of OpenTelemetry, those behind would never record it otherwise.
    Make,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { trust: Trust::Hops(0), format: Format::XForwardedFor, request_id: false, trace: Trace::Pass }
    }
}

impl Forwarding {
    /// Whether what this peer says of others is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        match &self.trust {
            Trust::Hops(hops) => *hops > 0,
            Trust::Networks(networks) => networks.iter().any(|network| network.contains(peer)),
        }
    }
}

/// Finds out who the client is, and what tells the endpoint of it that it can't see: the client, and what it asked for.
/// The lines are to be said with the headers.
pub(crate) fn forward_client(
    hop: &Hop,
    headers: &mut HeaderMap,
    client: &ClientConnection,
) -> (IpAddr, Option<Arc<OwnLines>>) {
    let forwarding = &client.listener.settings.forwarding;
    let peer = client.address.ip().to_canonical();
    let name = match forwarding.format {
        Format::XForwardedFor => FORWARDED_FOR,
        Format::Forwarded => FORWARDED,
    };
    let found = if client.is_trusted { said_address(&name, headers, forwarding, peer) } else { peer };
    if forwarding.format == Format::Forwarded {
        add_element(headers, client, peer);
        return (found, None);
    }
    if hop.has_forwarded {
        headers.remove(FORWARDED);
    }
    if (hop.has_forwarded_proto || hop.has_forwarded_host) && !settle_said(hop, headers, client) {
        return (found, None);
    }
    // A line of its own continues a list that is there (RFC 9110, section 5.3).
    (found, Some(Arc::clone(&client.own_lines)))
}

/// What a connection's requests say of its client, unless they say it in `Forwarded`.
pub(crate) fn own_lines(peer: IpAddr, scheme: &HeaderValue, identity: Option<&HeaderValue>) -> Arc<OwnLines> {
    // An address has no characters that a header can't have.
    let peer = HeaderValue::from_str(&peer.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
    let lines = [(FORWARDED_PROTO, Some(scheme.clone())), (FORWARDED_FOR, Some(peer))];
    let lines = lines.into_iter().chain([(CLIENT_CERTIFICATE, identity.cloned())]);
    Arc::new(OwnLines::new(lines.filter_map(|(name, value)| Some((name, value?))).collect()))
}

/// What a client says of an earlier hop stays only if it is trusted, and then takes the place of this proxy's own word.
/// Whether all of this proxy's own lines are still to be said.
#[inline(never)]
fn settle_said(hop: &Hop, headers: &mut HeaderMap, client: &ClientConnection) -> bool {
    if !client.is_trusted {
        headers.remove(FORWARDED_PROTO);
        headers.remove(FORWARDED_HOST);
        return true;
    }
    client.own_lines.put(headers, |name| {
        !(hop.has_forwarded_proto && *name == FORWARDED_PROTO || hop.has_forwarded_host && *name == FORWARDED_HOST)
    });
    false
}

/// The client's address, as those in front say it.
#[inline(never)]
fn said_address(name: &HeaderName, headers: &HeaderMap, forwarding: &Forwarding, peer: IpAddr) -> IpAddr {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    client_address(forwarding.format, lines, peer, &forwarding.trust)
}

/// How the client came, where a trusted proxy has said it, too: behind one that ends TLS, it is not how the proxy did.
/// To be asked after [`forward_client`].
pub(crate) fn scheme_of<'a>(headers: &'a RequestHeaders, client: &'a ClientConnection) -> &'a HeaderValue {
    let said = headers.get(&FORWARDED_PROTO).filter(|scheme| matches!(scheme.as_bytes(), b"http" | b"https"));
    said.unwrap_or(&client.scheme)
}

/// Says it in `Forwarded` alone, beside the certificate.
#[inline(never)]
fn add_element(headers: &mut HeaderMap, client: &ClientConnection, peer: IpAddr) {
    for other in [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST] {
        headers.remove(other);
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let proto = client.scheme.to_str().ok();
    let element = Element { client: Node::Address(peer, None), by: None, host, proto }.to_string();
    if let Ok(element) = HeaderValue::from_maybe_shared(Bytes::from(element)) {
        headers.append(FORWARDED, element);
    }
    if let Some(identity) = &client.identity {
        headers.insert(CLIENT_CERTIFICATE, identity.clone());
    }
}

/// Gives a request the names by which it is found again, as far as it is to have any.
pub(crate) fn name_request(hop: &Hop, headers: &mut HeaderMap, client: &ClientConnection) {
    let forwarding = &client.listener.settings.forwarding;
    let rng = &client.worker.rng;
    if forwarding.request_id && !(client.is_trusted && has_request_id(headers)) {
        headers.insert(REQUEST_ID, new_request_id(&mut rng.borrow_mut()));
    }
    if hop.has_trace || forwarding.trace == Trace::Make {
        settle_trace(headers, forwarding.trace, &mut rng.borrow_mut());
    }
}

/// Whether there is one id, and it can be put into any log.
fn has_request_id(headers: &HeaderMap) -> bool {
    let mut ids = headers.get_all(REQUEST_ID).iter().map(HeaderValue::as_bytes);
    let is_good = |id: &[u8]| matches!(id.len(), 1..=MAX_REQUEST_ID) && id.iter().all(u8::is_ascii_graphic);
    ids.next().is_some_and(is_good) && ids.next().is_none()
}

#[inline(never)]
fn new_request_id(rng: &mut Rng) -> HeaderValue {
    let id = RequestId::new([rng.next_u64(), rng.next_u64()]).uuid();
    value(&id)
}

#[inline(never)]
fn settle_trace(headers: &mut HeaderMap, trace: Trace, rng: &mut Rng) {
    let parent = {
        let mut parents = headers.get_all(TRACE_PARENT).iter();
        let parent = parents.next().and_then(|parent| TraceParent::parse(parent.as_bytes()).ok());
        parent.filter(|_| parents.next().is_none())
    };
    if parent.is_none() {
        headers.remove(TRACE_PARENT);
        // It says nothing without the other (section 3.3 there).
        headers.remove(TRACE_STATE);
    }
    if trace == Trace::Make {
        // 0 stands for nothing.
        let span = rng.next_u64().max(1);
        let own = match parent {
            Some(parent) => parent.child(span),
            None => TraceParent::new(RequestId::new([rng.next_u64(), span]).bits(), span, true),
        };
        if let Some(own) = own {
            headers.insert(TRACE_PARENT, value(own.to_string().as_bytes()));
        }
    }
}

/// Of digits and hyphens.
fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced(lines: &[(HeaderName, &str)], trace: Trace) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, text) in lines {
            headers.append(name, HeaderValue::from_str(text).unwrap());
        }
        settle_trace(&mut headers, trace, &mut Rng::new(1));
        headers
    }

    #[test]
    fn a_valid_trace_goes_on_and_another_ends() {
        let passed = traced(&[(TRACE_PARENT, PARENT), (TRACE_STATE, "a=b")], Trace::Pass);
        assert_eq!((passed[TRACE_PARENT].to_str().unwrap(), passed.len()), (PARENT, 2));
        for bad in [
            &[(TRACE_PARENT, "00-bad"), (TRACE_STATE, "a=b")][..],
            &[(TRACE_STATE, "a=b")],
            &[(TRACE_PARENT, PARENT), (TRACE_PARENT, PARENT), (TRACE_STATE, "a=b")],
        ] {
            assert!(traced(bad, Trace::Pass).is_empty(), "{bad:?}");
            let made = traced(bad, Trace::Make);
            assert!(TraceParent::parse(made[TRACE_PARENT].as_bytes()).unwrap().is_sampled());
            assert_eq!(made.len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn a_span_of_its_own_stays_in_the_trace() {
        let made = traced(&[(TRACE_PARENT, PARENT), (TRACE_STATE, "a=b")], Trace::Make);
        let (own, parent) = (made[TRACE_PARENT].as_bytes(), TraceParent::parse(PARENT.as_bytes()).unwrap());
        let own = TraceParent::parse(own).unwrap();
        assert_eq!((own.trace_id(), own.is_sampled()), (parent.trace_id(), true));
        assert_ne!(own.parent_id(), parent.parent_id());
        assert_eq!(made[TRACE_STATE], "a=b");
    }

    #[test]
    fn an_id_that_no_log_should_have_is_none() {
        let check = |ids: &[&str], expected| {
            let mut headers = HeaderMap::new();
            for id in ids {
                headers.append(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            }
            assert_eq!(has_request_id(&headers), expected, "{ids:?}");
        };
        check(&["a"], true);
        check(&[&"a".repeat(MAX_REQUEST_ID)], true);
        check(&[&"a".repeat(MAX_REQUEST_ID + 1)], false);
        check(&[], false);
        check(&[""], false);
        check(&["a b"], false);
        check(&["a", "a"], false);
    }
}
