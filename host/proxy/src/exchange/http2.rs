//! A request and its answer over HTTP/2: on a connection that it shares with others.

use std::{future::poll_fn, mem, task::Poll};

use super::{CONTINUE_WAIT, Deadline, accept, bad_response, client_body, name_of, no_answer};
use crate::{
    attempt::Attempt,
    body::{RequestBody, Source},
    cluster::ClusterSettings,
    endpoint::WorkerEndpoint,
    endpoint_stream::EndpointStream,
    failure::Failure,
    multiplexed::{Broken, Call},
    record::Record,
    request::Inbound,
    websocket,
};
use h2::Reason;
use http::{
    HeaderValue, Request, Response, Uri,
    header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::{Authority, Scheme},
};
use sluicegate_policy::RequestParts;

/// How many connections may turn out to be closed before the endpoint is taken to be so.
const MAX_CLOSED: u32 = 3;

/// Sends a request to an endpoint, on as many connections as turn out to be closed.
pub(super) async fn send(
    endpoint: &WorkerEndpoint,
    settings: &ClusterSettings,
    record: &Record,
    attempt: &mut Attempt,
    began: u64,
    inbound: &mut Inbound,
) -> Result<Source, Failure> {
    let is_websocket = websocket::is_asked_for(inbound);
    if is_websocket && inbound.websocket.is_none() {
        websocket::check(&inbound.head.parts)?;
    }
    let clock = record.client.worker.clock;
    let mut now = began;
    let mut closed = 0;
    loop {
        let (place, is_new) = endpoint.multiplexed.place(endpoint, settings, clock).await?;
        if is_new {
            endpoint.metrics.connections_opened.increment(1);
            now = clock.now();
            attempt.connected(now);
        } else {
            endpoint.metrics.connections_reused.increment(1);
        }
        if is_websocket && !place.takes_websockets().await {
            return Err(Failure::NotSupported("WebSocket to an endpoint that does not take it over HTTP/2"));
        }
        let mut deadline = Deadline::new(record, settings.response_timeout, now, inbound.body.upload());
        // The head stays: the endpoint may say that it has not looked at the request.
        let mut head = to_http2(&inbound.head.parts, settings)?;
        if is_websocket {
            websocket::connect(&mut head);
        }
        let body = mem::replace(&mut inbound.body, RequestBody::Empty);
        let hold = inbound.expects_continue.then(|| CONTINUE_WAIT.min(settings.response_timeout / 2));
        let (source, is_unsent) = match Call::begin(place, head, body, hold, is_websocket) {
            Ok(mut call) => match answer(&mut call, record, &mut deadline).await {
                Some(Ok(response)) => {
                    let is_opened = is_websocket && response.status().is_success();
                    inbound.answer = response;
                    return match is_opened {
                        true => open(endpoint, attempt, inbound, call),
                        false => accept(endpoint, attempt, &mut inbound.answer, Source::Http2(Box::new(call))),
                    };
                }
                Some(Err(_)) if let Some(upload) = deadline.upload.filter(|upload| upload.broke.get()) => {
                    return Err(client_body(record, &upload));
                }
                Some(Err(Broken::Bad(bad))) => return Err(bad_response(endpoint, bad.into())),
                Some(Err(Broken::Closed(source))) => (source, false),
                None => return Err(no_answer(endpoint, settings, call.waits_for_client())),
            },
            Err((source, body)) => {
                inbound.body = body;
                (source, true)
            }
        };
        // The connection ended before any of it was sent, or before the endpoint had looked at it.
        let unseen = unseen(&source);
        let is_whole = is_unsent || unseen == Some(Unseen::Connection) && inbound.rewind();
        if !is_whole || closed == MAX_CLOSED || is_unsent && is_new {
            return Err(match unseen {
                Some(_) if !is_unsent => Failure::RefusedStream { endpoint: name_of(endpoint) },
                _ => Failure::UpstreamClosed { endpoint: name_of(endpoint), source: source.into(), sent: !is_unsent },
            });
        }
        closed += 1;
    }
}

/// The answer's head; none when there is none in time.
async fn answer(call: &mut Call, record: &Record, deadline: &mut Deadline<'_>) -> Option<Result<Response<()>, Broken>> {
    poll_fn(|cx| match call.poll_answer(cx, |status, headers| record.inform(status, headers)) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => deadline.poll(cx).map(|()| None),
    })
    .await
}

/// The endpoint has opened a WebSocket.
fn open(
    endpoint: &WorkerEndpoint,
    attempt: &mut Attempt,
    inbound: &mut Inbound,
    call: Call,
) -> Result<Source, Failure> {
    let opened = call.into_stream().ok_or_else(|| bad_response(endpoint, "success without a WebSocket".into()))?;
    let opened = EndpointStream::Stream { io: Box::new(opened.0), _place: opened.1 };
    let answer = &mut inbound.answer;
    let source = accept(endpoint, attempt, answer, Source::Opened(Box::new(opened)))?;
    if inbound.websocket.is_none() {
        websocket::switch(&inbound.head.parts.headers, answer);
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Ok(source)
}

/// What an endpoint did nothing for (RFC 9113, sections 6.8 and 8.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unseen {
    /// This request.
    Stream,
    /// All from this one on, as it closes the connection.
    Connection,
}

/// Whether the endpoint says that it did nothing for the request.
fn unseen(error: &h2::Error) -> Option<Unseen> {
    if !error.is_remote() {
        None
    } else if error.is_go_away() {
        // Requests that the endpoint may have looked at do not end with its farewell, but with the connection.
        Some(Unseen::Connection)
    } else {
        (error.reason() == Some(Reason::REFUSED_STREAM)).then_some(Unseen::Stream)
    }
}

/// Says in HTTP/2's way where a request is to go. Without a host, the library says nothing of that; a host that is no
/// authority can't be said.
pub(crate) fn to_http2(head: &RequestParts, settings: &ClusterSettings) -> Result<Parts, Failure> {
    let RequestParts { method, uri, mut headers } = head.clone();
    let (mut head, ()) = Request::new(()).into_parts();
    (head.method, head.uri, head.headers) = (method, uri, mem::take(headers.all_mut()));
    // What the connection says by itself, and what only HTTP/1.1 needs.
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        head.headers.remove(name);
    }
    if let Some(host) = head.headers.remove(HOST).filter(|host| !host.is_empty()) {
        let bad = || Failure::BadRequest("a Host header that HTTP/2 has no word for");
        let mut parts = mem::take(&mut head.uri).into_parts();
        parts.scheme = Some(if settings.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| bad())?);
        head.uri = Uri::from_parts(parts).map_err(|_| bad())?;
    }
    Ok(head)
}
