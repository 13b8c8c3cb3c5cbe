//! The workers' side of outlier detection.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::OutlierSpec;
use crate::{AttemptResult, EndpointId, Outcome};

/// What an attempt says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Success,
    /// It answered, with 500 or more, but not as a gateway would.
    ServerError,
    /// It cannot be reached or has given up: no connection, a broken one, no answer in time, or 502, 503 or 504.
    GatewayFailure,
}

impl Verdict {
    /// None when the client left first: that says nothing about the endpoint.
    pub fn of(result: &AttemptResult) -> Option<Self> {
        match result.outcome {
            Outcome::Cancelled => None,
            Outcome::ConnectFailed | Outcome::Broken | Outcome::TimedOut => Some(Self::GatewayFailure),
            Outcome::Answered => Some(match result.status {
                502..=504 => Self::GatewayFailure,
                500.. => Self::ServerError,
                _ => Self::Success,
            }),
        }
    }
}

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EjectionCause {
    /// Too many gateway failures in a row.
    GatewayFailures,
    /// Too many failures of any kind in a row.
    Failures,
    /// Its success rate is too far below the others'.
    SuccessRate,
}

impl EjectionCause {
    /// A short, stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::GatewayFailures => "consecutive_gateway_failures",
            Self::Failures => "consecutive_failures",
            Self::SuccessRate => "success_rate",
        }
    }
}

/// How the attempts at one endpoint went. All workers share it.
///
/// Its numbers lie in one cache line. They are not read together, so that a run may be off by the attempts of
/// other workers at the same moment; there is no order among those anyway.
#[derive(Debug)]
pub struct OutlierMonitor {
    endpoint: EndpointId,
    // Since the last comparison of success rates. 32 bits are four hundred million attempts a second.
    successes: AtomicU32,
    failures: AtomicU32,
    gateway_run: AtomicU32,
    failure_run: AtomicU32,
}

impl OutlierMonitor {
    pub(super) fn new(endpoint: EndpointId) -> Self {
        Self {
            endpoint,
            successes: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            gateway_run: AtomicU32::new(0),
            failure_run: AtomicU32::new(0),
        }
    }

    /// Whose attempts it counts.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// Counts an attempt. A cause when a run of failures is long enough, for
    /// [`suspect`](super::OutlierDetector::suspect); and again each time it has grown by as much, in case the endpoint
    /// had to be spared.
    #[inline]
    #[must_use = "the detector has to hear of it"]
    pub fn record(&self, verdict: Verdict, spec: &OutlierSpec) -> Option<EjectionCause> {
        if verdict == Verdict::Success {
            self.successes.fetch_add(1, Relaxed);
            self.gateway_run.store(0, Relaxed);
            self.failure_run.store(0, Relaxed);
            return None;
        }
        self.failures.fetch_add(1, Relaxed);
        let failures = self.failure_run.fetch_add(1, Relaxed).wrapping_add(1);
        let gateway_failures = if verdict == Verdict::GatewayFailure {
            self.gateway_run.fetch_add(1, Relaxed).wrapping_add(1)
        } else {
            self.gateway_run.store(0, Relaxed);
            0
        };
        let enough = |run: u32, threshold: u32| run > 0 && threshold > 0 && run.is_multiple_of(threshold);
        if enough(gateway_failures, spec.consecutive_gateway_failures) {
            Some(EjectionCause::GatewayFailures)
        } else if enough(failures, spec.consecutive_failures) {
            Some(EjectionCause::Failures)
        } else {
            None
        }
    }

    /// The successes and all attempts since the last call.
    pub(super) fn take(&self) -> (u64, u64) {
        let (successes, failures) = (self.successes.swap(0, Relaxed), self.failures.swap(0, Relaxed));
        (u64::from(successes), u64::from(successes) + u64::from(failures))
    }

    pub(super) fn reset(&self) {
        for number in [&self.successes, &self.failures, &self.gateway_run, &self.failure_run] {
            number.store(0, Relaxed);
        }
    }
}
