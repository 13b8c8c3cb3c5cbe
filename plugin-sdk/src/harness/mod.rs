//! Driving a policy in a test: no wasm, no proxy, no time that passes by itself.
//!
//! A [`Harness`] is a policy with a simulated cluster around it. It calls the policy as the proxy does, and it fails
//! the test where the proxy would pass over the policy's answer: when an endpoint is picked that does not exist, or
//! one that the request has been to already.
//!
//! ```
//! # use sluicegate_sdk::*;
//! # struct First;
//! # impl Policy for First {
//! #     type Config = NoConfig;
//! #     fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> { Ok(Self) }
//! #     fn pick(&mut self, _: &Request, endpoints: &Endpoints) -> Pick { endpoints.candidates().next().into() }
//! # }
//! # export!(First);
//! use sluicegate_sdk::harness::{Harness, SimCluster, SimEndpoint, SimRequest};
//!
//! let cluster = SimCluster::from([SimEndpoint::new("10.0.0.1:80").weight(3), SimEndpoint::new("10.0.0.2:80")]);
//! let mut harness = Harness::<First>::new("{}", cluster)?;
//! let mut request = SimRequest::get("/");
//! let attempt = harness.send(&mut request).unwrap();
//! assert_eq!(attempt.index, 0);
//! assert_eq!(harness.cluster()[0].read(Signal::InFlight), 1);
//! harness.finish(attempt, Outcome::Answered, 503);
//! assert_eq!(harness.send(&mut request).unwrap().index, 1, "a retry goes elsewhere");
//! # Ok::<(), ConfigError>(())
//! ```

mod cluster;
mod promises;
mod reply;
mod request;

use std::{collections::VecDeque, fmt, time::Duration};

pub use self::{
    cluster::{SimCluster, SimEndpoint},
    promises::check_promises,
    reply::SimReply,
    request::SimRequest,
};
use crate::{
    AttemptResult, ConfigError, Outcome, Plugin, ProbeResult, RestoreError, Setup, Signal,
    native::{Native, World},
};

/// How long a probe takes.
const PROBE_TIME: Duration = Duration::from_millis(1);

/// Less than this is this.
const LEAST_TICK: u64 = 1_000_000;

/// A policy in a simulated cluster.
#[derive(Clone)]
pub struct Harness<P> {
    policy: Native<P>,
    cluster: SimCluster,
    setup: Setup,
    now: Duration,
    /// When the next tick is due.
    tick_at: Option<Duration>,
    /// Probes under way, with when they come back.
    probes: VecDeque<(Duration, u64)>,
    reply: SimReply,
}

/// A request that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "requests are finished, so that they do not stay in flight"]
pub struct Attempt {
    /// The index of its endpoint at the time of the pick.
    pub index: u32,
    /// The id of its endpoint.
    pub endpoint: u64,
    sent: Duration,
}

impl<P: Plugin> Harness<P> {
    /// Configures the policy with some JSON and shows it a cluster, as the only worker and with a seed of 0.
    pub fn new(config: &str, cluster: impl Into<SimCluster>) -> Result<Self, ConfigError> {
        Self::with_setup(config, Setup::default(), cluster)
    }

    /// The same, as another worker or with another seed.
    pub fn with_setup(config: &str, setup: Setup, cluster: impl Into<SimCluster>) -> Result<Self, ConfigError> {
        Self::begin(&World::default(), config, setup, cluster.into(), Duration::ZERO).map(Self::seated)
    }

    /// Another worker's instance of the same policy, with a cluster of its own: what the instances share, they share.
    pub fn beside(&self, config: &str, setup: Setup, cluster: impl Into<SimCluster>) -> Result<Self, ConfigError> {
        Self::begin(self.world(), config, setup, cluster.into(), self.now).map(Self::seated)
    }

    fn begin(
        world: &World,
        config: &str,
        setup: Setup,
        cluster: SimCluster,
        now: Duration,
    ) -> Result<Self, ConfigError> {
        let policy = Native::configure_in(world, config, setup)?;
        let (tick_at, probes, reply) = (None, VecDeque::new(), SimReply::default());
        let mut harness = Self { policy, cluster, setup, now, tick_at, probes, reply };
        harness.change(|_| {});
        Ok(harness)
    }

    /// The policy serves from now on.
    fn seated(mut self) -> Self {
        if P::TIMER {
            self.tick();
        }
        self
    }

    /// The policy itself.
    pub fn policy(&self) -> &P {
        self.policy.policy()
    }

    /// The endpoints, as they are.
    pub fn cluster(&self) -> &SimCluster {
        &self.cluster
    }

    /// What is around the policy: its counters and gauges, what it shares, what it needs.
    pub fn world(&self) -> &World {
        self.policy.world()
    }

    /// What the last pick has said beside its answer.
    pub fn reply(&self) -> &SimReply {
        &self.reply
    }

    /// The ids of the endpoints that are being probed, in the order in which they were asked for.
    pub fn probes(&self) -> impl Iterator<Item = u64> {
        self.probes.iter().map(|(_, id)| *id)
    }

    /// Changes the endpoints, and tells the policy.
    pub fn change(&mut self, change: impl FnOnce(&mut SimCluster)) {
        change(&mut self.cluster);
        self.policy.endpoints_changed(self.now(), &self.cluster);
        self.called();
    }

    /// Sets a live value, of which a policy is not told: it reads it when it wants to know.
    pub fn set(&mut self, index: u32, signal: Signal, value: u64) {
        self.cluster[index as usize].set(signal, value);
    }

    /// Lets time pass. Ticks that are due come, and probes are answered, each in its moment.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let answer = self.probes.front().map(|(at, _)| *at);
            let next = self.tick_at.into_iter().chain(answer).min().filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.pass_until(next);
            if answer == Some(next) {
                self.answer_probe();
            } else {
                self.tick();
            }
        }
        self.pass_until(end);
    }

    fn pass_until(&mut self, time: Duration) {
        let ms = (time.as_millis() - self.now.as_millis()) as u64;
        self.now = time;
        self.cluster.iter_mut().for_each(|endpoint| endpoint.age(ms));
    }

    fn tick(&mut self) {
        let next = self.policy.tick(self.now(), &self.cluster);
        self.tick_at = (next > 0).then(|| self.now.saturating_add(Duration::from_nanos(next.max(LEAST_TICK))));
        self.called();
    }

    fn answer_probe(&mut self) {
        let Some((_, id)) = self.probes.pop_front() else { return };
        let round_trip_us = PROBE_TIME.as_micros() as u32;
        let gone = ProbeResult { endpoint: id, ok: false, round_trip_us, load: None, latency_us: None };
        let probed = self.cluster.iter_mut().find(|endpoint| endpoint.id() == id);
        let answer = probed.map_or(gone, |endpoint| endpoint.answer(round_trip_us));
        self.policy.on_probe(self.now(), &answer, &self.cluster);
        self.called();
    }

    /// After every call of the policy: what it asks to probe is on its way.
    fn called(&mut self) {
        let at = self.now + PROBE_TIME;
        self.probes.extend(self.cluster.take_asked().into_iter().map(|id| (at, id)));
    }

    /// Picks for a request that has nothing special about it. The request is not sent.
    ///
    /// # Panics
    ///
    /// When the proxy would not follow the pick.
    pub fn pick(&mut self) -> Option<u32> {
        self.pick_for(&SimRequest::default())
    }

    /// Picks for this request, which is not sent. [`reply`](Self::reply) has what the pick says beside its answer; a
    /// request that is rejected goes nowhere.
    ///
    /// # Panics
    ///
    /// When the proxy would not follow the pick.
    pub fn pick_for(&mut self, request: &SimRequest) -> Option<u32> {
        let seen = request.seen_in(&self.cluster, self.world().needs().body_prefix);
        let picked = self.policy.pick(self.now(), request.hash, request.attempt(), &self.cluster, &seen);
        self.reply = seen.reply.take();
        self.called();
        if picked == u32::MAX || self.reply.rejected.is_some() {
            return None;
        }
        let count = self.cluster.len();
        assert!((picked as usize) < count, "picked endpoint {picked}, but there are only {count}");
        assert!(!seen.tried.contains(&picked), "picked endpoint {picked}, which the request has been to already");
        Some(picked)
    }

    /// Picks this often, and counts how often each endpoint was picked. No request is sent.
    ///
    /// # Panics
    ///
    /// When the policy declines, or when the proxy would not follow a pick.
    pub fn counts(&mut self, picks: u32) -> Vec<u32> {
        let mut counts = vec![0; self.cluster.len()];
        for _ in 0..picks {
            counts[self.pick().expect("the policy picks") as usize] += 1;
        }
        counts
    }

    /// Picks for this request and sends it: its endpoint has one more in flight, until [`finish`](Self::finish).
    ///
    /// # Panics
    ///
    /// When the proxy would not follow the pick.
    pub fn send(&mut self, request: &mut SimRequest) -> Option<Attempt> {
        let index = self.pick_for(request)?;
        let endpoint = &mut self.cluster[index as usize];
        endpoint.set(Signal::InFlight, endpoint.read(Signal::InFlight) + 1);
        request.tried.push(endpoint.id());
        Some(Attempt { index, endpoint: endpoint.id(), sent: self.now })
    }

    /// Ends an attempt, now. The signals of its endpoint follow, and the policy hears of it if it exports `feedback`.
    pub fn finish(&mut self, attempt: Attempt, outcome: Outcome, status: u32) {
        let total_us = u32::try_from((self.now - attempt.sent).as_micros()).unwrap_or(u32::MAX);
        let first_byte_us = if outcome == Outcome::Answered { total_us } else { 0 };
        let endpoint = attempt.endpoint;
        let result = AttemptResult { endpoint, outcome, status, connect_us: 0, first_byte_us, total_us };
        if let Some(endpoint) = self.cluster.iter_mut().find(|endpoint| endpoint.id() == attempt.endpoint) {
            endpoint.record(&result);
        }
        self.policy.on_result(self.now(), &result);
        self.called();
    }

    /// Replaces the policy by another one, or by another version of it, as the proxy does: the new one is configured,
    /// sees the endpoints, and gets what the old one saves. The second value says how that went: one that refuses it is
    /// thrown away, and another one begins afresh.
    pub fn swap<Q: Plugin>(self, config: &str) -> Result<(Harness<Q>, Result<(), RestoreError>), ConfigError> {
        let saved = self.policy.save();
        let (world, setup, now) = (self.policy.world(), self.setup, self.now);
        let mut next = Harness::<Q>::begin(&world.succeeded(), config, setup, self.cluster, now)?;
        let Some((schema, bytes)) = saved else {
            return Ok((next.seated(), Err(RestoreError::new("nothing was saved"))));
        };
        let restored = next.policy.restore(schema, &bytes, &next.cluster);
        if restored.is_err() {
            next = Harness::begin(&world.succeeded(), config, setup, next.cluster, now)?;
        }
        Ok((next.seated(), restored))
    }

    fn now(&self) -> u64 {
        self.now.as_nanos() as u64
    }
}

// By hand, so that policies need not be printable for a test to unwrap an error.
impl<P> fmt::Debug for Harness<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, setup, now, .. } = self;
        let mut harness = f.debug_struct("Harness");
        harness.field("cluster", cluster).field("setup", setup).field("now", now).finish_non_exhaustive()
    }
}
