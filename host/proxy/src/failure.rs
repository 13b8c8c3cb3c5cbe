//! What can go wrong on a request's walk.

use std::{io, sync::Arc, time::Duration};

use http::StatusCode;
use sluicegate_core::{CircuitOpen, Outcome};
use sluicegate_policy::Rejection;
use sluicegate_wire::{framing::Violation, path::BadPath};

use crate::{body::BodyError, retry::RetryCondition};

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
    #[error("too many connections")]
    TooManyConnections,
    #[error("no route for this request")]
    NoRoute,
    #[error("too many requests")]
    RateLimited { wait_ns: u64 },
    #[error("the request's body is longer than {max} bytes")]
    BodyTooLarge { max: u64 },
    #[error("cluster {cluster} has no endpoint to send this request to")]
    NoEndpoint { cluster: Arc<str> },
    #[error("overloaded: {0}")]
    CircuitOpen(CircuitOpen),
    #[error("can't connect to {endpoint}: {source}")]
    Connect { endpoint: Arc<str>, source: io::Error },
    #[error("the proxy can't make a connection: {source}")]
    OutOfResources { source: io::Error },
    #[error("no connection to {endpoint} within {timeout:?}")]
    ConnectTimeout { endpoint: Arc<str>, timeout: Duration },
    #[error("{endpoint} closed the connection before it answered: {source}")]
    UpstreamClosed { endpoint: Arc<str>, source: BodyError, sent: bool },
    #[error("{endpoint} answered with something that is not HTTP/1.1: {reason}")]
    BadResponse { endpoint: Arc<str>, reason: String },
    #[error("{endpoint} did not answer within {timeout:?}")]
    ResponseTimeout { endpoint: Arc<str>, timeout: Duration },
    #[error("no answer from {endpoint} within the {timeout:?} of an attempt")]
    AttemptTimeout { endpoint: Arc<str>, timeout: Duration },
    #[error("not done within the {timeout:?} of a request")]
    RequestTimeout { timeout: Duration },
    #[error("nothing moved for {timeout:?}")]
    StreamIdle { timeout: Duration },
    #[error("{endpoint} refused the request without doing anything for it")]
    RefusedStream { endpoint: Arc<str> },
    #[error("the request's body broke off")]
    ClientBody,
    #[error("nothing came of the rest of the request's body for {timeout:?}")]
    BodyTimeout { timeout: Duration },
    #[error("{}", .0.reason)]
    Rejected(Rejection),
}

/// All labels, so that a counter for each can be registered up front.
pub(crate) const LABELS: [&str; 21] = [
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
    "too_many_connections",
    "circuit_open",
    "attempt_timeout",
    "request_timeout",
    "stream_idle",
    "refused_stream",
    "rate_limited",
    "body_too_large",
    "policy_rejected",
    "body_timeout",
    "out_of_resources",
];

impl Failure {
    /// Whether what follows on an HTTP/1.1 connection could be meant for somebody else: who asks for a tunnel may not have
    /// waited for the answer (RFC 9931, section 4), and who sends what can't be understood may mean more by it.
    pub(crate) fn ends_connection(&self) -> bool {
        let is_malformed = matches!(self, Self::BadRequest(_) | Self::Malformed(_) | Self::BadPath(_));
        is_malformed || matches!(self, Self::NotSupported("CONNECT") | Self::BodyTimeout { .. })
    }

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
            Self::TooManyConnections => 10,
            Self::CircuitOpen(_) => 11,
            Self::AttemptTimeout { .. } => 12,
            Self::RequestTimeout { .. } => 13,
            Self::StreamIdle { .. } => 14,
            Self::RefusedStream { .. } => 15,
            Self::RateLimited { .. } => 16,
            Self::BodyTooLarge { .. } => 17,
            Self::Rejected(_) => 18,
            Self::BodyTimeout { .. } => 19,
            Self::OutOfResources { .. } => 20,
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
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Rejected(rejection) => rejection.status,
            Self::NoEndpoint { .. }
            | Self::TooManyConnections
            | Self::CircuitOpen(_)
            | Self::OutOfResources { .. }
            | Self::RefusedStream { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect { .. } | Self::UpstreamClosed { .. } | Self::BadResponse { .. } => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout { .. }
            | Self::ResponseTimeout { .. }
            | Self::AttemptTimeout { .. }
            | Self::RequestTimeout { .. }
            | Self::StreamIdle { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::BadRequest(_)
            | Self::BadPath(_)
            | Self::Malformed(_)
            | Self::NotSupported(_)
            | Self::ClientBody
            | Self::BodyTimeout { .. }
            | Self::BodyTooLarge { .. } => Origin::Client,
            Self::NoRoute
            | Self::TooManyConnections
            | Self::RateLimited { .. }
            | Self::Rejected(_)
            | Self::NoEndpoint { .. }
            | Self::OutOfResources { .. }
            | Self::CircuitOpen(_) => Origin::Proxy,
            _ => Origin::Upstream,
        }
    }

    /// What it means for the endpoint that was tried.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::UpstreamClosed { sent: false, .. } => {
                Outcome::ConnectFailed
            }
            Self::UpstreamClosed { .. } | Self::BadResponse { .. } | Self::RefusedStream { .. } => Outcome::Broken,
            Self::ResponseTimeout { .. }
            | Self::AttemptTimeout { .. }
            | Self::RequestTimeout { .. }
            | Self::StreamIdle { .. } => Outcome::TimedOut,
            _ => Outcome::Cancelled,
        }
    }

    /// What it is called where it says after what a request is tried again.
    pub(crate) fn condition(&self) -> Option<RetryCondition> {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::UpstreamClosed { sent: false, .. } => {
                Some(RetryCondition::ConnectFailure)
            }
            Self::RefusedStream { .. } => Some(RetryCondition::RefusedStream),
            Self::UpstreamClosed { .. } => Some(RetryCondition::Reset),
            Self::AttemptTimeout { .. } => Some(RetryCondition::AttemptTimeout),
            Self::ResponseTimeout { .. } => Some(RetryCondition::ResponseTimeout),
            _ => None,
        }
    }

    /// After how many seconds the client may come back, if it can be said.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        match self {
            Self::RateLimited { wait_ns } => Some(u32::try_from(wait_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)),
            // As soon as any of the others is done; that nobody knows when is no reason to be back at once.
            Self::CircuitOpen(_) | Self::TooManyConnections | Self::OutOfResources { .. } => Some(1),
            _ => None,
        }
    }
}
