//! A second attempt beside a first one that takes long (hedging: Dean and Barroso, "The Tail at Scale", CACM 2013).
//!
//! A policy asks for it, and it is made where a retry could be: if the request may be sent twice, if its body is all here,
//! and within the budget of retries. Whichever attempt has a good answer first is the request's; the other one is dropped,
//! which ends it where it is, and makes its result "cancelled".

use std::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use http::Response;
use sluicegate_core::Resource;
use sluicegate_policy::{Draw, Hedge};
use tokio::time::sleep;

use super::{Retries, discard, send_in_time};
use crate::{
    attempt::Attempt,
    body::Source,
    cluster::{Cluster, ClusterSettings},
    endpoint::WorkerEndpoint,
    failure::Failure,
    load::{RetryPlace, place},
    metrics::Hedged,
    record::Record,
    request::Inbound,
};

/// An attempt at an endpoint.
pub(super) struct Try {
    pub(super) endpoint: Rc<WorkerEndpoint>,
    pub(super) attempt: Attempt,
    pub(super) began: u64,
}

/// A response's head, and where its body comes from.
type Answer = (Response<()>, Source);

/// What an attempt came to.
type Done = (Result<Answer, Failure>, Try);

/// Makes the first attempt, and the second one if its time comes. What the attempt came to that counts, and whether it
/// is the second one. The head of its answer is in `inbound` then.
pub(super) async fn race(
    cluster: &Rc<Cluster>,
    settings: &ClusterSettings,
    record: &Record,
    first: Try,
    hedge: (Hedge, Draw),
    retries: &mut Retries<'_>,
    inbound: &mut Inbound,
) -> (Result<Source, Failure>, Try, bool) {
    let (sent, winner, is_second) = first_past(cluster, settings, record, first, hedge, retries, inbound).await;
    let sent = sent.map(|(answer, source)| {
        inbound.answer = answer;
        source
    });
    (sent, winner, is_second)
}

/// The same, with the head beside the body.
async fn first_past(
    cluster: &Rc<Cluster>,
    settings: &ClusterSettings,
    record: &Record,
    first: Try,
    (hedge, draw): (Hedge, Draw),
    retries: &mut Retries<'_>,
    inbound: &mut Inbound,
) -> (Result<Answer, Failure>, Try, bool) {
    // The first attempt takes the request along, so there has to be another one beforehand.
    let spare = inbound.spare();
    let endpoint = cluster.endpoint(hedge.endpoint);
    let is_other = |endpoint: &Rc<WorkerEndpoint>| {
        !Rc::ptr_eq(endpoint, &first.endpoint) && !inbound.head.tried.contains(&endpoint.endpoint.id)
    };
    let Some((endpoint, mut spare)) = endpoint.filter(is_other).zip(spare) else {
        let (sent, first) = run(first, settings, record, inbound).await;
        return (sent, first, false);
    };
    let first_id = first.endpoint.endpoint.id;
    let (done, is_second, has_second) = {
        let mut running: [Option<Running<'_>>; 2] = [Some(Box::pin(run(first, settings, record, inbound))), None];
        if let Some((sent, first)) = until(&mut running[0], hedge).await {
            return (sent, first, false);
        }
        // Held until the race is over: this is what counts it among the retries.
        let mut _place: Option<RetryPlace> = None;
        if let Some((second, place)) = second(cluster, settings, record, (endpoint, draw), retries, &mut spare) {
            _place = Some(place);
            running[1] = Some(Box::pin(run(second, settings, record, &mut spare)));
        }
        let has_second = running[1].is_some();
        let (done, is_second) = first_good(&mut running).await;
        (done, is_second, has_second)
    };
    let (sent, winner) = done;
    if has_second {
        let won = is_second && sent.is_ok();
        cluster.metrics.hedged(if won { Hedged::Won } else { Hedged::Lost });
        let lost = if is_second { first_id } else { hedge.endpoint };
        retries.lost(lost, inbound);
    }
    (sent, winner, is_second)
}

type Running<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

async fn run(mut this: Try, settings: &ClusterSettings, record: &Record, inbound: &mut Inbound) -> Done {
    let Try { endpoint, attempt, began } = &mut this;
    let sent = send_in_time(endpoint, settings, record, attempt, *began, inbound).await;
    (sent.map(|source| (mem::take(&mut inbound.answer), source)), this)
}

/// Waits for the first attempt, for as long as it may take before there is a second one.
async fn until(first: &mut Option<Running<'_>>, hedge: Hedge) -> Option<Done> {
    let mut time = pin!(sleep(hedge.after));
    poll_fn(|cx| {
        if let Some(Poll::Ready(done)) = first.as_mut().map(|first| first.as_mut().poll(cx)) {
            return Poll::Ready(Some(done));
        }
        time.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// The second attempt, if there may be one, and its place among the retries.
fn second(
    cluster: &Rc<Cluster>,
    settings: &ClusterSettings,
    record: &Record,
    (endpoint, draw): (Rc<WorkerEndpoint>, Draw),
    retries: &Retries<'_>,
    spare: &mut Inbound,
) -> Option<(Try, RetryPlace)> {
    let place_among = || {
        let place = place(Rc::clone(cluster), Resource::Requests, settings).ok()?;
        Some((place, retries.place_for_hedge()?))
    };
    let (true, Some((place, retry))) = (spare.is_all_here() && spare.rewind(), place_among()) else {
        cluster.metrics.hedged(Hedged::Refused);
        return None;
    };
    let clock = record.client.worker.clock;
    let began = clock.now();
    let attempt = Attempt::begin(cluster, &endpoint, (began, draw), clock, place);
    Some((Try { endpoint, attempt, began }, retry))
}

/// The first good answer, or the last of the bad ones; and whether it is the second attempt's. An attempt that comes to
/// nothing has its result when it does.
async fn first_good(running: &mut [Option<Running<'_>>; 2]) -> (Done, bool) {
    poll_fn(|cx| {
        for number in 0..running.len() {
            let Some(future) = &mut running[number] else { continue };
            let Poll::Ready(done) = future.as_mut().poll(cx) else { continue };
            running[number] = None;
            let is_last = running.iter().all(Option::is_none);
            if is_last || is_good(&done.0) {
                return Poll::Ready((done, number == 1));
            }
            finish(done);
        }
        Poll::Pending
    })
    .await
}

/// Whether the client should get it, with another attempt under way.
fn is_good(sent: &Result<Answer, Failure>) -> bool {
    sent.as_ref().is_ok_and(|(response, _)| response.status().as_u16() < 500)
}

/// Lets go of an attempt that came to nothing.
fn finish((sent, this): Done) {
    match sent {
        Ok((_, source)) => discard(source, this.attempt),
        Err(failure) => this.attempt.finish(failure.outcome()),
    }
}
