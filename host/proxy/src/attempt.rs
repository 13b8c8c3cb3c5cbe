//! One attempt at one endpoint, from the pick to the end of the answer.

use std::rc::Rc;

use http::{HeaderMap, StatusCode};
use sluicegate_core::{AttemptResult, InFlight, Outcome};
use sluicegate_policy::{Clock, Draw};

use crate::{
    cluster::Cluster,
    endpoint::WorkerEndpoint,
    load::RequestPlace,
    reply::{load_report, signals},
    upstream::Upstream,
};

/// Counts as in flight for as long as it lives. When it goes, whichever way, its result is recorded and told to the
/// policy, once: as cancelled, if nobody said how it went.
#[derive(Debug)]
pub(crate) struct Attempt {
    cluster: Rc<Cluster>,
    /// Always there until the drop.
    in_flight: Option<InFlight<Rc<WorkerEndpoint>>>,
    clock: Clock,
    began: u64,
    connect_us: u32,
    /// When the answer's head was there.
    answered: Option<u64>,
    /// When all of it was, where that is known without a look at the clock.
    ended: Option<u64>,
    status: u16,
    outcome: Outcome,
    draw: Draw,
    /// Its place among the cluster's requests, where they are limited.
    _place: Option<RequestPlace>,
}

impl Attempt {
    pub(crate) fn begin(
        cluster: &Rc<Cluster>,
        endpoint: &Rc<WorkerEndpoint>,
        (began, draw): (u64, Draw),
        clock: Clock,
        place: Option<RequestPlace>,
    ) -> Self {
        Self {
            cluster: Rc::clone(cluster),
            in_flight: Some(InFlight::begin(Rc::clone(endpoint))),
            clock,
            began,
            connect_us: 0,
            answered: None,
            ended: None,
            status: 0,
            outcome: Outcome::Cancelled,
            draw,
            _place: place,
        }
    }

    /// The connection stands.
    pub(crate) fn connected(&mut self, now: u64) {
        self.connect_us = self.since(now).max(1);
    }

    /// The answer's head is there.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.answered = Some(self.clock.now());
        self.status = status.as_u16();
    }

    /// The answer says that the request failed, in another way than by its status.
    pub(crate) fn counts_as(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// Takes in what the endpoint says of its load in headers or trailers, if the policy wants to know.
    pub(crate) fn heard(&self, headers: &HeaderMap) {
        if self.cluster.needs().load_reports
            && let (Some(report), Some(in_flight)) = (load_report(headers), &self.in_flight)
        {
            in_flight.endpoint().endpoint.live.report(&signals(&report), self.clock.now());
        }
    }

    /// Keeps the connection for the next request, if it can carry one.
    pub(crate) fn release(&self, upstream: Box<Upstream>) {
        if upstream.is_idle()
            && let Some(in_flight) = &self.in_flight
        {
            in_flight.endpoint().park(upstream, self.now(), &self.cluster.settings());
        }
    }

    /// All of the answer came with its head: that was just now, and the attempt is over.
    pub(crate) fn finish_whole(mut self, upstream: Box<Upstream>) {
        self.ended = self.answered;
        self.release(upstream);
        self.finish(Outcome::Answered);
    }

    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    fn now(&self) -> u64 {
        self.ended.unwrap_or_else(|| self.clock.now())
    }

    /// Microseconds since the attempt began.
    fn since(&self, now: u64) -> u32 {
        u32::try_from(now.saturating_sub(self.began) / 1000).unwrap_or(u32::MAX)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(in_flight) = self.in_flight.take() else { return };
        let endpoint = Rc::clone(in_flight.endpoint());
        // Whoever hears the result should see the endpoint without this attempt.
        drop(in_flight);
        let now = self.now();
        let result = AttemptResult {
            endpoint: endpoint.endpoint.id,
            outcome: self.outcome,
            status: self.status,
            connect_us: self.connect_us,
            first_byte_us: self.answered.map_or(0, |answered| self.since(answered).max(1)),
            total_us: self.since(now),
        };
        endpoint.endpoint.live.record(&result);
        if let Some(watch) = &*endpoint.watch.borrow() {
            watch.record(&result);
        }
        endpoint.metrics.finished(self.outcome, now.saturating_sub(self.began));
        self.cluster.tell(now, self.draw, result);
    }
}
