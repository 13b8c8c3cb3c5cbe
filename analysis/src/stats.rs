//! Order statistics, and how sure one can be of them.

use serde::{Deserialize, Serialize};
use sluicegate_core::Rng;
pub(crate) use sluicegate_policy::measure::quantile;

/// How often a sample is drawn anew for an interval.
const RESAMPLES: usize = 2000;

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let (half, odd) = (values.len() / 2, values.len() % 2 == 1);
    match values.as_slice() {
        [] => f64::NAN,
        all if odd => all[half],
        all => (all[half - 1] + all[half]) / 2.0,
    }
}

/// Of fewer values than these a bootstrap gives the lowest and the highest, whatever confidence is asked for.
pub(crate) const FEW: usize = 6;

/// A median with its 95% confidence interval; of fewer than [`FEW`] values, with the lowest and the highest of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// How many values it is of.
    pub(crate) count: usize,
}

/// By bootstrap (Efron, "Bootstrap methods: another look at the jackknife", 1979): the percentiles 2.5 and 97.5 of the
/// medians of samples drawn from the sample. None without values. The same values give the same interval.
pub(crate) fn estimate(values: &[f64]) -> Option<Estimate> {
    let count = u32::try_from(values.len()).ok().filter(|count| *count > 0)?;
    if values.len() < FEW {
        let (low, high) = range(values);
        return Some(Estimate { median: median(values), low, high, count: values.len() });
    }
    let mut rng = Rng::new(0x5eed);
    let mut drawn = vec![0.0; values.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.iter_mut().for_each(|value| *value = values[rng.below(count) as usize]);
            median(&drawn)
        })
        .collect();
    let (low, high) = (quantile(&mut medians, 0.025), quantile(&mut medians, 0.975));
    Some(Estimate { median: median(values), low, high, count: values.len() })
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// Of the ratios of pairs, each measured one right after the other.
pub(crate) fn paired_ratio(numerators: &[f64], denominators: &[f64]) -> Option<Estimate> {
    let ratios: Vec<_> = numerators.iter().zip(denominators).map(|(a, b)| a / b).collect();
    estimate(&ratios)
}

/// Of the ratio of two medians that have nothing to do with each other: both are drawn anew.
pub(crate) fn ratio(new: &[f64], old: &[f64]) -> Option<Estimate> {
    let (news, olds) = (u32::try_from(new.len()).ok()?, u32::try_from(old.len()).ok()?);
    if news == 0 || olds == 0 || median(old) == 0.0 {
        return None;
    }
    let mut rng = Rng::new(0x5eed);
    let mut draw = |values: &[f64], count: u32| {
        let drawn: Vec<_> = values.iter().map(|_| values[rng.below(count) as usize]).collect();
        median(&drawn)
    };
    let mut ratios: Vec<f64> = (0..RESAMPLES).map(|_| draw(new, news) / draw(old, olds)).collect();
    ratios.retain(|ratio| ratio.is_finite());
    let (low, high) = (quantile(&mut ratios, 0.025), quantile(&mut ratios, 0.975));
    Some(Estimate { median: median(new) / median(old), low, high, count: new.len().min(old.len()) })
}

/// Where a curve begins to rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Knee {
    pub(crate) x: f64,
    /// Slopes of the logarithm of y before and after, by x as a share of its range.
    pub(crate) before: f64,
    pub(crate) after: f64,
}

/// The saturation knee: the continuous line of two straight pieces that is closest, by least squares, to the decimal
/// logarithm of `y` (the "broken stick" of regression: Muggeo, "Estimating regression models with unknown
/// break-points", 2003, here by trying every place). None where the second piece is not at least twice as steep and
/// the bend does not take away half of what a single line leaves unexplained: then nothing saturated.
pub(crate) fn knee(points: &[(f64, f64)]) -> Option<Knee> {
    let mut points: Vec<_> = points.iter().copied().filter(|(x, y)| x.is_finite() && *y > 0.0).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (first, last) = (points.first()?.0, points.last()?.0);
    if points.len() < 5 || last <= first {
        return None;
    }
    let scaled: Vec<_> = points.iter().map(|(x, y)| ((x - first) / (last - first), y.log10())).collect();
    let (straight, _) = fit(&scaled, 2.0);
    // A piece needs two points at least.
    let (from, to) = (scaled[1].0, scaled[scaled.len() - 2].0);
    let places = (0..=200).map(|step| from + (to - from) * f64::from(step) / 200.0);
    let fits = places.map(|place| (place, fit(&scaled, place)));
    let (place, (left, [_, before, bend])) = fits.min_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
    let after = before + bend;
    let is_knee = bend > 0.0 && after > 2.0 * before.max(0.0) && left < straight / 2.0;
    is_knee.then_some(Knee { x: first + place * (last - first), before, after })
}

/// Least squares of `y = a + b x + c max(0, x - place)`: the squares that are left, and the coefficients. A place behind
/// all points makes it a straight line.
fn fit(points: &[(f64, f64)], place: f64) -> (f64, [f64; 3]) {
    let row = |x: f64| [1.0, x, (x - place).max(0.0)];
    let mut system = [[0.0; 4]; 3];
    for (x, y) in points {
        let row = row(*x);
        for (line, factor) in system.iter_mut().zip(row) {
            line.iter_mut().zip([row[0], row[1], row[2], *y]).for_each(|(cell, value)| *cell += factor * value);
        }
    }
    let c = solve(system);
    let error = |(x, y): &(f64, f64)| (row(*x).iter().zip(c).map(|(value, c)| value * c).sum::<f64>() - y).powi(2);
    (points.iter().map(error).sum(), c)
}

/// Gauss's elimination, with zeros for what the equations do not say.
fn solve(mut system: [[f64; 4]; 3]) -> [f64; 3] {
    for column in 0..3 {
        let pivot = (column..3).max_by(|a, b| system[*a][column].abs().total_cmp(&system[*b][column].abs()));
        system.swap(column, pivot.unwrap_or(column));
        if system[column][column].abs() < 1e-12 {
            system[column] = [0.0; 4];
            system[column][column] = 1.0;
        }
        let pivot = system[column];
        for (index, line) in system.iter_mut().enumerate() {
            if index != column {
                let factor = line[column] / pivot[column];
                line.iter_mut().zip(pivot).for_each(|(cell, value)| *cell -= factor * value);
            }
        }
    }
    [0, 1, 2].map(|index| system[index][3] / system[index][index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(quantile(&mut [5.0, 1.0, 3.0], 1.0), 5.0);
    }

    #[test]
    fn an_interval_holds_the_median_and_narrows() {
        let mut rng = Rng::new(1);
        let mut sample = |count: usize| -> Vec<f64> { (0..count).map(|_| 100.0 + f64::from(rng.below(100))).collect() };
        let (few, many) = (estimate(&sample(8)).unwrap(), estimate(&sample(800)).unwrap());
        assert!(many.low <= 149.5 && 149.5 <= many.high, "{many:?}");
        assert!(few.high - few.low > 3.0 * (many.high - many.low), "{few:?} {many:?}");
        assert_eq!(estimate(&[7.0]).unwrap(), Estimate { median: 7.0, low: 7.0, high: 7.0, count: 1 });
        let three = Estimate { median: 2.0, low: 1.0, high: 9.0, count: 3 };
        assert_eq!(estimate(&[9.0, 1.0, 2.0]).unwrap(), three, "the lowest and the highest");
        assert_eq!(estimate(&[]), None);
    }

    /// How often an interval of 95% holds the truth, over many samples.
    #[test]
    fn intervals_are_honest() {
        let mut rng = Rng::new(2);
        let held = (0..200).filter(|_| {
            let sample: Vec<_> = (0..15).map(|_| f64::from(rng.below(1000))).collect();
            estimate(&sample).is_some_and(|estimate| estimate.low <= 500.0 && 500.0 <= estimate.high)
        });
        let held = held.count();
        assert!(held >= 180, "{held} of 200");
    }

    #[test]
    fn pairs_take_away_what_both_suffer_from() {
        let slow = [1.0, 2.0, 5.0, 1.5, 3.0];
        let twice: Vec<_> = slow.iter().map(|value| value * 2.0).collect();
        assert_eq!(paired_ratio(&twice, &slow).unwrap(), Estimate { median: 2.0, low: 2.0, high: 2.0, count: 5 });
        let apart = ratio(&twice, &slow).unwrap();
        assert!(apart.low < 1.0 && apart.high > 2.0, "{apart:?}");
        assert_eq!(ratio(&[1.0], &[]), None);
        assert_eq!(ratio(&[1.0], &[0.0]), None);
    }

    #[test]
    fn a_bend_is_found_where_it_is() {
        let curve = |x: f64| 10_f64.powf(0.1 + 0.2 * x + 4.0 * (x - 0.7).max(0.0));
        let points: Vec<_> = (0..=10).map(|step| f64::from(step) / 10.0).map(|x| (1000.0 * x, curve(x))).collect();
        let knee = knee(&points).unwrap();
        assert!((knee.x - 700.0).abs() < 5.0, "{knee:?}");
        assert!((knee.before - 0.2).abs() < 0.05 && (knee.after - 4.2).abs() < 0.2, "{knee:?}");
    }

    #[test]
    fn a_queue_has_a_knee_and_a_line_has_none() {
        let queue: Vec<_> = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99].map(|x| (x, 1.0 / (1.0 - x))).into();
        let found = knee(&queue).unwrap();
        assert!((0.6..0.95).contains(&found.x), "{found:?}");
        let line: Vec<_> = (0..10).map(|x| (f64::from(x), 10_f64.powf(f64::from(x) * 0.1))).collect();
        assert_eq!(knee(&line), None);
        assert_eq!(knee(&[(1.0, 1.0); 9]), None);
        assert_eq!(knee(&[]), None);
    }
}
