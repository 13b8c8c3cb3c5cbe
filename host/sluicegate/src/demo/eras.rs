//! What came of each policy: the requests that were due while it picked, and what its picks cost.

use std::sync::Arc;

use sluicegate_core::{Histogram, HistogramSnapshot};

/// Eras that are remembered. Only a policy's author, building again and again, makes that many.
const MAX_ERAS: usize = 16;

/// The time, or all the times, that one policy served.
#[derive(Clone, Debug)]
pub(super) struct Era {
    /// The policy.
    pub(super) label: String,
    /// What clients waited, in nanoseconds.
    pub(super) latency: Arc<Histogram>,
    /// What picks took in the generation that serves, or served last.
    latest_picks: HistogramSnapshot,
    /// The same, in the generations before.
    former_picks: HistogramSnapshot,
}

impl Era {
    fn new(label: String) -> Self {
        let nothing = HistogramSnapshot::default();
        Self { label, latency: Arc::default(), latest_picks: nothing.clone(), former_picks: nothing }
    }

    /// What all picks took, in nanoseconds.
    pub(super) fn picks(&self) -> HistogramSnapshot {
        let mut picks = self.former_picks.clone();
        picks.merge(&self.latest_picks);
        picks
    }
}

/// All eras, in the order in which they first began.
#[derive(Debug, Default)]
pub(super) struct Eras {
    eras: Vec<Era>,
    current: usize,
}

impl Eras {
    /// Begins an era, or continues the earlier one of this label, and returns where its requests are counted.
    pub(super) fn enter(&mut self, label: &str) -> Arc<Histogram> {
        self.current = match self.eras.iter().position(|era| era.label == label) {
            Some(known) => known,
            None => {
                if self.eras.len() == MAX_ERAS {
                    self.eras.remove(0);
                }
                self.eras.push(Era::new(label.to_owned()));
                self.eras.len() - 1
            }
        };
        let era = &mut self.eras[self.current];
        // A new generation counts its picks from 0.
        let latest = std::mem::take(&mut era.latest_picks);
        era.former_picks.merge(&latest);
        Arc::clone(&era.latency)
    }

    /// Takes in what the picks of the generation that serves took so far.
    pub(super) fn set_picks(&mut self, picks: HistogramSnapshot) {
        if let Some(era) = self.eras.get_mut(self.current) {
            era.latest_picks = picks;
        }
    }

    /// The era that goes on.
    pub(super) fn current(&self) -> Option<&Era> {
        self.eras.get(self.current)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Era] {
        &self.eras
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_goes_on_where_it_ended() {
        let picks = |count: u64| {
            let histogram = Histogram::default();
            (0..count).for_each(|_| histogram.record(300));
            histogram.snapshot()
        };
        let mut eras = Eras::default();
        let first = eras.enter("round-robin");
        eras.set_picks(picks(1));
        eras.set_picks(picks(2));
        eras.enter("p2c");
        eras.set_picks(picks(10));
        assert!(Arc::ptr_eq(&first, &eras.enter("round-robin")));
        eras.set_picks(picks(3));
        let counts: Vec<_> = eras.all().iter().map(|era| (era.label.as_str(), era.picks().count())).collect();
        assert_eq!(counts, [("round-robin", 5), ("p2c", 10)]);
    }
}
