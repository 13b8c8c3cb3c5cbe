//! Policies outside of the proxy's sandbox: in tests, in simulations, and in a comparison of what the sandbox costs.

use std::fmt;

use crate::{AttemptResult, ConfigError, Endpoints, Plugin, RestoreError, Setup, Signal, endpoints::BLOCK, plugin};

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
pub struct Native<P>(P);

impl<P: Plugin> Native<P> {
    /// `configure`.
    pub fn configure(config: &str, setup: Setup) -> Result<Self, ConfigError> {
        plugin::configure(config, setup).map(Self)
    }

    /// `endpoints-changed`.
    pub fn endpoints_changed(&mut self, now: u64, cluster: &dyn Cluster) {
        self.0.endpoints_changed(&outside_a_pick(cluster), now);
    }

    /// `pick`, with its raw answer: an index, or `u32::MAX` for none.
    #[inline]
    pub fn pick(&mut self, now: u64, hash: u64, attempt: u32, cluster: &dyn Cluster, head: &dyn Head) -> u32 {
        plugin::pick(&mut self.0, Source { count: cluster.count(), cluster, head }, now, hash, attempt)
    }

    /// `on-result`; does nothing when the policy does not export it.
    #[inline]
    pub fn on_result(&mut self, now: u64, result: &AttemptResult) {
        if P::FEEDBACK {
            self.0.deliver(result, now);
        }
    }

    /// `schema` and `save`; nothing when the policy does not export them.
    pub fn save(&self) -> Option<(u32, Vec<u8>)> {
        P::STATE.map(|schema| (schema, self.0.save_bytes()))
    }

    /// `restore`; refuses when the policy does not export it.
    pub fn restore(&mut self, schema: u32, saved: &[u8], cluster: &dyn Cluster) -> Result<(), RestoreError> {
        self.0.restore_bytes(schema, saved, &outside_a_pick(cluster))
    }

    /// The policy itself.
    pub fn policy(&self) -> &P {
        &self.0
    }
}

// By hand, so that policies need not be printable for a test to unwrap an error.
impl<P> fmt::Debug for Native<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

pub(crate) fn outside_a_pick(cluster: &dyn Cluster) -> Endpoints<'_> {
    Endpoints { source: Source { count: cluster.count(), cluster, head: &() }, attempt: 0 }
}

#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    count: u32,
    cluster: &'a dyn Cluster,
    head: &'a dyn Head,
}

impl Source<'_> {
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(crate) fn id(&self, index: u32) -> u64 {
        self.cluster.id(index)
    }

    #[inline]
    pub(crate) fn weight(&self, index: u32) -> u32 {
        self.cluster.weight(index)
    }

    #[inline]
    pub(crate) fn read(&self, index: u32, signal: Signal) -> u64 {
        self.cluster.read(index, signal)
    }

    #[inline]
    pub(crate) fn read_block<R>(&self, start: u32, signal: Signal, use_block: impl FnOnce(&[u32; BLOCK]) -> R) -> R {
        let mut block = [0; BLOCK];
        self.cluster.read_block(start, signal, &mut block);
        use_block(&block)
    }

    pub(crate) fn address(&self, index: u32) -> String {
        self.cluster.address(index)
    }

    pub(crate) fn zone(&self, index: u32) -> String {
        self.cluster.zone(index)
    }

    pub(crate) fn label(&self, index: u32, key: &str) -> Option<String> {
        self.cluster.label(index, key)
    }

    pub(crate) fn method(&self) -> String {
        self.head.method()
    }

    pub(crate) fn path(&self) -> String {
        self.head.path()
    }

    pub(crate) fn authority(&self) -> String {
        self.head.authority()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.header(name)
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.head.cookie(name)
    }

    pub(crate) fn client_address(&self) -> String {
        self.head.client_address()
    }

    pub(crate) fn tried(&self, nth: u32) -> u32 {
        self.head.tried(nth)
    }
}
