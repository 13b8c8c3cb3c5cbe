//! What becomes of policies that fault.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::Supervisor;
use crate::{
    Cause, Fault, Generation, Refusal, Report,
    history::{Change, Event},
};

/// When a generation has faulted lately, on the data path's clock. It does not grow: enough faults end the generation.
#[derive(Default)]
pub(super) struct RecentFaults(Vec<u64>);

impl RecentFaults {
    /// Takes in a fault, of which one may hear later than of others that came after it. How many there are within the
    /// window that ends with the latest one.
    pub(super) fn add(&mut self, at: u64, window: Duration) -> usize {
        self.0.push(at);
        let latest = self.0.iter().copied().max().unwrap_or(at);
        self.0.retain(|at| is_within(window, *at, latest));
        self.0.len()
    }

    /// How many there are within the window that ends now.
    pub(super) fn count(&self, now: u64, window: Duration) -> usize {
        self.0.iter().filter(|at| is_within(window, **at, now)).count()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// All that are remembered.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn is_within(window: Duration, at: u64, end: u64) -> bool {
    u128::from(end.saturating_sub(at)) <= window.as_nanos()
}

impl Supervisor {
    /// Takes in a fault: rebuilds the instance if it died, or rolls the generation back if it faults too often.
    pub async fn handle(&mut self, report: Report, at: SystemTime) {
        if self.trial.as_ref().is_some_and(|trial| trial.is_of(report.generation)) {
            return self.trial_faulted(&report, at).await;
        }
        let Report { worker, generation, fault, at: faulted_at } = report;
        // It may serve no more: what went wrong when it handed over what it knew is heard of after the swap.
        let known = self.active.iter().chain(&self.kept).find(|known| known.number == generation);
        let Some(faulty) = known.cloned() else { return };
        let policy = &faulty.spec.policy;
        tracing::warn!(cluster = %self.cluster, %policy, generation, worker, label = fault.label(), "policy fault: {fault}");
        self.last_fault = Some(format!("generation {generation}: {fault}"));
        if self.active.as_ref().is_none_or(|active| active.number != generation) {
            return;
        }
        if self.faults.add(faulted_at, self.engine.limits.fault_window) >= self.engine.limits.faults {
            self.quarantine(&faulty, &fault, at).await;
        } else if fault.is_fatal() {
            self.rebuild(&faulty, worker, &fault, at).await;
        }
    }

    async fn rebuild(&mut self, active: &Arc<Generation>, worker: u32, fault: &Fault, at: SystemTime) {
        let made = self.instance(active, worker).await;
        let seat = self.seats.iter().find(|seat| seat.worker() == worker);
        let installed = match (made, seat) {
            (Ok(instance), Some(seat)) => seat.install(instance, false).await.ok(),
            (Err(refusal), _) => {
                tracing::error!(cluster = %self.cluster, worker, %refusal, "the policy could not be rebuilt");
                None
            }
            (_, None) => None,
        };
        if !matches!(installed, Some(Ok(_))) {
            self.quarantine(active, fault, at).await;
        }
    }

    /// Takes the active generation out of service for good, and goes back to the last one that did no wrong.
    async fn quarantine(&mut self, active: &Arc<Generation>, fault: &Fault, at: SystemTime) {
        self.end_trial(&Cause { why: "what it was compared with was quarantined".into(), at }).await;
        self.quarantined = Some((active.spec.artifact.digest, Arc::clone(&active.spec.config)));
        self.active = None;
        self.metrics.ended("rolled_back");
        while let Some(former) = self.kept.pop_back() {
            if let Err(refusal) = self.vet(&former) {
                tracing::error!(cluster = %self.cluster, generation = former.number, %refusal, "not gone back to");
                continue;
            }
            let Ok((instances, _)) = self.prepare(&former, None).await else { continue };
            if self.publish(instances, false).await.is_ok() {
                tracing::error!(
                    cluster = %self.cluster, from = active.number, to = former.number,
                    "policy quarantined for its faults: rolled back"
                );
                self.active = Some(former);
                break;
            }
        }
        if self.active.is_none() {
            self.empty_seats().await;
            tracing::error!(
                cluster = %self.cluster, generation = active.number,
                "policy quarantined for its faults: the native fallback serves until it is replaced"
            );
        }
        let why = format!("faults of generation {}, the last one: {fault}", active.number).into();
        self.history.add(Change::new(Event::RolledBack, &Cause { why, at }, self.active.as_deref()));
        self.last_refusal = Some(Refusal::Quarantined { faults: self.faults.len() }.to_string());
        self.became_active();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn what_counts_is_when_they_happened() {
        let mut faults = RecentFaults::default();
        let counts = [1, 5, 11, 12, 30].map(|second| faults.add(second * S, WINDOW));
        assert_eq!(counts, [1, 2, 3, 3, 1]);
        // One that was heard of late, when it is in the window, and when it is not.
        assert_eq!([25, 12, 31].map(|second| faults.add(second * S, WINDOW)), [2, 2, 3]);
    }

    #[test]
    fn they_are_over_when_the_window_has_passed_them() {
        let mut faults = RecentFaults::default();
        assert_eq!(faults.add(5 * S, WINDOW), 1);
        assert_eq!(faults.add(9 * S, WINDOW), 2);
        assert_eq!([9, 15, 16, 19, 20].map(|second| faults.count(second * S, WINDOW)), [2, 2, 1, 1, 0]);
        faults.clear();
        assert_eq!(faults.count(9 * S, WINDOW), 0);
    }
}
