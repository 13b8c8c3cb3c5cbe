//! Whether a request is tried again, and when.

use std::{rc::Rc, time::Duration};

use http::{HeaderMap, Response, header::RETRY_AFTER};
use sluicegate_core::{EndpointId, Rng};

use crate::{
    cluster::{Cluster, ClusterSettings},
    connect::UpstreamProtocol,
    endpoint::WorkerEndpoint,
    failure::Failure,
    grpc,
    load::RetryPlace,
    rare::rare,
    record::Record,
    request::Inbound,
    retry::RetryCondition,
};

/// How often a failed request looks for a place among the retries, with growing waits, before it is given up. When an
/// endpoint dies, all its requests fail at once, and are more than the budget allows at a time, but soon tried again.
/// With the default waits, this is half a second.
const MAX_WAITS: u32 = 6;

/// A request's attempts so far, and what another one takes.
pub(super) struct Retries<'a> {
    cluster: &'a Rc<Cluster>,
    settings: &'a ClusterSettings,
    attempts: u32,
    /// Whether it may be sent again after an endpoint may have acted on it.
    is_safe: bool,
    is_grpc: bool,
    place: Option<RetryPlace>,
}

impl<'a> Retries<'a> {
    pub(super) fn new(
        cluster: &'a Rc<Cluster>,
        settings: &'a ClusterSettings,
        inbound: &mut Inbound,
        is_grpc: bool,
    ) -> Self {
        let retry = &settings.retry;
        let is_safe = retry.non_idempotent || inbound.head.parts.method.is_idempotent();
        let is_possible = match settings.protocol {
            UpstreamProtocol::Http1 => is_safe && settings.max_attempts > 1 && cluster.size() > 1,
            // An endpoint may say of any request that it has not looked at it.
            UpstreamProtocol::Http2 => true,
        };
        if is_possible {
            inbound.keep(retry.body_bytes);
        }
        Self { cluster, settings, attempts: 0, is_safe, is_grpc, place: None }
    }

    /// Whether there may be one more attempt beside the one under way; if so, it has a place among the retries.
    pub(super) fn place_for_hedge(&self) -> Option<RetryPlace> {
        let may_be = self.is_safe && self.attempts + 1 < self.settings.max_attempts;
        may_be.then(|| RetryPlace::take(self.cluster, self.settings))?
    }

    /// An attempt has come to nothing beside another one, which is still to be looked at.
    pub(super) fn lost(&mut self, endpoint: EndpointId, inbound: &mut Inbound) {
        self.attempts += 1;
        inbound.head.tried.push(endpoint);
    }

    /// After what time another attempt follows this response. None does if it is to be passed on.
    pub(super) fn after_response(
        &mut self,
        endpoint: &WorkerEndpoint,
        inbound: &mut Inbound,
        record: &Record,
    ) -> Option<Duration> {
        self.attempts += 1;
        let condition = self.condition(&inbound.answer)?;
        self.after_condition(condition, endpoint, inbound, record)
    }

    #[cold]
    #[inline(never)]
    fn after_condition(
        &mut self,
        condition: RetryCondition,
        endpoint: &WorkerEndpoint,
        inbound: &mut Inbound,
        record: &Record,
    ) -> Option<Duration> {
        let asked =
            asked_wait(inbound.answer.headers()).filter(|asked| *asked <= self.settings.retry.backoff.max_ns)?;
        if !self.may_follow(condition, endpoint, inbound) {
            return None;
        }
        let wait = self.wait(self.attempts, asked, record)?;
        if !self.has_place() {
            self.cluster.metrics.retry_budget_exhausted.increment(1);
            return None;
        }
        self.cluster.metrics.retried(condition.cause());
        Some(wait)
    }

    /// Whether another attempt follows this failure. If so, its time has come.
    pub(super) async fn after_failure(
        &mut self,
        failure: &Failure,
        endpoint: &WorkerEndpoint,
        inbound: &mut Inbound,
        record: &Record,
    ) -> bool {
        self.attempts += 1;
        let Some(condition) = failure.condition() else { return false };
        if !self.may_follow(condition, endpoint, inbound) {
            return false;
        }
        // Without a connection nobody has done anything for it yet: so it is no extra load, and need not wait.
        let is_first = condition == RetryCondition::ConnectFailure;
        if !is_first && !rare(self.find_place(record)).await {
            return false;
        }
        self.cluster.metrics.retried(condition.cause());
        true
    }

    /// What of this response it may be tried again after.
    fn condition(&self, response: &Response<()>) -> Option<RetryCondition> {
        let status = response.status().as_u16();
        if status >= 400 {
            return Some(RetryCondition::Status(status));
        }
        if !self.is_grpc {
            return None;
        }
        let status = response.headers().get(grpc::STATUS)?;
        status.to_str().ok()?.parse().ok().map(RetryCondition::GrpcStatus)
    }

    /// Whether there may be another attempt; all that it needs is in its place then.
    fn may_follow(&self, condition: RetryCondition, endpoint: &WorkerEndpoint, inbound: &mut Inbound) -> bool {
        let settings = self.settings;
        inbound.head.tried.push(endpoint.endpoint.id);
        let is_safe = match condition {
            RetryCondition::ConnectFailure | RetryCondition::RefusedStream | RetryCondition::GrpcStatus(_) => true,
            _ => self.is_safe,
        };
        is_safe
            && settings.retry.on.contains(condition)
            && self.attempts < settings.max_attempts
            && self.cluster.size() > inbound.head.tried.len()
            && inbound.rewind()
    }

    /// Waits until there is a place among the retries. False when there is none for long, or no time left.
    async fn find_place(&mut self, record: &Record) -> bool {
        for retry in self.attempts..self.attempts + MAX_WAITS {
            let Some(wait) = self.wait(retry, 0, record) else { return false };
            tokio::time::sleep(wait).await;
            if self.has_place() {
                return true;
            }
        }
        self.cluster.metrics.retry_budget_exhausted.increment(1);
        false
    }

    /// Whether it has a place among the retries, or gets one.
    fn has_place(&mut self) -> bool {
        if self.place.is_none() {
            self.place = RetryPlace::take(self.cluster, self.settings);
        }
        self.place.is_some()
    }

    /// How long to wait before the next attempt, if there is time for that.
    fn wait(&self, retry: u32, at_least: u64, record: &Record) -> Option<Duration> {
        let now = record.client.worker.clock.now();
        // No two requests of a worker fail at the same nanosecond.
        let wait = self.settings.retry.backoff.wait_ns(retry, at_least, &mut Rng::new(now));
        (now.saturating_add(wait) < record.deadline).then(|| Duration::from_nanos(wait))
    }
}

/// What a response asks to wait, in nanoseconds. None when it is a date, which is too far away in any case.
fn asked_wait(headers: &HeaderMap) -> Option<u64> {
    let Some(value) = headers.get(RETRY_AFTER) else { return Some(0) };
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn waits_that_are_asked_for() {
        let check = |value: Option<&'static str>, expected| {
            let headers = value.map(|value| (RETRY_AFTER, HeaderValue::from_static(value))).into_iter().collect();
            assert_eq!(asked_wait(&headers), expected, "{value:?}");
        };
        check(None, Some(0));
        check(Some("0"), Some(0));
        check(Some("2"), Some(2_000_000_000));
        check(Some("99999999999999999"), Some(u64::MAX));
        check(Some("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        check(Some("-1"), None);
        check(Some("1.5"), None);
    }
}
