//! Two reports, side by side. A difference counts only if it is larger than the noise that was measured in both.

use super::{data::Better, render::Parts};
use crate::stats::{Estimate, median, ratio};

/// Differences this small are nobody's concern, however sure they are.
const SMALLEST: f64 = 0.05;

/// What became of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Worse,
    Better,
    /// It differs, which is neither good nor bad.
    Different,
    /// Not more than the noise.
    Same,
}

/// A measure that both have.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) scenario: String,
    pub(crate) measure: String,
    pub(crate) unit: String,
    pub(crate) old: f64,
    pub(crate) new: f64,
    /// New to old, with its interval.
    pub(crate) ratio: Estimate,
    pub(crate) verdict: Verdict,
}

/// All that both have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) changes: Vec<Change>,
    /// Reasons to doubt it.
    pub(crate) caveats: Vec<String>,
}

impl Comparison {
    pub(crate) fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.verdict == verdict)
    }
}

/// The new one against the old one.
pub(crate) fn compare(new: &Parts, old: &Parts) -> Comparison {
    let mut comparison = Comparison::default();
    for (scenario, kept) in &new.0 {
        let Some(before) = old.0.get(scenario) else { continue };
        if before.fingerprint.quick != kept.fingerprint.quick {
            comparison
                .caveats
                .push(format!("{scenario}: one was quick and the other was not; times differ by that alone"));
        }
        for (name, measure) in &kept.findings.measures {
            let Some(measure_before) = before.findings.measures.get(name) else { continue };
            let Some(ratio) = ratio(&measure.values, &measure_before.values) else { continue };
            let few = measure.values.len().min(measure_before.values.len()) < 3;
            comparison.changes.push(Change {
                scenario: scenario.clone(),
                measure: name.clone(),
                unit: measure.unit.clone(),
                old: median(&measure_before.values),
                new: median(&measure.values),
                ratio,
                // What was measured once or twice shows no noise, which does not mean that there is none.
                verdict: if few { Verdict::Same } else { verdict(&ratio, measure.better) },
            });
        }
    }
    calm(&mut comparison.changes);
    comparison.changes.sort_by(|a, b| {
        let size = |change: &Change| change.ratio.median.ln().abs();
        a.verdict.cmp(&b.verdict).then(size(b).total_cmp(&size(a)))
    });
    comparison
}

/// Repetitions within a run are more alike than runs are. How far apart the measures of a scenario lie from one run to
/// the other shows that noise: what does not stand out from it, by three robust standard deviations (1.4826 times the
/// median absolute deviation), is none of its own.
fn calm(changes: &mut [Change]) {
    for of_scenario in changes.chunk_by_mut(|a, b| a.scenario == b.scenario) {
        let logs: Vec<_> = of_scenario.iter().map(|c| c.ratio.median.ln()).filter(|log| log.is_finite()).collect();
        let middle = median(&logs);
        let apart: Vec<_> = logs.iter().map(|log| (log - middle).abs()).collect();
        let limit = 3.0 * 1.4826 * median(&apart);
        for change in of_scenario {
            if change.ratio.median.ln().abs() <= limit {
                change.verdict = Verdict::Same;
            }
        }
    }
}

fn verdict(ratio: &Estimate, better: Better) -> Verdict {
    let (more, less) = (ratio.low > 1.0 + SMALLEST, ratio.high < 1.0 - SMALLEST);
    match (more, less, better) {
        (false, false, _) => Verdict::Same,
        (_, _, Better::Neither) => Verdict::Different,
        (true, _, Better::Lower) | (_, true, Better::Higher) => Verdict::Worse,
        _ => Verdict::Better,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::data::*, *};

    fn parts(values: &[f64], better: Better) -> Parts {
        let mut findings = Findings::default();
        values.iter().for_each(|value| findings.add("m", "ms", better, *value));
        let fingerprint =
            Fingerprint { format: FORMAT, binary_sha256: String::new(), guided_sha256: None, quick: false };
        let kept =
            Kept { fingerprint, scenario: "s".into(), finished_unix_s: 0, seconds: 0.0, neighbours: 0.0, findings };
        Parts([("s".to_owned(), kept)].into())
    }

    fn check(old: &[f64], new: &[f64], better: Better, expected: Verdict) {
        let comparison = compare(&parts(new, better), &parts(old, better));
        assert_eq!(comparison.changes[0].verdict, expected, "{old:?} {new:?}");
    }

    #[test]
    fn only_beyond_the_noise() {
        let (calm, twice) = ([10.0, 10.1, 9.9, 10.0, 10.2], [20.0, 20.1, 19.9, 20.0, 20.2]);
        check(&calm, &twice, Better::Lower, Verdict::Worse);
        check(&twice, &calm, Better::Lower, Verdict::Better);
        check(&calm, &twice, Better::Higher, Verdict::Better);
        check(&calm, &twice, Better::Neither, Verdict::Different);
        check(&calm, &calm, Better::Lower, Verdict::Same);
        // A third more, and noise of a half.
        check(&[6.0, 10.0, 15.0, 8.0, 12.0], &[8.0, 13.0, 20.0, 10.0, 16.0], Better::Lower, Verdict::Same);
        // Sure, and tiny.
        check(&[100.0, 100.0, 100.0], &[103.0, 103.0, 103.0], Better::Lower, Verdict::Same);
        // Who knows.
        check(&[10.0], &[20.0], Better::Lower, Verdict::Same);
    }

    #[test]
    fn one_among_many_has_to_stand_out() {
        let many = |factors: &[f64]| {
            let mut parts = parts(&[], Better::Lower);
            let findings = &mut parts.0.get_mut("s").unwrap().findings;
            for (index, factor) in factors.iter().enumerate() {
                for value in [1.0, 1.001, 0.999] {
                    findings.add(format!("m{index}"), "ms", Better::Lower, value * factor);
                }
            }
            parts
        };
        let old = many(&[1.0; 8]);
        let worse = |factors: &[f64]| compare(&many(factors), &old).of(Verdict::Worse).count();
        assert_eq!(worse(&[0.9, 1.1, 0.92, 1.12, 0.95, 1.08, 1.0, 1.13]), 0, "the other run was another moment");
        assert_eq!(worse(&[0.9, 1.1, 0.92, 1.12, 0.95, 1.08, 1.0, 3.0]), 1);
        assert_eq!(worse(&[2.0, 2.1, 1.9, 2.0, 2.0, 2.1, 1.95, 2.0]), 8, "all of it is slower");
    }

    #[test]
    fn what_only_one_has_is_left_out() {
        let comparison = compare(&parts(&[1.0; 3], Better::Lower), &Parts::default());
        assert!(comparison.changes.is_empty());
    }
}
