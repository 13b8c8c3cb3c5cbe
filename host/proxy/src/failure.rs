//! What can go wrong on a request's walk.

use std::{io, sync::Arc, time::Duration};

use http::StatusCode;
use sluicegate_core::Outcome;
use sluicegate_wire::{framing::Violation, path::BadPath};

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Client,
    Proxy,
    Upstream,
}

impl Origin {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Proxy => "proxy",
            Self::Upstream => "upstream",
        }
    }
}

/// Why a request gets no answer from an endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the request is malformed: {0}")]
    BadRequest(&'static str),
    #[error("the request is malformed: {0}")]
    Malformed(Violation),
    #[error("the request is malformed: {0}")]
    BadPath(#[from] BadPath),
    #[error("{0} is not supported")]
    NotSupported(&'static str),
    #[error("no route for this request")]
    NoRoute,
    #[error("too many requests")]
    RateLimited { wait_ns: u64 },
    #[error("the request's body is longer than {max} bytes")]
    BodyTooLarge { max: u64 },
    #[error("cluster {cluster} has no endpoint to send this request to")]
    NoEndpoint { cluster: Arc<str> },
    #[error("can't connect to {endpoint}: {source}")]
    Connect { endpoint: Arc<str>, source: io::Error },
    #[error("no connection to {endpoint} within {timeout:?}")]
    ConnectTimeout { endpoint: Arc<str>, timeout: Duration },
    #[error("{endpoint} closed the connection before it answered: {source}")]
    UpstreamClosed { endpoint: Arc<str>, source: hyper::Error, sent: bool },
    #[error("{endpoint} answered with something that is not HTTP/1.1: {reason}")]
    BadResponse { endpoint: Arc<str>, reason: String },
    #[error("{endpoint} did not answer within {timeout:?}")]
    ResponseTimeout { endpoint: Arc<str>, timeout: Duration },
    #[error("the request's body broke off")]
    ClientBody,
}

/// All labels, so that a counter for each can be registered up front.
pub(crate) const LABELS: [&str; 12] = [
    "bad_request",
    "not_supported",
    "no_route",
    "no_endpoint",
    "connect_failed",
    "connect_timeout",
    "upstream_closed",
    "bad_response",
    "response_timeout",
    "client_body",
    "rate_limited",
    "body_too_large",
];

impl Failure {
    /// Where it is in [`LABELS`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::NotSupported(_) => 1,
            Self::Malformed(violation) if violation.status() == 501 => 1,
            Self::BadRequest(_) | Self::Malformed(_) | Self::BadPath(_) => 0,
            Self::NoRoute => 2,
            Self::NoEndpoint { .. } => 3,
            Self::Connect { .. } => 4,
            Self::ConnectTimeout { .. } => 5,
            Self::UpstreamClosed { .. } => 6,
            Self::BadResponse { .. } => 7,
            Self::ResponseTimeout { .. } => 8,
            Self::ClientBody => 9,
            Self::RateLimited { .. } => 10,
            Self::BodyTooLarge { .. } => 11,
        }
    }

    /// A short, stable name for metrics, logs and the client.
    pub(crate) fn label(&self) -> &'static str {
        LABELS[self.index()]
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::BadPath(_) | Self::ClientBody => StatusCode::BAD_REQUEST,
            Self::Malformed(violation) => StatusCode::from_u16(violation.status()).unwrap_or(StatusCode::BAD_REQUEST),
            Self::NotSupported(_) => StatusCode::NOT_IMPLEMENTED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoEndpoint { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect { .. } | Self::UpstreamClosed { .. } | Self::BadResponse { .. } => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout { .. } | Self::ResponseTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::BadRequest(_)
            | Self::BadPath(_)
            | Self::Malformed(_)
            | Self::NotSupported(_)
            | Self::ClientBody
            | Self::BodyTooLarge { .. } => Origin::Client,
            Self::NoRoute | Self::RateLimited { .. } | Self::NoEndpoint { .. } => Origin::Proxy,
            _ => Origin::Upstream,
        }
    }

    /// What it means for the endpoint that was tried.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::UpstreamClosed { sent: false, .. } => {
                Outcome::ConnectFailed
            }
            Self::UpstreamClosed { .. } | Self::BadResponse { .. } => Outcome::Broken,
            Self::ResponseTimeout { .. } => Outcome::TimedOut,
            _ => Outcome::Cancelled,
        }
    }

    /// After how many seconds the client may come back, if it can be said.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        match self {
            Self::RateLimited { wait_ns } => Some(u32::try_from(wait_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)),
            _ => None,
        }
    }

    /// Whether another endpoint may be tried: only when nothing of the request was sent.
    pub(crate) fn may_retry(&self) -> bool {
        self.outcome() == Outcome::ConnectFailed
    }
}
