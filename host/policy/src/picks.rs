//! The last picks, for an operator who looks at them. While nobody does, nothing is recorded.

use std::{collections::VecDeque, sync::Arc};

use http::StatusCode;

/// How many picks a worker keeps: the last ones are what an operator wants to see.
const KEPT: usize = 64;

/// How long recording goes on after somebody has looked.
pub const LOOKED_AT_NS: u64 = 30_000_000_000;

/// A pick, as it is shown.
#[derive(Clone, Debug)]
pub struct SeenPick {
    /// When it was done, on the data path's clock.
    pub at: u64,
    /// The worker that asked.
    pub worker: u32,
    /// The generation that answered; 0 when the native fallback did.
    pub generation: u64,
    /// Whether the canary's candidate was asked in place of the policy.
    pub candidate: bool,
    /// How many endpoints the request had been to.
    pub attempt: u32,
    /// Of what the route is keyed by; 0 when it is not.
    pub hash: u64,
    /// The endpoint's name; none when there is none: the request was rejected, or has been everywhere.
    pub endpoint: Option<Arc<str>>,
    /// The status of the rejection.
    pub rejected: Option<StatusCode>,
    /// What it took, in nanoseconds.
    pub cost_ns: u64,
    /// Why, in the policy's words.
    pub explanation: Option<String>,
}

/// Keeps the last picks of a seat, for a while.
#[derive(Debug)]
pub(crate) struct Recorder {
    until: u64,
    picks: VecDeque<SeenPick>,
}

impl Recorder {
    pub(crate) fn new(now: u64) -> Self {
        Self { until: now.saturating_add(LOOKED_AT_NS), picks: VecDeque::with_capacity(KEPT) }
    }

    /// Somebody looks again.
    pub(crate) fn look(&mut self, now: u64) -> Vec<SeenPick> {
        self.until = now.saturating_add(LOOKED_AT_NS);
        self.picks.iter().cloned().collect()
    }

    /// Takes a pick in; whether it goes on.
    pub(crate) fn record(&mut self, pick: SeenPick) -> bool {
        let goes_on = pick.at <= self.until;
        if self.picks.len() == KEPT {
            self.picks.pop_front();
        }
        self.picks.push_back(pick);
        goes_on
    }
}
