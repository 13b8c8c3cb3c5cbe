//! Policies outside of the proxy's sandbox: in tests, in simulations, and in a comparison of what the sandbox costs.

mod source;
mod world;

use std::fmt;

pub use self::world::{Needs, World};
pub(crate) use self::{
    source::Source,
    world::{CounterHandle, GaugeHandle, SharedHandle, need_body_prefix, need_load_reports},
};
use crate::{AttemptResult, ConfigError, Endpoints, Plugin, ProbeResult, RestoreError, Setup, Signal, plugin};

/// Endpoints that a policy can be shown. All of them may be picked.
///
/// Calls are made with indexes below [`count`](Self::count) only, unless the policy is wrong.
pub trait Cluster {
    /// How many endpoints there are.
    fn count(&self) -> u32;
    /// The endpoint's lasting identity.
    fn id(&self, index: u32) -> u64;
    /// Its weight, from 1 to 65535.
    fn weight(&self, index: u32) -> u32;
    /// One live value.
    fn read(&self, index: u32, signal: Signal) -> u64;

    /// Live values from `start` on; `u32::MAX` for those that do not fit, and for all past the last endpoint.
    fn read_block(&self, start: u32, signal: Signal, block: &mut [u32; 64]) {
        for (value, index) in block.iter_mut().zip(start..) {
            let read = (index < self.count()).then(|| self.read(index, signal));
            *value = read.and_then(|value| value.try_into().ok()).unwrap_or(u32::MAX);
        }
    }

    /// Its address, as `ip:port`.
    fn address(&self, _index: u32) -> String {
        String::new()
    }

    /// Its zone; empty when it has none.
    fn zone(&self, _index: u32) -> String {
        String::new()
    }

    /// A configured label.
    fn label(&self, _index: u32, _key: &str) -> Option<String> {
        None
    }

    /// The policy asks for a probe of it.
    fn probe(&self, _index: u32) {}
}

/// A request that a policy can be shown.
pub trait Head {
    /// The index of the nth endpoint that it has been to already; `u32::MAX` past the last.
    fn tried(&self, nth: u32) -> u32;

    /// The method, as in `GET`.
    fn method(&self) -> String {
        "GET".into()
    }

    /// Path and query.
    fn path(&self) -> String {
        "/".into()
    }

    /// The host that was asked for.
    fn authority(&self) -> String {
        String::new()
    }

    /// The first value of a header, by its lower-case name.
    fn header(&self, _name: &str) -> Option<String> {
        None
    }

    /// The first cookie of that name.
    fn cookie(&self, _name: &str) -> Option<String> {
        None
    }

    /// The client's address, without its port.
    fn client_address(&self) -> String {
        String::new()
    }

    /// Up to `length` bytes of its body, from `start` on.
    fn body(&self, _start: u32, _length: u32) -> Vec<u8> {
        Vec::new()
    }

    /// Whether somebody reads explanations.
    fn wants_explanation(&self) -> bool {
        false
    }

    /// The pick says this beside its answer.
    fn take(&self, _said: Said<'_>) {}
}

/// Something that a pick says beside its answer: a call of the contract's `reply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// `reject`.
    Reject {
        /// The status.
        status: u16,
        /// The text.
        reason: &'a str,
    },
    /// `set-response-header`: name and value.
    ResponseHeader(&'a str, &'a str),
    /// `set-request-header`: name and value.
    RequestHeader(&'a str, &'a str),
    /// `then`: an index.
    Then(u32),
    /// `hedge`.
    Hedge {
        /// Where to.
        index: u32,
        /// After how many microseconds.
        after_us: u32,
    },
    /// `explain`.
    Explanation(&'a str),
}

/// Where there is no request.
struct NoRequest;

impl Head for NoRequest {
    fn tried(&self, _nth: u32) -> u32 {
        u32::MAX
    }

    fn take(&self, said: Said<'_>) {
        panic!("`reply` is valid during a pick only: {said:?}");
    }
}

/// A request of which nothing is known but where it has been to.
impl Head for Vec<u32> {
    fn tried(&self, nth: u32) -> u32 {
        self.get(nth as usize).copied().unwrap_or(u32::MAX)
    }
}

/// A request of which nothing is known, and which has not been anywhere.
impl Head for () {
    fn tried(&self, _nth: u32) -> u32 {
        u32::MAX
    }
}

/// A policy that is called as the proxy calls it, with the contract's types and numbers.
#[derive(Clone)]
pub struct Native<P> {
    policy: P,
    world: World,
}

impl<P: Plugin> Native<P> {
    /// `configure`, in a world of its own.
    pub fn configure(config: &str, setup: Setup) -> Result<Self, ConfigError> {
        Self::configure_in(&World::default(), config, setup)
    }

    /// `configure`, in a world that other instances live in, too: they share what the contract's `shared` has.
    pub fn configure_in(world: &World, config: &str, setup: Setup) -> Result<Self, ConfigError> {
        let policy = world.during(|| plugin::configure(config, setup))?;
        Ok(Self { policy, world: world.clone() })
    }

    /// `endpoints-changed`.
    pub fn endpoints_changed(&mut self, now: u64, cluster: &dyn Cluster) {
        self.policy.endpoints_changed(&outside_a_pick(cluster), now);
    }

    /// `pick`, with its raw answer: an index, or `u32::MAX` for none.
    #[inline]
    pub fn pick(&mut self, now: u64, hash: u64, attempt: u32, cluster: &dyn Cluster, head: &dyn Head) -> u32 {
        plugin::pick(&mut self.policy, Source { count: cluster.count(), cluster, head }, now, hash, attempt)
    }

    /// `on-result`; does nothing when the policy does not export it.
    #[inline]
    pub fn on_result(&mut self, now: u64, result: &AttemptResult) {
        if P::FEEDBACK {
            self.policy.deliver(result, now);
        }
    }

    /// `on-probe`; does nothing when the policy does not export it.
    pub fn on_probe(&mut self, now: u64, probe: &ProbeResult, cluster: &dyn Cluster) {
        if P::PROBING {
            self.policy.deliver_probe(probe, &outside_a_pick(cluster), now);
        }
    }

    /// `tick`, with the contract's number for the next one; 0, never, when the policy does not export it.
    pub fn tick(&mut self, now: u64, cluster: &dyn Cluster) -> u64 {
        if P::TIMER { plugin::next_tick(self.policy.do_tick(&outside_a_pick(cluster), now)) } else { 0 }
    }

    /// `schema` and `save`; nothing when the policy does not export them.
    pub fn save(&self) -> Option<(u32, Vec<u8>)> {
        P::STATE.map(|schema| (schema, self.policy.save_bytes()))
    }

    /// `restore`; refuses when the policy does not export it.
    pub fn restore(&mut self, schema: u32, saved: &[u8], cluster: &dyn Cluster) -> Result<(), RestoreError> {
        self.policy.restore_bytes(schema, saved, &outside_a_pick(cluster))
    }

    /// The policy itself.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// What it asks of the world around it.
    pub fn world(&self) -> &World {
        &self.world
    }
}

// By hand, so that policies need not be printable for a test to unwrap an error.
impl<P> fmt::Debug for Native<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

pub(crate) fn outside_a_pick(cluster: &dyn Cluster) -> Endpoints<'_> {
    Endpoints { source: Source { count: cluster.count(), cluster, head: &NoRequest }, attempt: 0 }
}
