//! Probes that a policy asks for: a small request to one endpoint, beside the clients' requests and in nobody's way.
//!
//! What the endpoint says of its load in the answer's head goes to the signals, and with the time that it took to the
//! policy. A probe is no request of the cluster's: it is not in flight, has no result and is never tried again.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::{Rc, Weak},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{HOST, USER_AGENT},
    uri::PathAndQuery,
};
use sluicegate_core::{EndpointId, ProbeResult};
use sluicegate_policy::{Clock, RequestParts};
use tokio::time::timeout;

use crate::{
    body::RequestBody,
    cluster::{Cluster, ClusterSettings},
    connect::UpstreamProtocol,
    endpoint::WorkerEndpoint,
    exchange::to_http2,
    multiplexed::Call,
    reply::{load_report, signals},
    upstream::Upstream,
};

/// Probes of one cluster under way in a worker. Beyond this, endpoints that hang would have connections piling up.
const MAX_UNDER_WAY: usize = 64;

/// How much of an answer's body is read, so that its connection can be used again.
const MAX_BODY: usize = 16 << 10;

const SECOND: u64 = 1_000_000_000;

/// How a cluster's endpoints are probed when a policy asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// What is asked for, with GET; `/`, the one path that every server has, when there is none.
    pub path: Option<PathAndQuery>,
    /// How long the head of the answer may take, connection included.
    pub timeout: Duration,
    /// How many probes each worker sends in a second.
    pub max_per_s: u32,
}

impl ProbeSettings {
    /// The default.
    pub const DEFAULT: Self = Self {
        path: None,
        // What is older says little of a load that changes with every request.
        timeout: Duration::from_millis(500),
        // A few for every endpoint of a large cluster; a fraction of the requests that a worker can serve.
        max_per_s: 1000,
    };
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The probes of one cluster in one worker.
#[derive(Debug)]
pub(crate) struct Prober {
    clock: Clock,
    /// Shared by the probes under way, to count them.
    under_way: Rc<()>,
    /// When the current second began, and how many were sent in it.
    second: Cell<(u64, u32)>,
}

impl Prober {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, under_way: Rc::new(()), second: Cell::new((0, 0)) }
    }

    /// A place for one more, if there is one.
    fn place(&self, max_per_s: u32) -> Option<Rc<()>> {
        let now = self.clock.now();
        let (began, sent) = self.second.get();
        let (began, sent) = if now.saturating_sub(began) >= SECOND { (now, 0) } else { (began, sent) };
        let is_full = sent >= max_per_s || Rc::strong_count(&self.under_way) > MAX_UNDER_WAY;
        self.second.set((began, sent + u32::from(!is_full)));
        (!is_full).then(|| Rc::clone(&self.under_way))
    }
}

/// Where a seat's probes go. It is called from within the seat, which is busy then: nothing of the cluster is touched
/// before the probes have tasks of their own.
pub(crate) fn of(cluster: &Rc<Cluster>) -> sluicegate_policy::Prober {
    let cluster: Weak<Cluster> = Rc::downgrade(cluster);
    Box::new(move |endpoints, dropped| {
        let Some(cluster) = cluster.upgrade() else { return };
        let max_per_s = cluster.settings().probe.max_per_s;
        let mut dropped = u64::from(dropped);
        for id in endpoints {
            match cluster.prober.place(max_per_s) {
                Some(place) => {
                    let (cluster, id) = (Rc::clone(&cluster), *id);
                    tokio::task::spawn_local(async move {
                        probe(&cluster, id).await;
                        drop(place);
                    });
                }
                None => dropped += 1,
            }
        }
        cluster.metrics.probes_dropped.increment(dropped);
    })
}

/// Probes an endpoint, and tells the policy.
async fn probe(cluster: &Rc<Cluster>, id: EndpointId) {
    let (clock, settings) = (cluster.prober.clock, cluster.settings());
    let began = clock.now();
    let endpoint = cluster.endpoint(id);
    let answer = match &endpoint {
        Some(endpoint) => timeout(settings.probe.timeout, ask(endpoint, &settings, clock)).await.ok().flatten(),
        // It has left since.
        None => None,
    };
    let now = clock.now();
    let ok = answer.as_ref().is_some_and(|(status, _)| status.as_u16() < 400);
    let report = answer.and_then(|(_, headers)| load_report(&headers));
    if let (Some(report), Some(endpoint)) = (&report, &endpoint) {
        endpoint.endpoint.live.report(&signals(report), now);
    }
    cluster.metrics.probed(ok);
    let round_trip_us = u32::try_from(now.saturating_sub(began) / 1000).unwrap_or(u32::MAX);
    let load = report.and_then(|report| report.queue_depth()).map(u64::from);
    let latency_us = report.and_then(|report| report.latency_us()).map(u64::from);
    cluster.probed(now, &ProbeResult { endpoint: id, ok, round_trip_us, load, latency_us });
}

/// Status and headers of the answer; none when there is no answer.
async fn ask(endpoint: &WorkerEndpoint, settings: &ClusterSettings, clock: Clock) -> Option<(StatusCode, HeaderMap)> {
    let mut head = RequestParts::default();
    if let Some(path) = &settings.probe.path {
        head.uri = path.clone().into();
    }
    let headers = head.headers.all_mut();
    headers.insert(HOST, HeaderValue::from_str(&endpoint.endpoint.name).ok()?);
    headers.insert(USER_AGENT, HeaderValue::from_static("sluicegate-probe"));
    match settings.protocol {
        UpstreamProtocol::Http1 => ask_http1(endpoint, settings, clock, &head).await,
        UpstreamProtocol::Http2 => ask_http2(endpoint, settings, clock, &head).await,
    }
}

async fn ask_http1(
    endpoint: &WorkerEndpoint,
    settings: &ClusterSettings,
    clock: Clock,
    head: &RequestParts,
) -> Option<(StatusCode, HeaderMap)> {
    let mut must_be_fresh = settings.proxy_protocol.is_some();
    loop {
        let idle = if must_be_fresh { None } else { endpoint.checkout(clock.now(), settings) };
        let mut upstream = match idle {
            Some(upstream) => upstream,
            None => {
                let upstream = Upstream::open(endpoint, settings, None).await.ok()?;
                endpoint.metrics.connections_opened.increment(1);
                upstream
            }
        };
        upstream.begin(head, RequestBody::Empty, None);
        let mut answer = Response::default();
        match poll_fn(|cx| upstream.poll_answer(cx, &mut answer, |_, _| {})).await {
            Ok(()) => {
                let (parts, ()) = answer.into_parts();
                read_on(upstream, endpoint, settings, clock).await;
                return Some((parts.status, parts.headers));
            }
            // It was closed while it was idle.
            Err(_) if upstream.reused && !must_be_fresh => must_be_fresh = true,
            Err(_) => return None,
        }
    }
}

/// Reads the rest of an answer, if it is short, and keeps the connection.
async fn read_on(mut upstream: Box<Upstream>, endpoint: &WorkerEndpoint, settings: &ClusterSettings, clock: Clock) {
    let mut bytes = 0;
    while bytes <= MAX_BODY {
        match poll_fn(|cx| upstream.poll_frame(cx)).await {
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) => return,
            None => break,
        }
    }
    if upstream.is_idle() {
        endpoint.park(upstream, clock.now(), settings);
    }
}

async fn ask_http2(
    endpoint: &WorkerEndpoint,
    settings: &ClusterSettings,
    clock: Clock,
    head: &RequestParts,
) -> Option<(StatusCode, HeaderMap)> {
    let (place, is_new) = endpoint.multiplexed.place(endpoint, settings, clock).await.ok()?;
    if is_new {
        endpoint.metrics.connections_opened.increment(1);
    }
    let mut call = Call::begin(place, to_http2(head, settings).ok()?, RequestBody::Empty, None, false).ok()?;
    let response = poll_fn(|cx| call.poll_answer(cx, |_, _| {})).await.ok()?;
    // To its end, if that is near: a stream that is reset looks like an attack to its server, if there are many.
    let mut bytes = 0;
    while bytes <= MAX_BODY
        && let Some(Ok(frame)) = poll_fn(|cx| call.poll_frame(cx)).await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    let (parts, ()) = response.into_parts();
    Some((parts.status, parts.headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_at_a_time_and_in_a_second() {
        let prober = Prober::new(Clock::start());
        let held: Vec<_> = std::iter::from_fn(|| prober.place(1000)).collect();
        assert_eq!(held.len(), MAX_UNDER_WAY);
        drop(held);
        assert_eq!(prober.second.get().1 as usize, MAX_UNDER_WAY);
        assert!(prober.place(MAX_UNDER_WAY as u32).is_none(), "as many in this second");
        assert!(prober.place(1000).is_some());
    }
}
