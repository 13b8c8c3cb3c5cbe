//! The two ways to run a policy, behind one trait.

pub(crate) mod fast;
pub(crate) mod portable;
mod session;

use std::sync::Arc;

use sluicegate_core::{AttemptResult, ClusterSnapshot};

use crate::{Fault, RequestHead};

/// What a policy has learnt, on its way to its successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The number of the layout.
    pub schema: u32,
    /// The bytes, which mean something to the policy only.
    pub bytes: Vec<u8>,
}

/// Which of the contract's optional calls a policy exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// `feedback`.
    pub feedback: bool,
    /// `state`.
    pub state: bool,
}

/// A configured policy that can be called: the contract's exports, as the host sees them.
///
/// After a fault that [is fatal](Fault::is_fatal) the instance must not be called again. The inner results are
/// the policy's own refusals, in its words. Every call has a deadline.
pub trait Lane: Send {
    /// `configure`.
    fn configure(&mut self, config: &str, seed: u64, worker: u32, workers: u32) -> Result<Result<(), String>, Fault>;

    /// Shows the policy these endpoints from now on, and calls `endpoints-changed`.
    fn endpoints_changed(&mut self, now: u64, snapshot: Arc<ClusterSnapshot>) -> Result<(), Fault>;

    /// `pick`, with its raw answer. `request` is back in its place when this returns, whatever happens.
    fn pick(&mut self, now: u64, hash: u64, request: &mut RequestHead) -> Result<u32, Fault>;

    /// `on-result`; does nothing when the policy does not export it.
    fn on_result(&mut self, now: u64, result: &AttemptResult) -> Result<(), Fault>;

    /// `schema` and `save`; nothing when the policy does not export them.
    fn save(&mut self) -> Result<Option<Saved>, Fault>;

    /// `restore`; refuses when the policy does not export it.
    fn restore(&mut self, saved: &Saved) -> Result<Result<(), String>, Fault>;

    /// Bytes of linear memory in use.
    fn memory_bytes(&self) -> usize;
}
