//! The only loop on a request's walk: pick, connect or reuse, send, classify; then done, or the next attempt.
//!
//! What is tried again, and why it is safe:
//!
//! - *On another endpoint*, up to the cluster's `max_attempts`: only when no connection could be made, so nothing of
//!   the request was sent.
//! - *On another connection to the same endpoint*, without counting it as an attempt: when a reused connection turns
//!   out to be closed. Endpoints may close an idle connection at any moment (RFC 9112, section 9.6). If hyper had not
//!   begun to send, any request is sent again; if it had and nothing came back, only a repeatable one, once, on a
//!   fresh connection.
//!
//! Nothing else is sent twice.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::{
    body::{Body, Incoming},
    client::conn::TrySendError,
};
use sluicegate_core::Outcome;
use tokio::task::unconstrained;

use crate::{
    attempt::Attempt,
    body::{RequestBody, ResponseBody, Upload},
    cluster::{Cluster, ClusterSettings},
    connection::ClientConnection,
    endpoint::WorkerEndpoint,
    failure::Failure,
    headers,
    io::Traffic,
    record::Record,
    replay,
    request::Inbound,
    respond::respond,
    upstream::Upstream,
};

/// A response's head, its body, and the connection that still works on it.
type Answer = (Response<Incoming>, Option<Box<Upstream>>);

/// Gets an answer for a request from one of the cluster's endpoints, or says why there is none.
pub(crate) async fn exchange(
    cluster: Rc<Cluster>,
    mut inbound: Box<Inbound>,
    mut record: Record,
) -> Response<ResponseBody> {
    let clock = record.client.worker.clock;
    let settings = cluster.settings.get();
    let mut now = record.began;
    let mut last = None;
    for _ in 0..settings.max_attempts.max(1) {
        let Some((endpoint, picked)) = cluster.pick(now, &mut inbound.head) else { break };
        record.picked(&endpoint, &picked);
        let mut attempt = Attempt::begin(&cluster, &endpoint, &picked, clock);
        match send(&endpoint, &settings, &record.client, &mut attempt, picked.at, &mut inbound).await {
            Ok(answer) => return relay(answer, attempt, record),
            Err(failure) => {
                attempt.finish(failure.outcome());
                if !failure.may_retry() {
                    return respond(&failure, record);
                }
                inbound.head.tried.push(endpoint.endpoint.id);
                last = Some(failure);
                now = clock.now();
            }
        }
    }
    respond(&last.unwrap_or_else(|| Failure::NoEndpoint { cluster: Arc::clone(&cluster.name) }), record)
}

/// Sends a request to an endpoint, on as many connections as turn out to be closed.
async fn send(
    endpoint: &WorkerEndpoint,
    settings: &ClusterSettings,
    client: &ClientConnection,
    attempt: &mut Attempt,
    began: u64,
    inbound: &mut Inbound,
) -> Result<Answer, Failure> {
    let clock = client.worker.clock;
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
                let upstream = Box::pin(Upstream::connect(&endpoint.endpoint, settings.connect_timeout)).await?;
                endpoint.metrics.connections_opened.increment(1);
                now = clock.now();
                attempt.connected(now);
                upstream
            }
        };
        let (is_reused, traffic) = (upstream.reused, Rc::clone(&upstream.traffic));
        traffic.restart(is_reused && inbound.is_repeatable);
        let mut deadline = Deadline::new(client, settings.response_timeout, now, inbound.body.upload());
        // The connection is driven before each look at the response, so the look itself needs no waker; nor may it be
        // put off by the task's budget, for then it would.
        let mut response = pin!(unconstrained(upstream.sender.try_send_request(inbound.take())));
        let mut upstream = Some(upstream);
        let result = poll_fn(|cx| {
            if upstream.as_mut().is_some_and(|upstream| upstream.drive(cx).is_ready()) {
                // The connection is over. Dropping it settles what becomes of the request.
                upstream = None;
            }
            match response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => deadline.poll(cx).map(|()| None),
            }
        })
        .await;
        match result {
            Some(Ok(response)) => return accept(endpoint, attempt, (response, upstream)),
            Some(Err(_)) if deadline.upload.is_some_and(|upload| upload.broke.get()) => {
                return Err(Failure::ClientBody);
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

/// When a response's head has to be there.
struct Deadline<'a> {
    client: &'a ClientConnection,
    timeout: u64,
    at: u64,
    upload: Option<Rc<Upload>>,
    frames: u64,
}

impl<'a> Deadline<'a> {
    fn new(client: &'a ClientConnection, timeout: Duration, now: u64, upload: Option<Rc<Upload>>) -> Self {
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self { client, timeout, at: now.saturating_add(timeout), upload, frames: 0 }
    }

    /// Ready when the endpoint has had its time, and the client's body did not move meanwhile.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.client.timer.poll(cx, self.at));
            let frames = self.upload.as_ref().map_or(0, |upload| upload.frames.get());
            if frames == self.frames {
                return Poll::Ready(());
            }
            self.frames = frames;
            self.at = self.client.worker.clock.now().saturating_add(self.timeout);
        }
    }
}

/// Checks a response and makes it one of this hop.
fn accept(
    endpoint: &WorkerEndpoint,
    attempt: &mut Attempt,
    (mut response, upstream): Answer,
) -> Result<Answer, Failure> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(bad_response(endpoint, "a switch of protocols that nobody asked for".into()));
    }
    if headers::clean(response.headers_mut()).has_other_coding {
        return Err(bad_response(endpoint, "a transfer coding other than chunked".into()));
    }
    attempt.answered(response.status());
    Ok((response, upstream))
}

/// Passes a response on to the client.
fn relay((response, upstream): Answer, attempt: Attempt, mut record: Record) -> Response<ResponseBody> {
    let (mut parts, incoming) = response.into_parts();
    record.answered(parts.status);
    record.settle(incoming.size_hint().exact(), &mut parts.version, &mut parts.headers);
    // Most responses fit into one read: then the connection is free before the client has got anything.
    let is_through = upstream.as_ref().is_some_and(|upstream| upstream.is_idle());
    let body = if is_through {
        upstream.into_iter().for_each(|upstream| attempt.release(upstream));
        attempt.finish(Outcome::Answered);
        ResponseBody::relay(incoming, None, None, record)
    } else {
        ResponseBody::relay(incoming, upstream, Some(attempt), record)
    };
    Response::from_parts(parts, body)
}

fn bad_response(endpoint: &WorkerEndpoint, reason: String) -> Failure {
    Failure::BadResponse { endpoint: name_of(endpoint), reason }
}

fn name_of(endpoint: &WorkerEndpoint) -> Arc<str> {
    Arc::clone(&endpoint.endpoint.name)
}
