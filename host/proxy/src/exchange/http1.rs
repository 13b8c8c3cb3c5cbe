//! A request and its answer over HTTP/1.1: a connection for each.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http::{Request, StatusCode};
use hyper::client::conn::TrySendError;
use tokio::task::unconstrained;

use super::{Answer, Deadline, accept, bad_response, client_body, name_of};
use crate::{
    attempt::Attempt,
    body::{RequestBody, Source},
    cluster::ClusterSettings,
    endpoint::WorkerEndpoint,
    failure::Failure,
    io::Traffic,
    record::Record,
    replay,
    request::Inbound,
    upstream::Upstream,
};

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
    let (mut now, mut must_be_fresh) = (began, false);
    loop {
        let idle = if must_be_fresh { None } else { endpoint.checkout(now, settings) };
        let mut upstream = match idle {
            Some(upstream) => {
                endpoint.metrics.connections_reused.increment(1);
                upstream
            }
            None => {
                // In a box, because it is rare and would make every request's future larger.
                let upstream = Box::pin(Upstream::open(&endpoint.endpoint, settings)).await?;
                endpoint.metrics.connections_opened.increment(1);
                now = clock.now();
                attempt.connected(now);
                upstream
            }
        };
        let is_upgrade = inbound.is_upgrade;
        let (is_reused, traffic) = (upstream.reused, Rc::clone(&upstream.traffic));
        traffic.restart(is_reused && inbound.is_repeatable);
        let mut deadline = Deadline::new(record, settings.response_timeout, now, inbound.body.upload());
        // The connection is driven before each look at the response, so the look itself needs no waker; nor may it be
        // put off by the task's budget, for then it would.
        let mut response = pin!(unconstrained(upstream.sender.try_send_request(inbound.take())));
        let (mut upstream, mut is_over) = (Some(upstream), false);
        let result = poll_fn(|cx| {
            match upstream.as_mut().filter(|_| !is_over).map(|upstream| upstream.drive(cx)) {
                // Its HTTP is over: perhaps because it goes on in another protocol.
                Some(Poll::Ready(Ok(()))) if is_upgrade => is_over = true,
                // The connection is over. Dropping it settles what becomes of the request.
                Some(Poll::Ready(_)) => upstream = None,
                Some(Poll::Pending) | None => {}
            }
            let mut answer = response.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if answer.is_pending() && is_over {
                (upstream, is_over) = (None, false);
                answer = response.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
            match answer {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => deadline.poll(cx).map(|()| None),
            }
        })
        .await;
        match result {
            Some(Ok(response)) => {
                let source = match upstream {
                    Some(upstream) if !is_over => Source::Driven(upstream),
                    Some(upstream) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                        Source::Switched(upstream)
                    }
                    _ => Source::None,
                };
                return accept(endpoint, attempt, (response, source));
            }
            Some(Err(_)) if let Some(upload) = deadline.upload.filter(|upload| upload.broke.get()) => {
                return Err(client_body(record, &upload));
            }
            Some(Err(error)) => must_be_fresh = recover(error, endpoint, is_reused, &traffic, inbound)?,
            None => {
                let (endpoint, timeout) = (name_of(endpoint), settings.response_timeout);
                return Err(Failure::ResponseTimeout { endpoint, timeout });
            }
        }
    }
}

/// Puts the request back in its place, if it may be sent again to the same endpoint, and says whether only a fresh
/// connection will do. Otherwise says what broke.
fn recover(
    mut error: TrySendError<Request<RequestBody>>,
    endpoint: &WorkerEndpoint,
    is_reused: bool,
    traffic: &Traffic,
    inbound: &mut Inbound,
) -> Result<bool, Failure> {
    if let Some(request) = error.take_message() {
        // hyper had not begun to send it.
        (inbound.head.parts, inbound.body) = request.into_parts();
        let source = error.into_error();
        return if is_reused {
            Ok(false)
        } else {
            Err(Failure::UpstreamClosed { endpoint: name_of(endpoint), source, sent: false })
        };
    }
    let source = error.into_error();
    if source.is_parse() {
        return Err(bad_response(endpoint, source.to_string()));
    }
    if !traffic.received.get()
        && let Some(parts) = replay::parse(&traffic.take_sent())
    {
        inbound.head.parts = parts;
        return Ok(true);
    }
    Err(Failure::UpstreamClosed { endpoint: name_of(endpoint), source, sent: true })
}
