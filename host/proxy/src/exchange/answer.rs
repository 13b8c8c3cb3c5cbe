//! What becomes of an endpoint's answer: it is passed on, opens a tunnel, or is let go of.

use std::{mem, rc::Rc};

use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CONNECTION, UPGRADE},
    response,
};
use sluicegate_core::Outcome;
use sluicegate_policy::Reply;

use super::bad_response;
use crate::{
    attempt::Attempt,
    body::{ResponseBody, Source},
    endpoint::WorkerEndpoint,
    endpoint_stream::EndpointStream,
    failure::Failure,
    headers,
    record::Record,
    reply::set_response_headers,
    request::Inbound,
    tunnel::Tunnel,
    websocket::WebSocket,
};

/// Checks a response and makes it one of this hop.
pub(super) fn accept(
    endpoint: &WorkerEndpoint,
    attempt: &mut Attempt,
    response: &mut Response<()>,
    source: Source,
) -> Result<Source, Failure> {
    // What comes over HTTP/1.1 was cleaned as it came, but for a switch.
    if !matches!(source, Source::Http1(_)) {
        let protocol = response.headers().get(UPGRADE).cloned();
        if headers::clean(response.headers_mut()).has_other_coding {
            return Err(bad_response(endpoint, "a transfer coding other than chunked".into()));
        }
        if let (Source::Switched(_), Some(protocol)) = (&source, protocol) {
            response.headers_mut().insert(UPGRADE, protocol);
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
    }
    attempt.answered(response.status());
    attempt.heard(response.headers());
    Ok(source)
}

/// Passes a response on to the client.
pub(super) fn relay(
    source: Source,
    attempt: Attempt,
    mut record: Record,
    inbound: &mut Inbound,
    said: Option<Box<Reply>>,
) -> Response<ResponseBody> {
    let (mut parts, ()) = mem::take(&mut inbound.answer).into_parts();
    set_response_headers(said, &mut parts.headers);
    record.answered(parts.status);
    record.settle(source.size_hint().exact(), &mut parts);
    let endpoint = match source {
        Source::Switched(upstream) => {
            let (io, early) = upstream.into_tunnel();
            (EndpointStream::Connection(io), early)
        }
        Source::Opened(stream) => (*stream, Bytes::new()),
        source => return Response::from_parts(parts, ResponseBody::relay(source, attempt, record)),
    };
    open_tunnel(parts, endpoint, attempt, record, inbound.websocket.take())
}

/// Passes a response on that switches protocols: what comes behind it is the client's and the endpoint's own affair.
#[cold]
#[inline(never)]
fn open_tunnel(
    mut parts: response::Parts,
    (endpoint, early): (EndpointStream, Bytes),
    attempt: Attempt,
    record: Record,
    websocket: Option<Box<WebSocket>>,
) -> Response<ResponseBody> {
    let client = Rc::clone(&record.client);
    let tunnel = Box::new(Tunnel { endpoint, early, attempt, record });
    match websocket {
        Some(websocket) => websocket.open(&mut parts, tunnel),
        None => *client.tunnel.borrow_mut() = Some(tunnel),
    }
    Response::from_parts(parts, ResponseBody::text(Bytes::new()))
}

/// Lets go of a response that is not passed on. Most errors are short: then their connection can be used again.
#[cold]
#[inline(never)]
pub(super) fn discard(source: Source, attempt: Attempt) {
    if let Source::Http1(mut upstream) = source
        && upstream.take_whole().is_some()
    {
        attempt.release(upstream);
    }
    attempt.finish(Outcome::Answered);
}
