//! How much stays in a zone, and where the rest goes.

use sluicegate_sdk::Rng;

/// What a zone has of the whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// Of the proxies.
    pub(crate) proxies: u64,
    /// Of the endpoints, by weight.
    pub(crate) endpoints: u64,
}

/// Whole requests, in shares.
const ALL: u64 = 10_000;

/// What is to be done with a request of the first zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spill {
    /// So many of ten thousand requests stay.
    stay: u64,
    /// The others: a running sum over the zones of what each can spare.
    spare: Vec<u64>,
}

impl Spill {
    /// The first zone is the proxy's own.
    pub(crate) fn new(zones: &[Shares]) -> Self {
        let proxies: u64 = zones.iter().map(|zone| zone.proxies).sum();
        let endpoints: u64 = zones.iter().map(|zone| zone.endpoints).sum();
        let percentages =
            |zone: &Shares| (ALL * zone.proxies / proxies.max(1), ALL * zone.endpoints / endpoints.max(1));
        let Some((arrive, bear)) = zones.first().map(percentages) else { return Self::default() };
        if bear > 0 && bear >= arrive {
            return Self { stay: ALL, spare: Vec::new() };
        }
        let mut sum = 0;
        let spare = zones.iter().map(percentages).map(|(arrive, bear)| {
            sum += bear.saturating_sub(arrive);
            sum
        });
        // A zone so small that its share of the proxies is rounded away keeps what it can bear, which is nothing.
        Self { stay: (bear * ALL).checked_div(arrive).unwrap_or(0), spare: spare.collect() }
    }

    /// The zone of a request; none when nobody can spare anything, which happens when rounding takes it away, and when
    /// zones do not matter.
    #[inline]
    pub(crate) fn zone(&self, rng: &mut Rng) -> Option<usize> {
        if self.stay == ALL {
            return Some(0);
        }
        if u64::from(rng.below(ALL as u32)) < self.stay {
            return Some(0);
        }
        let all = *self.spare.last()?;
        let drawn = u64::from(rng.below(all as u32));
        self.spare.iter().position(|sum| drawn < *sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Rng, *};

    fn spill(zones: &[(u64, u64)]) -> (u64, Vec<u64>) {
        let shares: Vec<Shares> =
            zones.iter().map(|(proxies, endpoints)| Shares { proxies: *proxies, endpoints: *endpoints }).collect();
        let Spill { stay, spare } = Spill::new(&shares);
        (stay, spare)
    }

    #[test]
    fn published_examples() {
        // From the comments in Envoy's source: with 20% of the proxies and 10% of the endpoints, half can stay.
        assert_eq!(spill(&[(20, 10), (40, 45), (40, 45)]).0, 5000);
        // Proxies 40, 40, 20 and endpoints 25, 50, 25: what is left over is 0, 10 and 5.
        assert_eq!(spill(&[(40, 25), (40, 50), (20, 25)]), (6250, vec![0, 1000, 1500]));
        // As many endpoints as proxies, or more: all stay.
        assert_eq!(spill(&[(1, 1), (1, 1)]).0, 10_000);
        assert_eq!(spill(&[(1, 3), (1, 1)]).0, 10_000);
    }

    #[test]
    fn a_zone_without_endpoints_keeps_nothing() {
        assert_eq!(spill(&[(1, 0), (1, 1), (1, 3)]), (0, vec![0, 0, 4167]));
        assert_eq!(spill(&[]), (0, vec![]));
        assert_eq!(Spill::default().zone(&mut Rng::new(1)), None);
    }

    #[test]
    fn proxies_where_no_endpoints_are_count() {
        assert_eq!(spill(&[(2, 1), (1, 1)]).0, 7500);
        assert_eq!(spill(&[(2, 1), (1, 1), (1, 0)]).0, 10_000, "half of the proxies, half of the endpoints");
    }

    proptest! {
        /// When each zone does so with the requests of its proxies, all endpoints get the same.
        #[test]
        fn everybody_gets_the_same_in_the_end(
            zones in proptest::collection::vec((1_u64..50, 1_u64..50), 2..5),
        ) {
            let proxies: u64 = zones.iter().map(|zone| zone.0).sum();
            let endpoints: u64 = zones.iter().map(|zone| zone.1).sum();
            let mut got = vec![0.0; zones.len()];
            for own in 0..zones.len() {
                let mut order = zones.clone();
                order.swap(0, own);
                let (stay, spare) = spill(&order);
                let (arrive, stay) = (order[0].0 as f64 / proxies as f64, stay as f64 / 10_000.0);
                got[own] += arrive * stay;
                let all = spare.last().copied().unwrap_or(0) as f64;
                let mut before = 0;
                for (place, sum) in spare.iter().enumerate() {
                    let zone = if place == 0 { own } else if place == own { 0 } else { place };
                    got[zone] += arrive * (1.0 - stay) * (*sum - before) as f64 / all.max(1.0);
                    before = *sum;
                }
            }
            for (got, zone) in got.iter().zip(&zones) {
                let due = zone.1 as f64 / endpoints as f64;
                prop_assert!((got - due).abs() < 0.005, "{} for {}", got, due);
            }
        }
    }
}
