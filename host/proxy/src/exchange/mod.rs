//! The only loop on a request's walk: pick, connect or reuse, send, classify; then done, or the next attempt.
//!
//! What is tried again, and why it is safe:
//!
//! - *On another endpoint*, up to the cluster's `max_attempts`, after what the cluster's settings say (`retry`): if no
//!   connection could be made, so that nothing of the request was sent, or if the endpoint did nothing for it; otherwise
//!   only if it is idempotent, or the operator says so.
//! - *On another connection to the same endpoint*, without counting it as an attempt: when a reused connection turns
//!   out to be closed. Endpoints may close an idle connection at any moment (RFC 9112, section 9.6). If nothing had
//!   been sent, any request is sent again; if something had and nothing came back, only a repeatable one; either way
//!   on a fresh connection. Over HTTP/2 the endpoint says itself which requests it has not looked at.
//!
//! Nothing else is sent twice.
//!
//! The two versions of HTTP that an endpoint may speak have a file each: `http1` and `http2`.
//!
//! Every request moves the future of all this at least once, so it is kept small: what is rare is in a box of its own.

// An `async fn` keeps each of its arguments twice, as it was given and as it is used.
#![allow(clippy::manual_async_fn)]

mod answer;
mod hedge;
mod http1;
mod http2;
mod retries;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Response, StatusCode};
use sluicegate_core::{EndpointId, Resource};
use sluicegate_policy::{DECLINE, Draw, Hedge, Picked, Rejection, Reply};

use crate::{
    attempt::Attempt,
    body::{ResponseBody, Source},
    cluster::{Choice, Cluster, ClusterSettings},
    connect::UpstreamProtocol,
    endpoint::WorkerEndpoint,
    failure::Failure,
    load::place,
    rare::rare,
    record::Record,
    reply::{set_request_headers, set_response_headers},
    request::Inbound,
    respond::respond,
    timer::{Idle, nanos},
    upload::Upload,
};
use answer::{accept, discard, relay};
use hedge::Try;
use retries::Retries;

pub(crate) use http2::to_http2;

/// For how long a body waits for "100 Continue" where the client asked for that: an endpoint that does not know of it
/// never says it (RFC 9110, section 10.1.1). As curl.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Gets an answer for a request from one of the cluster's endpoints, or says why there is none.
pub(crate) fn exchange(
    cluster: Rc<Cluster>,
    mut inbound: Box<Inbound>,
    mut record: Record,
) -> impl Future<Output = Response<ResponseBody>> {
    async move {
        let settings = cluster.settings();
        record.sets_out(settings.request_timeout, inbound.body.upload());
        if record.upload.is_some() {
            let bytes = cluster.needs().body_prefix as usize;
            if bytes > 0 {
                rare(inbound.read_prefix(bytes)).await;
            }
        }
        let mut retries = Retries::new(&cluster, &settings, &mut inbound, record.is_grpc);
        let mut now = record.began;
        let (mut last, mut said) = (None, None);
        loop {
            let (mut turn, hedge) = match begin(&cluster, &settings, now, &mut inbound, &mut record, &mut said) {
                Begun::Try(turn, hedge) => (turn, hedge),
                Begun::Rejected(picked) => return reject(picked, record),
                Begun::Failed(failure) => return respond(&failure, record),
                Begun::Nobody => {
                    let none = || Failure::NoEndpoint { cluster: Arc::clone(&cluster.name) };
                    return respond(&last.unwrap_or_else(none), record);
                }
            };
            let failed = {
                let sent = match hedge {
                    None => {
                        let Try { endpoint, attempt, began } = &mut turn;
                        send_in_time(endpoint, &settings, &record, attempt, *began, &mut inbound).await
                    }
                    Some(hedge) => {
                        let race = hedge::race(&cluster, &settings, &record, turn, hedge, &mut retries, &mut inbound);
                        let (sent, winner, is_second) = rare(race).await;
                        if is_second {
                            record.goes_to(&winner.endpoint);
                        }
                        turn = winner;
                        sent
                    }
                };
                match sent {
                    Ok(source) => {
                        // Said in the head when there is nothing else ("Trailers-Only").
                        if let Some(failed) = record.grpc_failed(inbound.answer.headers()) {
                            turn.attempt.counts_as(failed);
                        }
                        match retries.after_response(&turn.endpoint, &mut inbound, &record) {
                            None => return relay(source, turn.attempt, record, &mut inbound, said),
                            Some(wait) => {
                                discard(source, turn.attempt);
                                Ok(wait)
                            }
                        }
                    }
                    Err(failure) => {
                        turn.attempt.finish(failure.outcome());
                        Err(failure)
                    }
                }
            };
            match failed {
                Ok(wait) => rare(tokio::time::sleep(wait)).await,
                Err(failure) => {
                    if !retries.after_failure(&failure, &turn.endpoint, &mut inbound, &record).await {
                        return respond(&failure, record);
                    }
                    last = Some(failure);
                }
            }
            now = record.client.worker.clock.now();
        }
    }
}

/// How an attempt begins.
enum Begun {
    /// With a second one beside it, perhaps.
    Try(Try, Option<(Hedge, Draw)>),
    Rejected(Picked),
    Failed(Failure),
    Nobody,
}

/// Finds out where the request goes next.
fn begin(
    cluster: &Rc<Cluster>,
    settings: &ClusterSettings,
    now: u64,
    inbound: &mut Inbound,
    record: &mut Record,
    said: &mut Option<Box<Reply>>,
) -> Begun {
    let place = match place(Rc::clone(cluster), Resource::Requests, settings) {
        Ok(place) => place,
        Err(failure) => return Begun::Failed(failure),
    };
    let (endpoint, mut picked) = match choose(cluster, now, inbound, said) {
        Choice::Endpoint(endpoint, picked) => (endpoint, picked),
        Choice::Rejected(picked) => return Begun::Rejected(picked),
        Choice::Nobody => return Begun::Nobody,
    };
    record.picked(&endpoint, &mut picked);
    let attempt = Attempt::begin(cluster, &endpoint, (picked.at, picked.draw), record.client.worker.clock, place);
    if let Some(mut reply) = picked.reply {
        set_request_headers(&mut reply, &mut inbound.head.parts.headers);
        *said = Some(reply);
    }
    let hedge = said.as_mut().and_then(|said| said.hedge.take().map(|hedge| (hedge, said.draw)));
    Begun::Try(Try { endpoint, attempt, began: picked.at }, hedge)
}

/// Where the request goes: to the next of those that the policy has named with its last pick, or else to whom it picks
/// now.
fn choose(cluster: &Rc<Cluster>, now: u64, inbound: &mut Inbound, said: &mut Option<Box<Reply>>) -> Choice {
    if let Some(said) = said
        && let Some(endpoint) = next_named(cluster, inbound, said)
    {
        // Nobody had to be asked.
        let (generation, draw) = (said.generation, said.draw);
        let picked = Picked { index: DECLINE, generation, at: now, cost_ns: 0, draw, reply: None };
        return Choice::Endpoint(endpoint, picked);
    }
    // What was said holds for one pick.
    *said = None;
    cluster.pick(now, inbound.hash, &mut inbound.head)
}

/// The next one that the policy has named and that was not tried.
#[cold]
fn next_named(cluster: &Cluster, inbound: &Inbound, said: &mut Reply) -> Option<Rc<WorkerEndpoint>> {
    let untried = |id: &EndpointId| !inbound.head.tried.contains(id);
    let named = said.then.drain(..).filter(untried).collect::<Vec<_>>();
    let mut named = named.into_iter();
    let next = named.by_ref().find_map(|id| cluster.endpoint(id));
    said.then.extend(named);
    next
}

/// Answers a request in the words of the policy.
#[cold]
#[inline(never)]
fn reject(mut picked: Picked, mut record: Record) -> Response<ResponseBody> {
    record.judged(&mut picked);
    let rejection = picked.reply.as_mut().and_then(|reply| reply.rejection.take());
    let nothing = || Rejection { status: StatusCode::SERVICE_UNAVAILABLE, reason: String::new() };
    let mut response = respond(&Failure::Rejected(rejection.unwrap_or_else(nothing)), record);
    set_response_headers(picked.reply, response.headers_mut());
    response
}

/// Sends a request to an endpoint, within the attempt's own time and the request's. The answer's head is in `inbound` then;
/// what comes back is where its body comes from.
fn send_in_time<'a>(
    endpoint: &'a WorkerEndpoint,
    settings: &'a ClusterSettings,
    record: &'a Record,
    attempt: &'a mut Attempt,
    began: u64,
    inbound: &'a mut Inbound,
) -> impl Future<Output = Result<Source, Failure>> {
    async move {
        let of_attempt = settings.attempt_timeout.map_or(u64::MAX, |timeout| began.saturating_add(nanos(timeout)));
        let mut sending = pin!(send(endpoint, settings, record, attempt, began, inbound));
        poll_fn(|cx| {
            if let Poll::Ready(result) = sending.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if record.deadline != u64::MAX && record.timer.poll(cx, record.deadline).is_ready() {
                return Poll::Ready(Err(Failure::RequestTimeout { timeout: record.limit() }));
            }
            if of_attempt != u64::MAX && record.timer.poll(cx, of_attempt).is_ready() {
                let timeout = settings.attempt_timeout.unwrap_or_default();
                return Poll::Ready(Err(Failure::AttemptTimeout { endpoint: name_of(endpoint), timeout }));
            }
            Poll::Pending
        })
        .await
    }
}

/// Sends a request to an endpoint, on as many connections as turn out to be closed.
fn send<'a>(
    endpoint: &'a WorkerEndpoint,
    settings: &'a ClusterSettings,
    record: &'a Record,
    attempt: &'a mut Attempt,
    began: u64,
    inbound: &'a mut Inbound,
) -> impl Future<Output = Result<Source, Failure>> {
    async move {
        loop {
            let sent = match settings.protocol {
                UpstreamProtocol::Http1 => http1::send(endpoint, settings, record, attempt, began, inbound).await,
                UpstreamProtocol::Http2 => rare(http2::send(endpoint, settings, record, attempt, began, inbound)).await,
            };
            match sent {
                // Idle connections to other endpoints make room for it.
                Err(Failure::CircuitOpen(open))
                    if open.resource == Resource::Connections
                        && record.cluster.as_ref().is_some_and(|cluster| cluster.close_an_idle_connection()) => {}
                sent => return sent,
            }
        }
    }
}

/// When a response's head has to be there: the client's body must not move for the whole time.
struct Deadline<'a> {
    record: &'a Record,
    idle: Idle,
    upload: Option<Rc<Upload>>,
}

impl<'a> Deadline<'a> {
    fn new(record: &'a Record, timeout: Duration, now: u64, upload: Option<Rc<Upload>>) -> Self {
        let moved = upload.as_ref().map_or(0, |upload| upload.frames.get());
        Self { record, idle: Idle::new(timeout, now, moved), upload }
    }

    /// Ready when the endpoint has had its time, and the client's body did not move meanwhile.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let moved = self.upload.as_ref().map_or(0, |upload| upload.frames.get());
        self.idle.poll(cx, &self.record.timer, moved)
    }
}

/// Why a client's body did not come to its end.
#[cold]
#[inline(never)]
fn client_body(record: &Record, upload: &Upload) -> Failure {
    let max = record.route.as_ref().and_then(|route| route.route.max_body_bytes);
    match (record.client.traffic.refused.get(), max) {
        (_, Some(max)) if upload.is_too_long.get() => Failure::BodyTooLarge { max },
        (Some(refused), _) => Failure::Malformed(refused.violation),
        (None, _) => Failure::ClientBody,
    }
}

/// There is no answer in time: because the client has not sent all of its body, perhaps.
#[cold]
#[inline(never)]
fn no_answer(endpoint: &WorkerEndpoint, settings: &ClusterSettings, waits_for_client: bool) -> Failure {
    let timeout = settings.response_timeout;
    match waits_for_client {
        true => Failure::BodyTimeout { timeout },
        false => Failure::ResponseTimeout { endpoint: name_of(endpoint), timeout },
    }
}

#[cold]
#[inline(never)]
fn bad_response(endpoint: &WorkerEndpoint, reason: String) -> Failure {
    Failure::BadResponse { endpoint: name_of(endpoint), reason }
}

fn name_of(endpoint: &WorkerEndpoint) -> Arc<str> {
    Arc::clone(&endpoint.endpoint.name)
}
