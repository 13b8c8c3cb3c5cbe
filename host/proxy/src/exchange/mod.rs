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
//!
//! The two versions of HTTP that an endpoint may speak have a file each: `http1` and `http2`.

mod http1;
mod http2;

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, UPGRADE},
};
use hyper::body::{Body, Incoming};
use sluicegate_core::Outcome;

use crate::{
    attempt::Attempt,
    body::{ResponseBody, Source, Upload},
    cluster::{Cluster, ClusterSettings},
    connect::UpstreamProtocol,
    endpoint::WorkerEndpoint,
    failure::Failure,
    headers,
    record::Record,
    request::Inbound,
    respond::respond,
    tunnel::Tunnel,
};

/// A response's head, its body, and what the rest of that comes over.
type Answer = (Response<Incoming>, Source);

/// Gets an answer for a request from one of the cluster's endpoints, or says why there is none.
pub(crate) async fn exchange(
    cluster: Rc<Cluster>,
    mut inbound: Box<Inbound>,
    mut record: Record,
) -> Response<ResponseBody> {
    let clock = record.client.worker.clock;
    let settings = cluster.settings();
    let mut now = record.began;
    let mut last = None;
    for _ in 0..settings.max_attempts.max(1) {
        let Some((endpoint, picked)) = cluster.pick(now, inbound.hash, &mut inbound.head) else { break };
        record.picked(&endpoint, &picked);
        let mut attempt = Attempt::begin(&cluster, &endpoint, &picked, clock);
        match send(&endpoint, &settings, &record, &mut attempt, picked.at, &mut inbound).await {
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
    record: &Record,
    attempt: &mut Attempt,
    began: u64,
    inbound: &mut Inbound,
) -> Result<Answer, Failure> {
    match settings.protocol {
        UpstreamProtocol::Http1 => http1::send(endpoint, settings, record, attempt, began, inbound).await,
        // In a box, so that it does not make every request's future larger.
        UpstreamProtocol::Http2 => Box::pin(http2::send(endpoint, settings, record, attempt, began, inbound)).await,
    }
}

/// When a response's head has to be there.
struct Deadline<'a> {
    record: &'a Record,
    timeout: u64,
    at: u64,
    upload: Option<Rc<Upload>>,
    frames: u64,
}

impl<'a> Deadline<'a> {
    fn new(record: &'a Record, timeout: Duration, now: u64, upload: Option<Rc<Upload>>) -> Self {
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self { record, timeout, at: now.saturating_add(timeout), upload, frames: 0 }
    }

    /// Ready when the endpoint has had its time, and the client's body did not move meanwhile.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.record.timer.poll(cx, self.at));
            let frames = self.upload.as_ref().map_or(0, |upload| upload.frames.get());
            if frames == self.frames {
                return Poll::Ready(());
            }
            self.frames = frames;
            self.at = self.record.client.worker.clock.now().saturating_add(self.timeout);
        }
    }
}

/// Checks a response and makes it one of this hop.
fn accept(endpoint: &WorkerEndpoint, attempt: &mut Attempt, (mut response, source): Answer) -> Result<Answer, Failure> {
    let protocol = response.headers().get(UPGRADE).cloned();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !matches!(source, Source::Switched(_)) {
        return Err(bad_response(endpoint, "a switch of protocols that nobody asked for".into()));
    }
    if headers::clean(response.headers_mut()).has_other_coding {
        return Err(bad_response(endpoint, "a transfer coding other than chunked".into()));
    }
    if let (Source::Switched(_), Some(protocol)) = (&source, protocol) {
        response.headers_mut().insert(UPGRADE, protocol);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    attempt.answered(response.status());
    Ok((response, source))
}

/// Passes a response on to the client.
fn relay((response, source): Answer, attempt: Attempt, mut record: Record) -> Response<ResponseBody> {
    let (mut parts, incoming) = response.into_parts();
    record.answered(parts.status);
    record.settle(incoming.size_hint().exact(), &mut parts.version, &mut parts.headers);
    // Most responses fit into one read: then the connection is free before the client has got anything.
    let body = match source {
        Source::Driven(upstream) if upstream.is_idle() => {
            attempt.release(upstream);
            attempt.finish(Outcome::Answered);
            ResponseBody::relay(incoming, Source::None, None, record)
        }
        Source::Switched(upstream) => {
            let (io, early) = upstream.into_tunnel();
            let client = Rc::clone(&record.client);
            *client.tunnel.borrow_mut() = Some(Box::new(Tunnel { io, early, attempt, record }));
            ResponseBody::text(Bytes::new())
        }
        source => ResponseBody::relay(incoming, source, Some(attempt), record),
    };
    Response::from_parts(parts, body)
}

/// Why a client's body did not come to its end.
fn client_body(record: &Record, upload: &Upload) -> Failure {
    let max = record.route.as_ref().and_then(|route| route.route.max_body_bytes);
    match (record.client.traffic.refused.get(), max) {
        (_, Some(max)) if upload.is_too_long.get() => Failure::BodyTooLarge { max },
        (Some(refused), _) => Failure::Malformed(refused.violation),
        (None, _) => Failure::ClientBody,
    }
}

fn bad_response(endpoint: &WorkerEndpoint, reason: String) -> Failure {
    Failure::BadResponse { endpoint: name_of(endpoint), reason }
}

fn name_of(endpoint: &WorkerEndpoint) -> Arc<str> {
    Arc::clone(&endpoint.endpoint.name)
}
