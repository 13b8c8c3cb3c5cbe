//! A request and its answer over HTTP/2: on a connection that it shares with others.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    task::Poll,
};

use http::{
    HeaderValue, Uri,
    header::{CONNECTION, HOST, TRANSFER_ENCODING},
    request::Parts,
    uri::{Authority, Scheme},
};

use super::{Answer, Deadline, accept, client_body, name_of};
use crate::{
    attempt::Attempt, body::Source, cluster::ClusterSettings, endpoint::WorkerEndpoint, failure::Failure,
    record::Record, request::Inbound,
};

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
) -> Result<Answer, Failure> {
    let clock = record.client.worker.clock;
    let mut now = began;
    let mut closed = 0;
    loop {
        let (stream, is_new) = endpoint.multiplexed.stream(&endpoint.endpoint, settings).await?;
        if is_new {
            endpoint.metrics.connections_opened.increment(1);
            now = clock.now();
            attempt.connected(now);
        } else {
            endpoint.metrics.connections_reused.increment(1);
        }
        let mut deadline = Deadline::new(record, settings.response_timeout, now, inbound.body.upload());
        let (plain, host) = to_http2(&mut inbound.head.parts, settings);
        let request = inbound.take();
        let mut response = pin!(stream.sender().try_send_request(request));
        let result = poll_fn(|cx| match response.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => deadline.poll(cx).map(|()| None),
        })
        .await;
        let mut error = match result {
            Some(Ok(response)) => return accept(endpoint, attempt, (response, Source::Stream { _place: stream })),
            Some(Err(_)) if let Some(upload) = deadline.upload.filter(|upload| upload.broke.get()) => {
                return Err(client_body(record, &upload));
            }
            Some(Err(error)) => error,
            None => {
                let (endpoint, timeout) = (name_of(endpoint), settings.response_timeout);
                return Err(Failure::ResponseTimeout { endpoint, timeout });
            }
        };
        let returned = error.take_message();
        let source = error.into_error();
        match returned {
            // The connection ended before any of it was sent.
            Some(request) if !is_new && closed < MAX_CLOSED => {
                closed += 1;
                (inbound.head.parts, inbound.body) = request.into_parts();
                inbound.head.parts.uri = plain;
                inbound.head.parts.headers.extend(host.map(|host| (HOST, host)));
            }
            returned => {
                return Err(Failure::UpstreamClosed { endpoint: name_of(endpoint), source, sent: returned.is_none() });
            }
        }
    }
}

/// Says in HTTP/2's way where a request is to go. Returns its target and its host as they were.
fn to_http2(head: &mut Parts, settings: &ClusterSettings) -> (Uri, Option<HeaderValue>) {
    let Parts { uri, headers, .. } = head;
    // What the connection says by itself, and what only HTTP/1.1 needs.
    for name in [CONNECTION, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let host = headers.remove(HOST);
    let authority = host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(if settings.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = authority;
    let plain = match Uri::from_parts(parts) {
        Ok(full) => mem::replace(uri, full),
        // Without an authority, a host that is no authority: hyper refuses to send that.
        Err(_) => uri.clone(),
    };
    (plain, host)
}
