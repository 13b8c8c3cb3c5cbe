//! Whether the candidate fails more often, by a test that may be looked at all the time.

/// Fewer failures than this are no reason to act, as failures come in clumps: one endpoint that restarts is a few.
const MIN_FAILURES: u64 = 5;

/// How many times as often as is tolerated a candidate may fail: the evidence is an average over these.
const ALTERNATIVES: [f64; 5] = [1.5, 2.0, 4.0, 16.0, 64.0];

/// Each failure is a coin: which side was it? With a share `w` of the requests drawn at random for the candidate, which
/// fails at most `r` times as often, it is the candidate's with a probability of at most `q = rw / (rw + 1 - w)`, whatever
/// the error rate itself does meanwhile: an outage that hits both sides says nothing. Against that stands an average of
/// likelihood ratios, which is a supermartingale as long as it is true, so that it *ever* exceeds `1/alpha` with a
/// probability of at most `alpha` (Ville's inequality). See Lindon and Malek, "Anytime-valid inference for multinomial
/// count data", NeurIPS 2022, and Robbins, "Statistical methods related to the law of the iterated logarithm", 1970.
#[derive(Clone, Debug)]
pub(super) struct ErrorTest {
    ratio: f64,
    /// The logarithm of what the evidence has to exceed.
    enough: f64,
    /// The logarithms of the likelihood ratios, one for each alternative.
    evidence: [f64; ALTERNATIVES.len()],
    /// What was taken in of this step: failures of the active side, and of the candidate's.
    seen: (u64, u64),
    /// Of the candidate, in all steps.
    failures: u64,
}

impl ErrorTest {
    pub(super) fn new(ratio: f64, alpha: f64) -> Self {
        Self { ratio, enough: -alpha.ln(), evidence: [0.0; ALTERNATIVES.len()], seen: (0, 0), failures: 0 }
    }

    /// Takes in the failures of this step so far. `share`: of the requests that were drawn for the candidate.
    pub(super) fn take_in(&mut self, share: f64, active: u64, candidate: u64) {
        let (of_active, of_candidate) =
            (active.saturating_sub(self.seen.0) as f64, candidate.saturating_sub(self.seen.1) as f64);
        self.failures += candidate.saturating_sub(self.seen.1);
        self.seen = (active, candidate);
        if !(share > 0.0 && share < 1.0) {
            return;
        }
        let mine = |ratio: f64| ratio * share / (ratio * share + 1.0 - share);
        let tolerated = mine(self.ratio);
        for (evidence, times) in self.evidence.iter_mut().zip(ALTERNATIVES) {
            let assumed = mine(self.ratio * times);
            *evidence += of_candidate * (assumed / tolerated).ln();
            *evidence += of_active * ((1.0 - assumed) / (1.0 - tolerated)).ln();
        }
    }

    pub(super) fn is_worse(&self) -> bool {
        let largest = self.evidence.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.evidence.iter().map(|evidence| (evidence - largest).exp()).sum();
        let average = largest + (sum / ALTERNATIVES.len() as f64).ln();
        self.failures >= MIN_FAILURES && average >= self.enough
    }

    /// Counts begin at zero again; the evidence stays.
    pub(super) fn next_step(&mut self) {
        self.seen = (0, 0);
    }
}
