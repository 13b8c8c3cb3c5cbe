//! What is counted and logged of a request, whichever way it ends.

use std::{
    fmt::Display,
    net::IpAddr,
    ops::Range,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{CONNECTION, HOST},
    response::Parts,
};
use sluicegate_policy::{Picked, RequestHead};

use crate::{
    client_body::ClientBody,
    cluster::Cluster,
    connection::{ClientConnection, Early},
    endpoint::WorkerEndpoint,
    failure::Failure,
    grpc,
    headers::{REQUEST_ID, TRACE_PARENT},
    metrics::ClusterMetrics,
    route::WorkerRoute,
    timer::{LazyTimer, nanos},
    upload::Upload,
};

/// Where the trace's id is in a valid `traceparent`.
const TRACE_ID: Range<usize> = 3..35;

/// Lives from a request's head to the end of its response, and counts and logs the request when it goes.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) client: Rc<ClientConnection>,
    pub(crate) began: u64,
    /// For the request's deadlines.
    pub(crate) timer: Rc<LazyTimer>,
    pub(crate) cluster: Option<Rc<Cluster>>,
    /// When all of it has to be over; the end of time when it need not be.
    pub(crate) deadline: u64,
    /// How the request's body is getting on, if there is one.
    pub(crate) upload: Option<Rc<Upload>>,
    /// The route that it takes, once that is known.
    pub(crate) route: Option<Rc<WorkerRoute>>,
    /// Whether it is a gRPC call, whose errors are said in another place.
    pub(crate) is_grpc: bool,
    /// Bytes of the response's body.
    pub(crate) bytes: u64,
    /// Where what is said before the answer goes, over HTTP/2.
    early: Option<Rc<Early>>,
    version: Version,
    status: Option<StatusCode>,
    /// What it counts as in the metrics, if that is not its status.
    counts_as: Option<StatusCode>,
    /// Only for the access log.
    log: Option<Box<Log>>,
}

#[derive(Debug)]
struct Log {
    /// Who it comes from, if that is not who connected.
    client: Option<IpAddr>,
    request_id: Option<HeaderValue>,
    trace_parent: Option<HeaderValue>,
    method: Method,
    target: Uri,
    host: Option<HeaderValue>,
    endpoint: Option<Arc<str>>,
    attempts: u32,
    generation: u64,
    pick_ns: u64,
    /// What the policy says of its pick.
    why: Option<String>,
    error: &'static str,
}

impl Record {
    pub(crate) fn begin(
        client: Rc<ClientConnection>,
        began: u64,
        request: &Request<ClientBody>,
        timer: Rc<LazyTimer>,
        early: Option<Rc<Early>>,
    ) -> Self {
        client.traffic.active.set(client.traffic.active.get() + 1);
        let log = client.worker.access_log.then(|| {
            Box::new(Log {
                client: None,
                request_id: None,
                trace_parent: None,
                method: request.method().clone(),
                target: request.uri().clone(),
                // A target that names its host has the last word (RFC 9112, section 3.2.2).
                host: match request.uri().authority() {
                    Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
                    None => request.headers().get(HOST).cloned(),
                },
                endpoint: None,
                attempts: 0,
                generation: 0,
                pick_ns: 0,
                why: None,
                error: "",
            })
        });
        let is_grpc = request.version() == Version::HTTP_2 && grpc::is_call(request.headers());
        let version = request.version();
        let mut record = Self::new(client, began, timer);
        (record.is_grpc, record.version, record.log, record.early) = (is_grpc, version, log, early);
        record
    }

    /// The record of a request that nobody waits for. It has no line in the access log.
    pub(crate) fn of_copy(client: Rc<ClientConnection>, cluster: &Rc<Cluster>) -> Self {
        client.traffic.active.set(client.traffic.active.get() + 1);
        let clock = client.worker.clock;
        let timer = Rc::new(LazyTimer::new(clock));
        let mut record = Self::new(client, clock.now(), timer);
        record.cluster = Some(Rc::clone(cluster));
        record
    }

    fn new(client: Rc<ClientConnection>, began: u64, timer: Rc<LazyTimer>) -> Self {
        Self {
            client,
            began,
            timer,
            cluster: None,
            route: None,
            deadline: u64::MAX,
            upload: None,
            is_grpc: false,
            bytes: 0,
            early: None,
            version: Version::HTTP_11,
            status: None,
            counts_as: None,
            log: None,
        }
    }

    /// It sets out for its cluster, which may have a limit for the time of all of it. The route's own comes first.
    pub(crate) fn sets_out(&mut self, limit: Option<Duration>, upload: Option<Rc<Upload>>) {
        let timeout = self.route.as_ref().and_then(|route| route.route.timeout).or(limit);
        self.deadline = timeout.map_or(u64::MAX, |timeout| self.began.saturating_add(nanos(timeout)));
        self.upload = upload;
    }

    /// It is known who the client is, and what the request is called.
    pub(crate) fn identify(&mut self, head: &RequestHead) {
        if let Some(log) = &mut self.log {
            let headers = &head.parts.headers;
            log.client = (head.client != self.client.address.ip().to_canonical()).then_some(head.client);
            if self.client.listener.settings.forwarding.request_id {
                log.request_id = headers.get(&REQUEST_ID).cloned();
            }
            log.trace_parent = headers.get(&TRACE_PARENT).cloned();
        }
    }

    /// An endpoint was picked.
    pub(crate) fn picked(&mut self, endpoint: &WorkerEndpoint, picked: &mut Picked) {
        self.judged(picked);
        self.goes_to(endpoint);
    }

    /// The policy has picked an endpoint, or rejects the request.
    pub(crate) fn judged(&mut self, picked: &mut Picked) {
        if let Some(log) = &mut self.log {
            log.generation = picked.generation;
            log.pick_ns += picked.cost_ns;
            if let Some(reply) = &mut picked.reply {
                log.why = reply.explanation.take();
            }
        }
    }

    /// An attempt at this endpoint begins, or has come to the answer.
    pub(crate) fn goes_to(&mut self, endpoint: &WorkerEndpoint) {
        if let Some(log) = &mut self.log {
            log.endpoint = Some(Arc::clone(&endpoint.endpoint.name));
            log.attempts += 1;
        }
    }

    /// The client gets this status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// What a gRPC call's headers or trailers say of how it went: the status that it counts as, if it failed.
    pub(crate) fn grpc_failed(&mut self, said: &HeaderMap) -> Option<StatusCode> {
        let failed = if self.is_grpc { grpc::failed(said) } else { None };
        // An attempt before this one may have failed.
        self.counts_as = failed;
        failed
    }

    pub(crate) fn fail(&mut self, failure: &Failure) {
        self.metrics().failed(failure.index());
        if let Some(log) = &mut self.log {
            log.error = failure.label();
        }
    }

    /// How long all of it may take, where there is a deadline.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_nanos(self.deadline.saturating_sub(self.began))
    }

    /// A count of what has moved so far, either way.
    pub(crate) fn moved(&self) -> u64 {
        self.bytes + self.upload.as_ref().map_or(0, |upload| upload.frames.get())
    }

    /// The response's body is cut off on its way.
    pub(crate) fn cut_off(&mut self, failure: &Failure) {
        self.broke_off();
        self.fail(failure);
    }

    /// The endpoint says something before its answer, such as "103 Early Hints", which the client may hear, too.
    pub(crate) fn inform(&self, status: StatusCode, headers: &HeaderMap) {
        if let Some(early) = &self.early {
            early.say(status, headers);
        } else if self.version == Version::HTTP_11 {
            self.client.traffic.inform(status, headers);
        }
    }

    /// Ready when the client takes more of the response. Over HTTP/1.1 nobody asks for more before that; over HTTP/2
    /// each of its streams would, and a piece of each be held for a client that reads nothing.
    pub(crate) fn poll_wanted(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_http2() { self.client.traffic.poll_unblocked(cx) } else { Poll::Ready(()) }
    }

    /// The response's body broke off on its way.
    pub(crate) fn broke_off(&mut self) {
        if let Some(log) = &mut self.log {
            log.error = "body_broke_off";
        }
        if self.is_http_10() {
            // Where the end of the connection is the end of the body, only a reset says that something is missing.
            self.client.traffic.reset.set(true);
        }
    }

    /// Settles a response's version, and whether the client may send another request on its connection. `length` is
    /// that of the body, if it is known.
    pub(crate) fn settle(&self, length: Option<u64>, parts: &mut Parts) {
        let Parts { status, version, headers, .. } = parts;
        if self.is_http2() || *status == StatusCode::SWITCHING_PROTOCOLS {
            // A connection that drains says so in a frame of its own, and one that carries something else does not end with
            // this response.
            return;
        }
        let must_close = self.client.worker.is_draining.get() || self.client.is_excess;
        if self.is_http_10() && (must_close || length.is_none()) {
            // hyper ends the connection of a client that asked to keep it only after a response of version 1.0. Where
            // the length is unknown, that end is the body's.
            *version = Version::HTTP_10;
            return;
        }
        // The proxy's own version (RFC 9112, section 2.3); hyper lowers it for a client that needs that.
        *version = Version::HTTP_11;
        if must_close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }

    fn is_http_10(&self) -> bool {
        self.version == Version::HTTP_10
    }

    fn metrics(&self) -> &ClusterMetrics {
        self.cluster.as_ref().map_or(&self.client.worker.metrics.unrouted, |cluster| &cluster.metrics)
    }

    #[inline(never)]
    fn log(&self, log: &Log, ns: u64) {
        let client: &dyn Display = log.client.as_ref().map_or(&self.client.address, |client| client);
        tracing::info!(
            target: "sluicegate::access",
            client = %client,
            method = %log.method,
            path = %log.target.path(),
            host = text(&log.host).unwrap_or_default(),
            request_id = text(&log.request_id),
            trace_id = text(&log.trace_parent).and_then(|parent| parent.get(TRACE_ID)),
            status = self.status.map_or(0, |status| status.as_u16()),
            bytes = self.bytes,
            cluster = self.cluster.as_ref().map_or("", |cluster| &*cluster.name),
            endpoint = log.endpoint.as_deref().unwrap_or_default(),
            attempts = log.attempts,
            duration_us = u64::try_from(Duration::from_nanos(ns).as_micros()).unwrap_or(u64::MAX),
            generation = log.generation,
            pick_ns = log.pick_ns,
            // Of the whole duration, waiting included, to six places.
            pick_share = (log.pick_ns as f64 / ns.max(1) as f64 * 1e6).round() / 1e6,
            why = log.why,
            error = log.error,
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let now = self.client.worker.clock.now();
        let ns = now.saturating_sub(self.began);
        self.metrics().finished(self.counts_as.or(self.status), ns);
        self.client.traffic.active.set(self.client.traffic.active.get() - 1);
        self.client.quiet_since.set(now);
        if let Some(log) = &self.log {
            self.log(log, ns);
        }
    }
}

fn text(value: &Option<HeaderValue>) -> Option<&str> {
    value.as_ref().and_then(|value| value.to_str().ok())
}
