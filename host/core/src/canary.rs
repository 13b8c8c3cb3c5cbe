//! A canary: a candidate answers for a share of the requests, and is promoted step by step, or taken back when it does
//! worse than what serves.
//!
//! Both are looked at once a second, for as long as it takes. A test that is made for one look would cry wolf sooner or
//! later, so both tests in here hold however often one looks (`errors`, `latency`), and together they take a candidate
//! that is no worse back in at most one of a hundred canaries. Not to be shown worse is no proof of being as good: that
//! is what the small steps are for.

mod errors;
mod latency;

use crate::HistogramSnapshot;
use errors::ErrorTest;
use latency::LatencyTest;

/// How likely it is, at most, that a candidate that is no worse is taken back: shared by both tests.
const FALSE_ALARM: f64 = 0.01;

/// A share of the requests, for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CanaryStep {
    /// More than 0 and less than 1.
    pub share: f64,
    /// How long the step lasts at least, in nanoseconds.
    pub hold_ns: u64,
}

/// A plan, and what is too bad.
#[derive(Clone, Debug, PartialEq)]
pub struct CanarySpec {
    /// At least one. After the last one, the candidate is promoted.
    pub steps: Vec<CanaryStep>,
    /// Whether the draw goes by the requests' hash, so that whoever has been with the candidate stays there. Who fails
    /// then fails again and again, so that failures are not as independent as the test for errors takes them to be.
    pub by_hash: bool,
    /// How many results of the candidate each step needs at least.
    pub min_requests: u64,
    /// So many times the failures of what serves are not yet too many. At least 1.
    pub max_error_ratio: f64,
    /// Whatever the ratio, a difference of the error rates below this is nothing to act upon.
    pub min_error_increase: f64,
    /// So many times the latency of what serves is not yet too slow. At least 1.
    pub max_latency_ratio: f64,
    /// Whatever the ratio, a difference below this is nothing to act upon, in nanoseconds.
    pub min_latency_increase_ns: u64,
}

impl Default for CanarySpec {
    fn default() -> Self {
        const MINUTE: u64 = 60_000_000_000;
        let step = |percent: f64| CanaryStep { share: percent / 100.0, hold_ns: MINUTE };
        Self {
            // The first is to find out whether it works at all, at little risk; each of the others is a few times the
            // one before, as what goes wrong under load only does so step by step.
            steps: [1.0, 5.0, 25.0, 50.0].map(step).into(),
            by_hash: false,
            // Fewer say nothing of errors that are not the rule.
            min_requests: 100,
            // Policies differ a little on purpose: half as many again is more than that.
            max_error_ratio: 1.5,
            min_error_increase: 0.001,
            max_latency_ratio: 1.25,
            min_latency_increase_ns: 1_000_000,
        }
    }
}

/// What has come of the requests of one side in this step: of the first attempt of each, as retries hide what a policy
/// does, and are more the more fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CanaryArm {
    /// First attempts that are over, without those whose client left, and requests that the policy rejected instead.
    pub requests: u64,
    /// Those of them that failed: 500 and more, no connection, a broken one, no answer in time, or rejected.
    pub failures: u64,
    /// Times to the first byte, in nanoseconds, of those that were answered.
    pub latency: HistogramSnapshot,
}

impl CanaryArm {
    /// Adds what another worker has counted.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.latency.merge(&other.latency);
    }

    /// The share of failures; 0 when there are no requests.
    pub fn error_rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.failures as f64 / self.requests as f64 }
    }
}

/// How a candidate is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CanaryFinding {
    /// More of its requests fail.
    Errors {
        /// Its share of failures in this step.
        candidate: f64,
        /// That of what serves.
        active: f64,
    },
    /// Its requests take longer.
    Latency {
        /// Which quantile.
        quantile: f64,
        /// At least this, in nanoseconds.
        candidate_ns: u64,
        /// At most this, in nanoseconds.
        active_ns: u64,
    },
}

impl std::fmt::Display for CanaryFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errors { candidate, active } => {
                write!(f, "{:.2}% of its requests fail, {:.2}% of the others", candidate * 100.0, active * 100.0)
            }
            Self::Latency { quantile, candidate_ns, active_ns } => {
                let ms = |ns: u64| ns as f64 / 1e6;
                let percent = quantile * 100.0;
                write!(
                    f,
                    "its p{percent} to the first byte is above {:.2} ms, that of the others below {:.2} ms",
                    ms(*candidate_ns),
                    ms(*active_ns)
                )
            }
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CanaryVerdict {
    /// Go on.
    Hold,
    /// Give the candidate the next step's share; counts begin at zero again.
    Next,
    /// The plan is done.
    Promote,
    /// Take the candidate back.
    Worse(CanaryFinding),
}

/// A canary under way.
#[derive(Clone, Debug)]
pub struct Canary {
    spec: CanarySpec,
    step: usize,
    since: u64,
    errors: ErrorTest,
    latency: LatencyTest,
}

impl Canary {
    /// Begins with the first step. `now` is in nanoseconds, here and below.
    pub fn new(spec: CanarySpec, now: u64) -> Self {
        let errors = ErrorTest::new(spec.max_error_ratio.max(1.0), FALSE_ALARM / 2.0);
        let latency = LatencyTest::new(FALSE_ALARM / 2.0);
        Self { spec, step: 0, since: now, errors, latency }
    }

    /// The plan.
    pub fn spec(&self) -> &CanarySpec {
        &self.spec
    }

    /// Which of the steps it is in, from 0.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The candidate's share now.
    pub fn share(&self) -> f64 {
        self.spec.steps.get(self.step).map_or(0.0, |step| step.share)
    }

    /// Looks at what has come of this step's requests so far.
    pub fn judge(&mut self, now: u64, active: &CanaryArm, candidate: &CanaryArm) -> CanaryVerdict {
        let share = match self.spec.by_hash {
            // A few keys may make up most of the requests: what counts is what was drawn.
            true => candidate.requests as f64 / ((active.requests + candidate.requests) as f64).max(1.0),
            false => self.share(),
        };
        self.errors.take_in(share, active.failures, candidate.failures);
        let (mine, others) = (candidate.error_rate(), active.error_rate());
        if self.errors.is_worse() && mine - others >= self.spec.min_error_increase {
            return CanaryVerdict::Worse(CanaryFinding::Errors { candidate: mine, active: others });
        }
        if let Some(finding) = self.latency.look(&self.spec, &active.latency, &candidate.latency) {
            return CanaryVerdict::Worse(finding);
        }
        let held = self.spec.steps.get(self.step).is_none_or(|step| now.saturating_sub(self.since) >= step.hold_ns);
        if !held || candidate.requests < self.spec.min_requests {
            return CanaryVerdict::Hold;
        }
        self.step += 1;
        self.since = now;
        self.errors.next_step();
        self.latency.next_step();
        if self.step < self.spec.steps.len() { CanaryVerdict::Next } else { CanaryVerdict::Promote }
    }
}

#[cfg(test)]
mod tests;
