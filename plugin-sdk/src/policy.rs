//! What an author writes.

use std::{fmt, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Counter, Endpoint, Endpoints, Gauge, Request, Shared,
    source::{CounterHandle, GaugeHandle, SharedHandle, need_body_prefix, need_load_reports},
};

/// A load-balancing policy: the answer to *which endpoint gets this request?*
///
/// Every worker of the proxy has its own instance, and calls it from one thread only: a policy needs no locks.
/// It has no clock and no randomness of its own either. Time comes with the calls and randomness from
/// [`Setup::seed`], so that the same calls give the same picks, in a test as in the proxy.
pub trait Policy: Sized + 'static {
    /// What an operator may configure; [`NoConfig`] when there is nothing.
    ///
    /// Keys that the type does not know are refused, with the keys that it does know.
    type Config: DeserializeOwned;

    /// Makes an instance. An error refuses the policy, and its text is what the operator reads.
    fn new(config: Self::Config, setup: Setup) -> Result<Self, ConfigError>;

    /// Picks an endpoint for a request, or declines and leaves the request to the proxy.
    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick;

    /// Called before the first pick, and whenever the endpoints or what is configured of them have changed: the
    /// place to build tables, and to follow with state that is kept [per endpoint](crate::PerEndpoint).
    ///
    /// `now` is in nanoseconds, from an arbitrary start.
    fn endpoints_changed(&mut self, endpoints: &Endpoints, now: u64) {
        let _ = (endpoints, now);
    }
}

/// For a policy that hears how requests went: `export!(MyPolicy, feedback)`.
pub trait Feedback: Policy {
    /// Called exactly once for every attempt, whatever became of it. `now` is in nanoseconds.
    ///
    /// The endpoint may be gone by now, which is why the result has its id and not an index.
    fn on_result(&mut self, result: &AttemptResult, now: u64);
}

/// For a policy that hears what the probes it [asked for](Endpoint::probe) came to: `export!(MyPolicy, probing)`.
pub trait Probing: Policy {
    /// Called once for every probe that was sent. `now` is in nanoseconds.
    fn on_probe(&mut self, probe: &ProbeResult, endpoints: &Endpoints, now: u64);
}

/// For a policy that does something from time to time: `export!(MyPolicy, timer)`.
pub trait Timer: Policy {
    /// Called as soon as the policy serves, and then after as long as it returned: never again after `None`. Less than
    /// a millisecond is a millisecond. Requests wait meanwhile, so it has no more time than a pick.
    fn tick(&mut self, endpoints: &Endpoints, now: u64) -> Option<Duration>;
}

/// For a policy whose learning outlives a swap: `export!(MyPolicy, state)`.
pub trait State: Policy {
    /// What is kept. It travels as JSON.
    type Saved: Serialize + DeserializeOwned;

    /// The number of the layout of [`Saved`](Self::Saved): raise it when the layout changes.
    const SCHEMA: u32;

    /// Called on the old instance, between two requests.
    fn save(&self) -> Self::Saved;

    /// Called on the new instance, after [`endpoints_changed`](Policy::endpoints_changed). After an error the operator is
    /// told, and a fresh instance serves in place of this one: what it has taken over so far is gone with it.
    fn restore(&mut self, saved: Self::Saved, endpoints: &Endpoints) -> Result<(), RestoreError>;

    /// Reads what another version of the policy has saved. Unless overridden, that is refused.
    fn convert(schema: u32, saved: &[u8]) -> Result<Self::Saved, RestoreError> {
        let _ = saved;
        Err(RestoreError::new(format!("the state has schema {schema}, this version reads schema {}", Self::SCHEMA)))
    }
}

/// What an instance is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Where this instance's randomness starts. It differs between workers and is the same in a replay.
    pub seed: u64,
    /// The number of the worker that this instance serves, from 0.
    pub worker: u32,
    /// How many workers there are, each with an instance of its own.
    pub workers: u32,
}

/// What an instance asks of the proxy once. It can be asked for while the policy is [made](Policy::new), at no other
/// time.
impl Setup {
    /// A counter of this name in the proxy's metrics: letters, digits and underscores, in lower case, a letter first.
    /// Counters and gauges together may have 32 names.
    pub fn counter(&self, name: &str) -> Counter {
        Counter(CounterHandle::new(name))
    }

    /// A gauge of this name, likewise.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge(GaugeHandle::new(name))
    }

    /// What all instances of the policy share.
    pub fn shared(&self) -> Shared {
        Shared(SharedHandle::new())
    }

    /// Has the proxy wait for so many bytes of each request's body before it asks for a pick, at most 65,536 of them and
    /// for half a second: [`Request::body`] gives them.
    pub fn needs_body_prefix(&self, bytes: u32) {
        need_body_prefix(bytes);
    }

    /// Has the proxy read the load reports (ORCA) in endpoints' responses, which some [signals](crate::Signal) are of.
    pub fn needs_load_reports(&self) {
        need_load_reports();
    }
}

impl Default for Setup {
    /// The only worker, with a seed of 0: what a test starts from.
    fn default() -> Self {
        Self { seed: 0, worker: 0, workers: 1 }
    }
}

/// For policies that have nothing to configure.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct NoConfig {}

/// A policy's answer. Usually made with `.into()`, from an [`Endpoint`] or from an `Option` of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Pick(u32);

impl Pick {
    /// Leaves the request to the proxy, which chooses by itself.
    pub const DECLINE: Self = Self(u32::MAX);

    /// The endpoint at this index.
    #[inline]
    pub const fn index(index: u32) -> Self {
        Self(index)
    }

    /// This endpoint, to say more about.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use sluicegate_sdk::*;
    /// fn two_chances(rng: &mut Rng, endpoints: &Endpoints) -> Pick {
    ///     let mut sample = endpoints.sample(rng, 2);
    ///     match (sample.next(), sample.next()) {
    ///         (Some(first), Some(second)) => {
    ///             Pick::to(first).then(second).hedge(second, Duration::from_millis(50))
    ///         }
    ///         (first, _) => first.into(),
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn to(endpoint: Endpoint<'_>) -> Self {
        Self(endpoint.index())
    }

    /// Where the request goes next if it has to be tried again, before the policy is asked once more. Up to eight
    /// endpoints, in this order; those that the request has been to are passed over.
    pub fn then(self, next: Endpoint<'_>) -> Self {
        next.source.then(next.index());
        self
    }

    /// Has the proxy send the request to this endpoint as well if no response has begun after this time. The first good
    /// answer counts, and the other attempt is cancelled. The proxy does so where sending a request twice is safe, and
    /// within the limits of retries.
    pub fn hedge(self, second: Endpoint<'_>, after: Duration) -> Self {
        let after_us = u32::try_from(after.as_micros()).unwrap_or(u32::MAX).max(1);
        second.source.hedge(second.index(), after_us);
        self
    }

    /// The number that the contract has for this answer: an index, or `u32::MAX`.
    #[inline]
    pub const fn to_number(self) -> u32 {
        self.0
    }
}

impl From<Endpoint<'_>> for Pick {
    #[inline]
    fn from(endpoint: Endpoint<'_>) -> Self {
        Self(endpoint.index())
    }
}

impl From<Option<Endpoint<'_>>> for Pick {
    #[inline]
    fn from(endpoint: Option<Endpoint<'_>>) -> Self {
        endpoint.map_or(Self::DECLINE, Self::from)
    }
}

impl From<Option<u32>> for Pick {
    #[inline]
    fn from(index: Option<u32>) -> Self {
        index.map_or(Self::DECLINE, Self::index)
    }
}

/// One attempt at one endpoint, over and done with. Times are in microseconds since the attempt began; what never
/// happened is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptResult {
    /// The id of the endpoint that got it.
    pub endpoint: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// The status of the answer; 0 when none came.
    pub status: u32,
    /// When the connection stood; 0 when it was a reused one.
    pub connect_us: u32,
    /// When the answer's head came.
    pub first_byte_us: u32,
    /// When it was over.
    pub total_us: u32,
}

impl AttemptResult {
    /// Whether the endpoint failed: no answer, or one with a status of 500 or more. A client that went away says nothing
    /// about the endpoint.
    #[inline]
    pub fn is_failure(&self) -> bool {
        match self.outcome {
            Outcome::Answered => self.status >= 500,
            Outcome::ConnectFailed | Outcome::Broken | Outcome::TimedOut => true,
            Outcome::Cancelled => false,
        }
    }

    /// What this attempt says of its endpoint's latency, in microseconds, to who has seen `average` so far (0 before
    /// the first answer).
    ///
    /// That is the time to the first byte. But errors come quickly, and an endpoint must not look fast because it
    /// fails: a failure counts as twice the average at least, and as [`FAILURE_US`](Self::FAILURE_US) at least. A
    /// client that goes away before the first byte shows that the answer would have taken longer than that: it counts
    /// where that is news.
    ///
    /// ```
    /// # use sluicegate_sdk::{AttemptResult, Outcome};
    /// let answered = AttemptResult {
    ///     endpoint: 1, outcome: Outcome::Answered, status: 200, connect_us: 0, first_byte_us: 700, total_us: 900,
    /// };
    /// assert_eq!(answered.latency_us(50_000.0), Some(700.0));
    /// assert_eq!(AttemptResult { status: 503, ..answered }.latency_us(50_000.0), Some(100_000.0));
    /// assert_eq!(AttemptResult { status: 503, ..answered }.latency_us(0.0), Some(30_000.0));
    /// let left = AttemptResult { outcome: Outcome::Cancelled, first_byte_us: 0, ..answered };
    /// assert_eq!((left.latency_us(500.0), left.latency_us(50_000.0)), (Some(900.0), None));
    /// let heard_enough = AttemptResult { outcome: Outcome::Cancelled, total_us: 600_000_000, ..answered };
    /// assert_eq!(heard_enough.latency_us(500.0), Some(700.0));
    /// ```
    pub fn latency_us(&self, average: f64) -> Option<f64> {
        let total = f64::from(self.total_us);
        match self.outcome {
            Outcome::Cancelled if self.first_byte_us == 0 => (total > average).then_some(total),
            _ if self.is_failure() => Some(total.max(2.0 * average).max(Self::FAILURE_US)),
            _ if self.first_byte_us > 0 => Some(f64::from(self.first_byte_us)),
            _ => Some(total),
        }
    }

    /// Whether this is a failure that says nothing new: one that was under way already when its endpoint failed last. Many
    /// fail at once when an endpoint goes away. `failed_at`: when it failed last, or 0, which this keeps.
    ///
    /// ```
    /// # use sluicegate_sdk::{AttemptResult, Outcome};
    /// let broken = AttemptResult {
    ///     endpoint: 1, outcome: Outcome::Broken, status: 0, connect_us: 0, first_byte_us: 0, total_us: 900,
    /// };
    /// let (mut failed_at, now) = (0, 5_000_000);
    /// assert!(!broken.is_known_failure(&mut failed_at, now));
    /// assert!(broken.is_known_failure(&mut failed_at, now), "it began at 4,100,000");
    /// assert!(!broken.is_known_failure(&mut failed_at, now + 1_000_000));
    /// ```
    pub fn is_known_failure(&self, failed_at: &mut u64, now: u64) -> bool {
        if !self.is_failure() {
            return false;
        }
        let began = now.saturating_sub(u64::from(self.total_us) * 1000);
        let is_known = *failed_at > 0 && began <= *failed_at;
        if !is_known {
            *failed_at = now;
        }
        is_known
    }

    /// The least latency that a failure counts as, in microseconds: what linkerd's proxy takes for an endpoint of
    /// which it knows nothing.
    pub const FAILURE_US: f64 = 30_000.0;
}

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// The id of the endpoint, which may be gone by now.
    pub endpoint: u64,
    /// Whether it answered in time, with a status below 400.
    pub ok: bool,
    /// How long its answer took, in microseconds.
    pub round_trip_us: u32,
    /// Its requests in flight, by its own count, if it says so.
    pub load: Option<u64>,
    /// How long it takes to answer a request with that load, in microseconds, if it says so.
    pub latency_us: Option<u64>,
}

impl ProbeResult {
    #[doc(hidden)]
    pub fn from_numbers(endpoint: u64, ok: bool, round_trip_us: u32, load: u64, latency_us: u64) -> Self {
        let said = |number| Some(number).filter(|number| *number != u64::MAX);
        Self { endpoint, ok, round_trip_us, load: said(load), latency_us: said(latency_us) }
    }
}

/// What became of an attempt, from the proxy's point of view. The order is the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// An answer came, whole. Look at the status.
    Answered,
    /// No connection could be made.
    ConnectFailed,
    /// The connection broke before the answer was whole.
    Broken,
    /// The answer did not come in time.
    TimedOut,
    /// The client went away first.
    Cancelled,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// An error about the configuration as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// An error about the value of one key: say what it has to be.
    pub fn at(key: &str, message: impl fmt::Display) -> Self {
        Self(format!("`{key}`: {message}"))
    }

    /// The value of a key is outside of its range, which has both its ends in it.
    pub fn out_of_range<T: fmt::Display>(key: &str, value: T, range: RangeInclusive<T>) -> Self {
        Self::at(key, format_args!("{value} is not from {} to {}", range.start(), range.end()))
    }
}

/// Why a state is not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreError(String);

impl RestoreError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for RestoreError {}
