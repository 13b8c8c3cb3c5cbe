//! A request and its answer over HTTP/1.1: a connection for each.

use std::{future::poll_fn, mem, task::Poll};

use http::{HeaderMap, StatusCode, header::UPGRADE};
use sluicegate_policy::RequestHeaders;

use super::{CONTINUE_WAIT, Deadline, accept, bad_response, client_body, name_of, no_answer};
use crate::{
    attempt::Attempt,
    body::{RequestBody, Source},
    cluster::ClusterSettings,
    endpoint::WorkerEndpoint,
    failure::Failure,
    headers,
    rare::rare,
    record::Record,
    request::Inbound,
    upstream::{Broken, Upstream},
};

/// Protocols that a client may offer to switch to; others are not heard. Each that the endpoint names is looked for among
/// them, and nobody offers more than two.
const MAX_OFFERED: usize = 32;

/// Sends a request to an endpoint, on as many connections as turn out to be closed.
pub(super) async fn send(
    endpoint: &WorkerEndpoint,
    settings: &ClusterSettings,
    record: &Record,
    attempt: &mut Attempt,
    began: u64,
    inbound: &mut Inbound,
) -> Result<Source, Failure> {
    let clock = record.client.worker.clock;
    let (mut now, mut must_be_fresh) = (began, false);
    loop {
        let idle =
            if must_be_fresh || settings.proxy_protocol.is_some() { None } else { endpoint.checkout(now, settings) };
        let mut upstream = match idle {
            Some(upstream) => {
                endpoint.metrics.connections_reused.increment(1);
                upstream
            }
            None => {
                let ends = record.client.ends(inbound.head.client);
                let upstream = rare(Upstream::open(endpoint, settings, Some(ends))).await?;
                endpoint.metrics.connections_opened.increment(1);
                now = clock.now();
                attempt.connected(now);
                upstream
            }
        };
        let mut deadline = Deadline::new(record, settings.response_timeout, now, inbound.body.upload());
        let body = mem::replace(&mut inbound.body, RequestBody::Empty);
        let hold = inbound.expects_continue.then(|| CONTINUE_WAIT.min(settings.response_timeout / 2));
        upstream.begin(&inbound.head.parts, body, hold);
        let answered = poll_fn(|cx| {
            let answered =
                upstream.poll_answer(cx, &mut inbound.answer, |status, headers| record.inform(status, headers));
            match answered {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => deadline.poll(cx).map(|()| None),
            }
        })
        .await;
        match answered {
            Some(Ok(())) => {
                let is_switch = inbound.answer.status() == StatusCode::SWITCHING_PROTOCOLS;
                if is_switch || inbound.websocket.is_some() {
                    check_switch(endpoint, inbound)?;
                }
                let source = if is_switch { Source::Switched(upstream) } else { Source::Http1(upstream) };
                return accept(endpoint, attempt, &mut inbound.answer, source);
            }
            Some(Err(_)) if let Some(upload) = deadline.upload.filter(|upload| upload.broke.get()) => {
                return Err(client_body(record, &upload));
            }
            Some(Err(broken)) => {
                recover(broken, endpoint, upstream, inbound)?;
                must_be_fresh = true;
            }
            None => return Err(no_answer(endpoint, settings, upstream.waits_for_client())),
        }
    }
}

/// Whether an endpoint may switch protocols, or not switch them, as it does.
#[cold]
#[inline(never)]
fn check_switch(endpoint: &WorkerEndpoint, inbound: &Inbound) -> Result<(), Failure> {
    let response = &inbound.answer;
    let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(websocket) = &inbound.websocket
        && (is_switch && !websocket.is_accepted(response.headers()) || response.status().is_success())
    {
        return Err(bad_response(endpoint, "neither a WebSocket handshake nor a refusal".into()));
    }
    if is_switch && !(inbound.is_upgrade && is_offered(&inbound.head.parts.headers, response.headers())) {
        return Err(bad_response(endpoint, "a switch of protocols that nobody asked for".into()));
    }
    Ok(())
}

/// Whether an endpoint switches to what it was offered, and says so (RFC 9110, section 7.8).
fn is_offered(asked: &RequestHeaders, answer: &HeaderMap) -> bool {
    let offered = asked.get(&UPGRADE).into_iter().flat_map(headers::tokens).take(MAX_OFFERED).collect::<Vec<_>>();
    let is_offered = |to: &str| offered.iter().any(|offer| headers::is(offer, to));
    answer.get(UPGRADE).is_some_and(|to| headers::tokens(to).all(is_offered))
}

/// Puts the request back in its place, if it may be sent again to the same endpoint. Otherwise says what broke.
#[cold]
#[inline(never)]
fn recover(
    broken: Broken,
    endpoint: &WorkerEndpoint,
    mut upstream: Box<Upstream>,
    inbound: &mut Inbound,
) -> Result<(), Failure> {
    let source = match broken {
        Broken::Bad(bad) => return Err(bad_response(endpoint, bad.to_string())),
        Broken::Closed(source) => source,
    };
    let (has_begun, has_answered) = upstream.give_up();
    if let Some(body) = upstream.take_body() {
        inbound.body = body;
    }
    // Of a body that has begun to go out, a part may be gone, even when nothing was sent.
    if upstream.reused && !has_answered && (!has_begun || inbound.is_repeatable) && inbound.rewind() {
        return Ok(());
    }
    Err(Failure::UpstreamClosed { endpoint: name_of(endpoint), source: source.into(), sent: has_begun })
}
