//! The native fallback: what serves a request when the policy can't.

use sluicegate_core::{ClusterSnapshot, EndpointId, Rng};

/// The better of two random endpoints by load, in native code (Mitzenmacher, "The power of two choices in
/// randomized load balancing", IEEE TPDS 2001): needs no state, and sheds load from slow endpoints by itself.
#[derive(Debug)]
pub(crate) struct Fallback {
    rng: Rng,
}

impl Fallback {
    /// A fallback that draws from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed) }
    }

    /// An endpoint that was not tried yet; none when there is none left.
    pub(crate) fn pick(&mut self, snapshot: &ClusterSnapshot, tried: &[EndpointId]) -> Option<u32> {
        let endpoints = snapshot.endpoints();
        let count = u32::try_from(endpoints.len()).ok().filter(|count| *count > 0)?;
        let first = self.untried_from(snapshot, tried, count)?;
        let second = self.untried_from(snapshot, tried, count)?;
        let load = |index: u32| {
            let endpoint = &endpoints[index as usize];
            (u64::from(endpoint.live.in_flight()) + 1, u64::from(endpoint.spec.weight))
        };
        let ((load_1, weight_1), (load_2, weight_2)) = (load(first), load(second));
        Some(if load_2 * weight_1 < load_1 * weight_2 { second } else { first })
    }

    /// A random endpoint, or the next one after it that was not tried.
    fn untried_from(&mut self, snapshot: &ClusterSnapshot, tried: &[EndpointId], count: u32) -> Option<u32> {
        let start = self.rng.below(count);
        (start..count).chain(0..start).find(|index| !tried.contains(&snapshot.endpoints()[*index as usize].id))
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_core::{EndpointSpec, InFlight, LiveArena};

    use super::*;

    fn snapshot(count: u16) -> ClusterSnapshot {
        let specs: Vec<_> = (1..=count).map(|port| EndpointSpec::new(([127, 0, 0, 1], port).into())).collect();
        ClusterSnapshot::empty("test").next(&specs, &mut LiveArena::default(), 0)
    }

    #[test]
    fn visits_everybody_before_it_gives_up() {
        let (snapshot, mut fallback, mut tried) = (snapshot(10), Fallback::new(7), Vec::new());
        while let Some(index) = fallback.pick(&snapshot, &tried) {
            tried.push(snapshot.get(index).unwrap().id);
        }
        assert_eq!(tried.len(), 10);
        assert_eq!(fallback.pick(&ClusterSnapshot::empty("nobody"), &[]), None);
    }

    #[test]
    fn avoids_a_loaded_endpoint() {
        let (snapshot, mut fallback) = (snapshot(4), Fallback::new(7));
        let _load: Vec<_> = (0..50).map(|_| InFlight::begin(snapshot.get(2).unwrap().live.clone())).collect();
        let picks = (0..1000).filter(|_| fallback.pick(&snapshot, &[]) == Some(2)).count();
        assert!(picks < 150, "only a draw of the same endpoint twice picks it: {picks}");
    }
}
