//! What a supervisor says of itself and of what it did.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sluicegate_core::CanarySpec;

use crate::{Artifact, Change, Generation, Rehearsal, Tally};

/// A plugin's code.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(super) artifact: Arc<Artifact>,
    /// What it took to compile it, or to read it from the cache.
    pub(super) time: Duration,
}

/// A swap that took place.
#[derive(Clone, Debug)]
pub struct Swapped {
    /// The generation that serves now; of a trial, the candidate.
    pub generation: u64,
    /// Whether there was nothing to do: the same code and configuration serve already.
    pub unchanged: bool,
    /// Whether the state of the predecessor was carried over: none when there was none to carry, an error when a
    /// worker's instance refused it and started fresh.
    pub carried: Option<Result<(), String>>,
    /// What the rehearsal has shown.
    pub rehearsal: Option<Rehearsal>,
    /// Whether the code came from the cache.
    pub cached: bool,
    /// To compile it, or to read it from the cache.
    pub load_time: Duration,
    /// From the call to the last worker's switch.
    pub total_time: Duration,
}

/// What is known of a cluster's policy at one moment.
#[derive(Clone, Debug, Default)]
pub struct SupervisorStatus {
    /// The generation that serves; none when the native fallback does.
    pub active: Option<Arc<Generation>>,
    /// Generations that can be gone back to, the latest last.
    pub kept: Vec<Arc<Generation>>,
    /// Faults of the active generation within the window.
    pub recent_faults: usize,
    /// The last fault of a policy that served, whenever that was.
    pub last_fault: Option<String>,
    /// Why the last change was refused; none when the last change was not.
    pub last_refusal: Option<String>,
    /// The candidate on trial.
    pub trial: Option<TrialStatus>,
    /// The latest changes, the last one last.
    pub history: Arc<VecDeque<Change>>,
}

impl SupervisorStatus {
    /// The change by which the active generation came to serve.
    pub fn serving_since(&self) -> Option<&Change> {
        self.history.iter().rev().find(|change| change.event.changes_who_serves())
    }
}

/// What is known of a candidate on trial.
#[derive(Clone, Debug)]
pub struct TrialStatus {
    /// The candidate.
    pub generation: Arc<Generation>,
    /// Since when.
    pub since: SystemTime,
    /// The share of the requests that it is asked for now.
    pub share: f64,
    /// Of a canary: its plan, and which of the steps it is in, from 0.
    pub canary: Option<(CanarySpec, usize)>,
    /// What all workers have counted, as of a second ago at most.
    pub tally: Tally,
    /// Workers where it has no instance right now are not counted.
    pub faults: u64,
}
