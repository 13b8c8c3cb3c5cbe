//! What became of a cluster's policy, and why.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{Digest, Generation};

/// How many changes are remembered: a few weeks of a busy team, and nothing in memory.
const REMEMBERED: usize = 100;

/// Why a policy is to change, and when that was asked for. The wall clock's time is passed in, as this crate does not
/// look at it.
#[derive(Clone, Debug)]
pub struct Cause {
    /// In words, such as "its file changed".
    pub why: Arc<str>,
    /// Now, for people.
    pub at: SystemTime,
}

/// What kind of change it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new generation serves.
    Swapped,
    /// A former generation serves again; or, after faults, nobody but the native fallback.
    RolledBack,
    /// A candidate is asked beside the active policy.
    ShadowStarted,
    /// It is not asked any more.
    ShadowEnded,
    /// A candidate answers for a share of the requests.
    CanaryStarted,
    /// For a larger share.
    CanaryAdvanced,
    /// For none any more.
    CanaryRolledBack,
    /// A candidate serves all requests.
    Promoted,
}

impl Event {
    /// A short, stable name for metrics and programs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Swapped => "swapped",
            Self::RolledBack => "rolled_back",
            Self::ShadowStarted => "shadow_started",
            Self::ShadowEnded => "shadow_ended",
            Self::CanaryStarted => "canary_started",
            Self::CanaryAdvanced => "canary_advanced",
            Self::CanaryRolledBack => "canary_rolled_back",
            Self::Promoted => "promoted",
        }
    }

    /// Whether another generation serves all requests from then on.
    pub fn changes_who_serves(self) -> bool {
        matches!(self, Self::Swapped | Self::RolledBack | Self::Promoted)
    }
}

/// How long the steps of a change took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// To compile the policy, or to read it from the cache; none when its code was there.
    pub load: Duration,
    /// To rehearse it, and to make an instance for each worker.
    pub rehearse: Duration,
    /// From the last worker's instance being ready to the last worker's switch.
    pub switch: Duration,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub event: Event,
    /// Why, in words.
    pub why: Arc<str>,
    /// When.
    pub at: SystemTime,
    /// The generation that it is about: the one that serves now, or the candidate; 0 for the native fallback.
    pub generation: u64,
    /// Its policy's name.
    pub policy: Arc<str>,
    /// Of its file.
    pub digest: Option<Digest>,
    /// Whether it was given its predecessor's state: none when there was none, an error when it refused it.
    pub carried: Option<Result<(), String>>,
    /// How long it took.
    pub times: Times,
}

impl Change {
    pub(crate) fn new(event: Event, cause: &Cause, of: Option<&Generation>) -> Self {
        Self {
            event,
            why: Arc::clone(&cause.why),
            at: cause.at,
            generation: of.map_or(0, |of| of.number),
            policy: of.map_or_else(|| "(native fallback)".into(), |of| Arc::clone(&of.spec.policy)),
            digest: of.map(|of| of.spec.artifact.digest),
            carried: None,
            times: Times::default(),
        }
    }
}

/// The latest changes, the last one last.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<VecDeque<Change>>);

impl History {
    pub(crate) fn add(&mut self, change: Change) {
        let changes = Arc::make_mut(&mut self.0);
        if changes.len() == REMEMBERED {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    pub(crate) fn changes(&self) -> &Arc<VecDeque<Change>> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_changes_are_remembered() {
        let mut history = History::default();
        for number in 0..250_u64 {
            let cause = Cause { why: number.to_string().into(), at: SystemTime::UNIX_EPOCH };
            history.add(Change::new(Event::Swapped, &cause, None));
        }
        assert_eq!(history.changes().len(), REMEMBERED);
        assert_eq!(&*history.changes().back().unwrap().why, "249");
        assert_eq!(&*history.changes().front().unwrap().why, "150");
    }
}
