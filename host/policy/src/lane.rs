//! The two ways to run a policy, behind one trait.

pub(crate) mod fast;
pub(crate) mod portable;
mod session;

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use fast::FastLane;
use portable::PortableLane;
use sluicegate_core::{AttemptResult, ClusterSnapshot, ProbeResult};

use crate::{Asked, Fault, Needs, RequestHead};

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
    /// `probing`.
    pub probing: bool,
    /// `timer`.
    pub timer: bool,
    /// `state`.
    pub state: bool,
}

/// What of the contract's imports makes a difference to the host. A policy that does not use it does not pay for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// The request's head.
    pub request: bool,
    /// Whatever a call may ask of the proxy: a reply, or probes.
    pub asking: bool,
}

impl Uses {
    /// Of imports, as `interface.function`.
    pub(crate) fn of(imports: &[String]) -> Self {
        Self {
            // Where a request has been is shown to every retry: the head is moved for the rest of `request` only.
            request: imports.iter().any(|import| import.starts_with("request.") && import != "request.tried"),
            asking: imports.iter().any(|import| import.starts_with("reply.") || import == "host.probe"),
        }
    }
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

    /// `on-probe`; does nothing when the policy does not export it.
    fn on_probe(&mut self, now: u64, probe: &ProbeResult) -> Result<(), Fault>;

    /// `tick`, with its raw answer; 0, never again, when the policy does not export it.
    fn tick(&mut self, now: u64) -> Result<u64, Fault>;

    /// What the last call has asked for, to be taken out.
    fn asked(&mut self) -> &mut Asked;

    /// What the policy said when it was configured.
    fn needs(&self) -> Needs;

    /// It takes its seat, on the worker's thread: what it counts is counted from now on. `explains`: whether somebody
    /// reads its explanations.
    fn seated(&mut self, worker: u32, explains: bool);

    /// The same for a place beside the seat, as a canary's candidate: what it counts is told apart.
    fn seated_beside(&mut self, worker: u32, explains: bool);

    /// Whether somebody reads its explanations from now on.
    fn wants_explanations(&mut self, wanted: bool);

    /// `schema` and `save`; nothing when the policy does not export them.
    fn save(&mut self) -> Result<Option<Saved>, Fault>;

    /// `restore`; refuses when the policy does not export it.
    fn restore(&mut self, saved: &Saved) -> Result<Result<(), String>, Fault>;

    /// Bytes of linear memory in use.
    fn memory_bytes(&self) -> usize;

    /// How many instructions it has executed so far; none unless the engine [counts them](crate::Engine::metered).
    fn instructions(&self) -> Option<u64>;
}

/// The lane that an instance runs in. What requests wait for is called by a branch: a call through a vtable has to be
/// guessed anew after what a request does in between. Everything else is called as a [`Lane`].
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and there are few")]
pub(crate) enum AnyLane {
    Fast(FastLane),
    Portable(Box<PortableLane>),
}

impl AnyLane {
    #[inline]
    pub(crate) fn pick(&mut self, now: u64, hash: u64, request: &mut RequestHead) -> Result<u32, Fault> {
        match self {
            Self::Fast(lane) => lane.pick(now, hash, request),
            Self::Portable(lane) => lane.pick(now, hash, request),
        }
    }

    #[inline]
    pub(crate) fn on_result(&mut self, now: u64, result: &AttemptResult) -> Result<(), Fault> {
        match self {
            Self::Fast(lane) => lane.on_result(now, result),
            Self::Portable(lane) => lane.on_result(now, result),
        }
    }
}

impl Deref for AnyLane {
    type Target = dyn Lane;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Fast(lane) => lane,
            Self::Portable(lane) => &**lane,
        }
    }
}

impl DerefMut for AnyLane {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Fast(lane) => lane,
            Self::Portable(lane) => &mut **lane,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ByHand, Stage};

    const TRIED: &str = r#"(import "sluicegate:policy/request@0.1.0" "tried" (func $tried (param i32) (result i32)))"#;
    const LOG: &str = r#"(import "sluicegate:policy/host@0.1.0" "log" (func $log (param i32 i32 i32)))"#;

    #[test]
    fn where_a_request_has_been_can_be_asked_in_every_pick_and_only_there() {
        let asks = |configure| {
            let by_hand = ByHand { configure, pick: "(call $tried (i32.const 0))", ..ByHand::default() };
            [ByHand { imports: TRIED, ..by_hand }.module(), by_hand.component()]
        };
        let stage = Stage::new(3);
        for (plugin, kind) in asks("").into_iter().zip(["fast", "portable"]) {
            let mut instance = stage.instance(1, &plugin);
            assert_eq!(instance.generation.spec.artifact.lane().label(), kind);
            let mut request = RequestHead::default();
            assert_eq!(instance.lane.pick(0, 0, &mut request).unwrap(), u32::MAX, "{kind}");
            request.tried.push(stage.snapshot.endpoints()[2].id);
            assert_eq!(instance.lane.pick(0, 0, &mut request).unwrap(), 2, "{kind}");
        }
        for plugin in asks("(drop (call $tried (i32.const 0)))") {
            let refusal = stage.try_instance(1, &plugin).err().unwrap().to_string();
            assert!(refusal.contains("during `pick` only"), "{refusal}");
        }
    }

    #[test]
    fn memory_that_a_policy_did_not_get_does_not_count() {
        // Its own maximum is one page more than it has.
        let grows = ByHand { pick: "(memory.grow (i32.const 9))", ..ByHand::default() };
        let stage = Stage::new(1);
        let mut instance = stage.instance(1, &grows.module());
        for _ in 0..1000 {
            assert_eq!(instance.lane.pick(0, 0, &mut RequestHead::default()).unwrap(), u32::MAX);
        }
        assert_eq!(instance.lane.memory_bytes(), 2 << 16);
    }

    #[test]
    fn last_words_are_those_of_the_call_that_ends() {
        const SPEAKS: &str = "(call $log (i32.const 0) (i32.const 32) (i32.const 9))";
        let stage = Stage::new(1);
        for (before, spoke) in [("(i32.lt_u (global.get $turn) (i32.const 3))", false), ("(i32.const 1)", true)] {
            let pick = format!(
                "(if {before} (then {SPEAKS})) (if (i32.eq (global.get $turn) (i32.const 3)) (then unreachable)) i32.const 0"
            );
            let mut instance = stage.instance(1, &ByHand { imports: LOG, pick: &pick, ..ByHand::default() }.module());
            let mut ask = || instance.lane.pick(0, 0, &mut RequestHead::default());
            assert!(ask().is_ok() && ask().is_ok());
            let fault = ask().unwrap_err().to_string();
            assert_eq!(fault.contains("last words: no thanks"), spoke, "{fault}");
        }
    }
}
