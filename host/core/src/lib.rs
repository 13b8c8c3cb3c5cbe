//! Pure state and arithmetic of the proxy.
//!
//! Nothing in here reads a clock, draws a random number, opens a socket or knows WebAssembly: time and seeds are
//! passed in. That keeps it testable without any of them, and lets every other crate depend on it.

mod availability;
mod backoff;
mod canary;
mod circuit;
mod endpoint;
mod hash;
mod health;
mod histogram;
mod outcome;
mod outlier;
mod rate_limit;
mod retry_budget;
mod rng;
mod signals;
mod slow_start;
mod snapshot;

pub use availability::{Availability, AvailabilitySpec, EndpointState, Level};
pub use backoff::Backoff;
pub use canary::{Canary, CanaryArm, CanaryFinding, CanarySpec, CanaryStep, CanaryVerdict};
pub use circuit::{Circuit, CircuitLimits, CircuitOpen, CircuitPermit, HasCircuit, Resource};
pub use endpoint::{Endpoint, EndpointId, EndpointSpec};
pub use hash::hash;
pub use health::{Health, HealthSpec, Probe, Transition};
pub use histogram::{Histogram, HistogramSnapshot};
pub use outcome::{AttemptResult, Outcome, ProbeResult};
pub use outlier::{
    Ejection, EjectionCause, OutlierDetector, OutlierMonitor, OutlierSpec, OutlierWatch, Suspect, Sweep, Verdict,
};
pub use rate_limit::{RateLimit, RateLimiter};
pub use retry_budget::{HasRetryLoad, RetryBudget, RetryLoad, RetryPermit};
pub use rng::Rng;
pub use signals::{BLOCK, HasLive, InFlight, Live, LiveArena, LoadReport, OpenConnection, Signal};
pub use slow_start::SlowStart;
pub use snapshot::ClusterSnapshot;
