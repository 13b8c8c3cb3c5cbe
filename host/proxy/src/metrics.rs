//! What is counted. Handles are registered once, on the worker's own thread; a request only records.

use http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};
use sluicegate_core::Outcome;

use crate::{failure::LABELS, retry::CAUSES};

/// Registers what the metrics mean, once, at start.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_histogram};
    describe_counter!("sluicegate_requests_total", "Requests, by cluster and class of status; `none`: client left.");
    describe_histogram!(
        "sluicegate_request_duration_seconds",
        Unit::Seconds,
        "From a request's head to the end of its response."
    );
    describe_counter!("sluicegate_errors_total", "Responses that the proxy made up itself or cut off, by what failed.");
    describe_counter!("sluicegate_retries_total", "Requests tried again, by what the attempt before came to.");
    describe_counter!(
        "sluicegate_retry_budget_exhausted_total",
        "Requests not tried again because too many others were at that time."
    );
    describe_counter!("sluicegate_hedges_total", "Second attempts that policies asked for, by what became of them.");
    describe_counter!("sluicegate_probes_total", "Probes that policies asked for, by what became of them.");
    describe_counter!("sluicegate_endpoint_requests_total", "Attempts, by endpoint and outcome.");
    describe_histogram!("sluicegate_endpoint_duration_seconds", Unit::Seconds, "From a pick to the attempt's end.");
    describe_counter!("sluicegate_downstream_connections_opened_total", "Connections accepted from clients.");
    describe_counter!("sluicegate_downstream_connections_closed_total", "Connections from clients that are over.");
    describe_counter!(
        "sluicegate_downstream_handshakes_failed_total",
        "Connections that ended before a first request could come: no TLS handshake in time, or a broken one."
    );
    describe_counter!(
        "sluicegate_downstream_connections_refused_total",
        "Connections that were closed at once, far above the limit."
    );
    describe_counter!(
        "sluicegate_mirrors_dropped_total",
        "Requests of which no copy was sent, because too many copies were under way, or their bodies were too long."
    );
    describe_counter!("sluicegate_upstream_connections_opened_total", "Connections made to endpoints.");
    describe_counter!("sluicegate_upstream_connections_reused_total", "Requests sent on a connection made before.");
}

/// What a worker counts whatever the cluster.
pub(crate) struct WorkerMetrics {
    pub(crate) opened: Counter,
    pub(crate) closed: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) refused: Counter,
    pub(crate) mirrors_dropped: Counter,
    /// Requests that found no cluster.
    pub(crate) unrouted: ClusterMetrics,
}

impl WorkerMetrics {
    pub(crate) fn new() -> Self {
        Self {
            opened: counter!("sluicegate_downstream_connections_opened_total"),
            closed: counter!("sluicegate_downstream_connections_closed_total"),
            handshakes_failed: counter!("sluicegate_downstream_handshakes_failed_total"),
            refused: counter!("sluicegate_downstream_connections_refused_total"),
            mirrors_dropped: counter!("sluicegate_mirrors_dropped_total"),
            unrouted: ClusterMetrics::new(""),
        }
    }
}

/// What is counted of a cluster.
pub(crate) struct ClusterMetrics {
    classes: [Counter; 6],
    duration: Histogram,
    errors: [Counter; LABELS.len()],
    retries: [Counter; CAUSES.len()],
    pub(crate) retry_budget_exhausted: Counter,
    /// In the order of [`Hedged`].
    hedges: [Counter; 3],
    probes: [Counter; 2],
    pub(crate) probes_dropped: Counter,
}

/// What became of a second attempt beside a slow first one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hedged {
    /// It was not sent, because of the limits of retries.
    Refused,
    /// The first one was faster, or both failed.
    Lost,
    /// Its answer is the client's.
    Won,
}

impl ClusterMetrics {
    pub(crate) fn new(cluster: &str) -> Self {
        Self {
            classes: ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].map(
                |class| counter!("sluicegate_requests_total", "cluster" => cluster.to_owned(), "code_class" => class),
            ),
            duration: histogram!("sluicegate_request_duration_seconds", "cluster" => cluster.to_owned()),
            errors: LABELS
                .map(|label| counter!("sluicegate_errors_total", "cluster" => cluster.to_owned(), "error" => label)),
            retries: CAUSES
                .map(|cause| counter!("sluicegate_retries_total", "cluster" => cluster.to_owned(), "cause" => cause)),
            retry_budget_exhausted: counter!(
                "sluicegate_retry_budget_exhausted_total", "cluster" => cluster.to_owned()
            ),
            hedges: ["refused", "lost", "won"]
                .map(|result| counter!("sluicegate_hedges_total", "cluster" => cluster.to_owned(), "result" => result)),
            probes: ["failed", "passed"]
                .map(|result| counter!("sluicegate_probes_total", "cluster" => cluster.to_owned(), "result" => result)),
            probes_dropped: counter!(
                "sluicegate_probes_total", "cluster" => cluster.to_owned(), "result" => "dropped"
            ),
        }
    }

    /// Takes in what became of a hedge.
    pub(crate) fn hedged(&self, hedged: Hedged) {
        self.hedges[hedged as usize].increment(1);
    }

    /// Takes in a probe that is over.
    pub(crate) fn probed(&self, ok: bool) {
        self.probes[usize::from(ok)].increment(1);
    }

    /// Takes in a request that is over. No status: the client left before there was one.
    pub(crate) fn finished(&self, status: Option<StatusCode>, ns: u64) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100).min(5));
        self.classes[class].increment(1);
        self.duration.record(ns as f64 * 1e-9);
    }

    /// Takes in a failure, by its index in [`LABELS`].
    pub(crate) fn failed(&self, label: usize) {
        self.errors[label].increment(1);
    }

    /// Takes in a retry, by the index of its cause in [`CAUSES`].
    pub(crate) fn retried(&self, cause: usize) {
        self.retries[cause].increment(1);
    }
}

/// What is counted of an endpoint.
pub(crate) struct EndpointMetrics {
    pub(crate) connections_opened: Counter,
    pub(crate) connections_reused: Counter,
    outcomes: [Counter; 5],
    duration: Histogram,
}

impl EndpointMetrics {
    pub(crate) fn new(cluster: &str, endpoint: &str) -> Self {
        let labels = [("cluster", cluster.to_owned()), ("endpoint", endpoint.to_owned())];
        let outcomes =
            [Outcome::Answered, Outcome::ConnectFailed, Outcome::Broken, Outcome::TimedOut, Outcome::Cancelled];
        Self {
            connections_opened: counter!("sluicegate_upstream_connections_opened_total", &labels),
            connections_reused: counter!("sluicegate_upstream_connections_reused_total", &labels),
            outcomes: outcomes.map(|outcome| {
                counter!(
                    "sluicegate_endpoint_requests_total",
                    "cluster" => cluster.to_owned(), "endpoint" => endpoint.to_owned(), "outcome" => outcome.label()
                )
            }),
            duration: histogram!("sluicegate_endpoint_duration_seconds", &labels),
        }
    }

    /// Takes in an attempt that is over.
    pub(crate) fn finished(&self, outcome: Outcome, ns: u64) {
        // The outcomes' numbers are their order above.
        self.outcomes[outcome as usize].increment(1);
        self.duration.record(ns as f64 * 1e-9);
    }
}
