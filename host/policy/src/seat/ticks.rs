//! A seat whose policies want to be called from time to time.

use std::{future::pending, time::Duration};

use tokio::time::sleep;

use super::Seat;

/// A tick comes no sooner than this after the one before: more often would be a loop that the worker serves nobody in.
const LEAST_TICK: u64 = 1_000_000;

impl Seat {
    /// Calls the policy because it is time to, and a candidate beside it.
    pub(super) fn tick(&mut self) {
        self.tick_seated();
        self.tell_candidate(Self::tick_seated);
    }

    fn tick_seated(&mut self) {
        let now = self.clock.now();
        if now < self.tick_at {
            return;
        }
        self.tick_at = u64::MAX;
        let Some(occupant) = &mut self.occupant else { return };
        let answer = occupant.lane.tick(now);
        let done = self.clock.now();
        if let Some(tick) = self.metrics.as_ref().and_then(|metrics| metrics.tick.as_ref()) {
            tick.record(done.saturating_sub(now).saturating_sub(self.clock.overhead_ns()));
        }
        self.settle();
        match answer {
            Ok(0) => {}
            // From its end on: ticks that take as long as they may would else follow upon each other.
            Ok(after) => self.tick_at = done.saturating_add(after.max(LEAST_TICK)),
            Err(fault) => self.fault(fault),
        }
    }

    /// How long it is until the next tick; for ever when there is none.
    pub(super) fn until_tick(&self) -> Option<Duration> {
        let next = self.next_tick();
        (next != u64::MAX).then(|| Duration::from_nanos(next.saturating_sub(self.clock.now())))
    }

    /// When the policies want to be called next.
    fn next_tick(&self) -> u64 {
        self.trial.as_ref().map_or(self.tick_at, |trial| trial.tick_at.min(self.tick_at))
    }
}

/// Until then; for ever when there is no such time.
pub(super) async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}
