//! Whether the candidate is slower, by quantiles with confidence bounds.

use super::{CanaryFinding, CanarySpec};
use crate::HistogramSnapshot;

/// What most requests see, and what the slow ones do. Further out, a candidate with a small share would have to wait for
/// very long.
const QUANTILES: [f64; 2] = [0.5, 0.95];

/// The first look, and how much larger each next one's sample is: there are few looks, so that each may be decisive.
const FIRST_LOOK: u64 = 50;
const GROWTH: f64 = 1.5;

/// Compares a lower bound of the candidate's quantile with an upper bound of the other's. The bounds are order statistics,
/// so nothing is assumed of how latencies are spread, and long tails do no harm; how far out they lie is Chernoff's bound
/// on a binomial tail (Hoeffding, "Probability inequalities for sums of bounded random variables", 1963, theorem 1), which
/// holds for samples of any size. The k-th look spends `alpha / (k (k + 1))` of the error probability, all looks together
/// `alpha`. Within a step both sides see the same times of the day; samples of different steps are never mixed, because
/// their shares differ.
#[derive(Clone, Debug)]
pub(super) struct LatencyTest {
    alpha: f64,
    looks: u32,
    next_look: u64,
}

impl LatencyTest {
    pub(super) fn new(alpha: f64) -> Self {
        Self { alpha, looks: 0, next_look: FIRST_LOOK }
    }

    pub(super) fn look(
        &mut self,
        spec: &CanarySpec,
        active: &HistogramSnapshot,
        candidate: &HistogramSnapshot,
    ) -> Option<CanaryFinding> {
        let count = candidate.count();
        if count < self.next_look {
            return None;
        }
        self.next_look = (count as f64 * GROWTH).ceil() as u64;
        self.looks += 1;
        let look = f64::from(self.looks);
        let alpha = self.alpha / (look * (look + 1.0)) / (2 * QUANTILES.len()) as f64;
        QUANTILES.into_iter().find_map(|quantile| {
            let (candidate_ns, _) = candidate.quantile_bounds(rank(quantile, count, alpha, 0.0)?);
            let (_, active_ns) = active.quantile_bounds(rank(quantile, active.count(), alpha, 1.0)?);
            let limit = active_ns as f64 * spec.max_latency_ratio.max(1.0);
            let is_slower =
                candidate_ns as f64 > limit && candidate_ns.saturating_sub(active_ns) >= spec.min_latency_increase_ns;
            is_slower.then_some(CanaryFinding::Latency { quantile, candidate_ns, active_ns })
        })
    }

    pub(super) fn next_step(&mut self) {
        self.next_look = FIRST_LOOK;
    }
}

/// The rank, as a share, from `quantile` towards `end` (0 or 1), beyond which the true quantile lies with a probability
/// of at most `alpha`; none when there are too few values to say.
fn rank(quantile: f64, count: u64, alpha: f64, end: f64) -> Option<f64> {
    let needed = -alpha.ln() / (count as f64).max(1.0);
    if divergence(end, quantile) < needed {
        return None;
    }
    // The divergence grows monotonically from the quantile to the end.
    let (mut near, mut far) = (quantile, end);
    for _ in 0..40 {
        let middle = f64::midpoint(near, far);
        if divergence(middle, quantile) < needed { near = middle } else { far = middle }
    }
    Some(far)
}

/// Kullback and Leibler's, of two coins.
fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p == 0.0 { 0.0 } else { p * (p / q).ln() };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_close_in_on_the_quantile() {
        assert_eq!(rank(0.5, 0, 0.01, 0.0), None);
        assert_eq!(rank(0.95, 50, 0.001, 1.0), None, "the largest of 50 may well be below the 95th percentile");
        let mut before = 0.0;
        for count in [100, 1000, 10_000, 1_000_000] {
            let (low, high) = (rank(0.5, count, 0.001, 0.0).unwrap(), rank(0.5, count, 0.001, 1.0).unwrap());
            assert!(before < low && low < 0.5 && (low + high - 1.0).abs() < 1e-6, "{count}: {low} {high}");
            before = low;
        }
        assert!(before > 0.498);
    }
}
