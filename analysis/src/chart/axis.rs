//! Axes: where a value is, where the lines are, and what they are called.

use std::ops::Range;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    /// Decimal logarithm.
    Log,
    /// Shares of all, as far from 1 as they are: 90%, 99% and 99.9% are at equal distances.
    Percentile,
}

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it shows, with its unit.
    pub(crate) name: String,
    scale: Scale,
    from_zero: bool,
}

impl Axis {
    /// From the least value to the largest.
    pub(crate) fn linear(name: &str) -> Self {
        Self { name: name.to_owned(), scale: Scale::Linear, from_zero: false }
    }

    /// From 0.
    pub(crate) fn from_zero(name: &str) -> Self {
        Self { from_zero: true, ..Self::linear(name) }
    }

    /// By powers of ten.
    pub(crate) fn log(name: &str) -> Self {
        Self { scale: Scale::Log, ..Self::linear(name) }
    }

    /// Percentiles, as shares below 1.
    pub(crate) fn percentile(name: &str) -> Self {
        Self { scale: Scale::Percentile, ..Self::linear(name) }
    }

    pub(super) fn is_log(&self) -> bool {
        self.scale == Scale::Log
    }

    /// None if it is nowhere.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
            Scale::Percentile => -(1.0 - value).log10(),
        };
        place.is_finite().then_some(place)
    }

    /// The places to show, and where its lines are.
    pub(super) fn scale(&self, values: &[f64]) -> (Range<f64>, Vec<f64>) {
        let places: Vec<_> = values.iter().filter_map(|value| self.place(*value)).collect();
        let mut low = places.iter().copied().fold(f64::INFINITY, f64::min);
        let mut high = places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self.scale {
            Scale::Linear => {
                if self.from_zero {
                    (low, high) = (low.min(0.0), high.max(0.0));
                }
                if high <= low {
                    high = low + 1.0;
                }
                let step = nice((high - low) / 6.0);
                (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
                let count = ((high - low) / step).round() as usize;
                (low..high, (0..=count).map(|index| low + step * index as f64).collect())
            }
            Scale::Log => {
                (low, high) = (low - 0.02, high + 0.02);
                // Few decades need lines within them.
                let parts: &[f64] = if high - low > 2.2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let decades = low.floor() as i32 - 1..=high.ceil() as i32;
                let all = decades.flat_map(|decade| parts.iter().map(move |part| f64::from(decade) + part.log10()));
                let mut ticks: Vec<_> = all.collect();
                // The range begins and ends at a line.
                low = ticks.iter().copied().filter(|tick| *tick <= low).fold(low.floor(), f64::max);
                high = ticks.iter().copied().filter(|tick| *tick >= high).fold(high.ceil(), f64::min);
                ticks.retain(|tick| (low - 1e-9..=high + 1e-9).contains(tick));
                (low..high, ticks)
            }
            Scale::Percentile => {
                let shares = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
                let ticks: Vec<_> = shares.iter().filter_map(|share| self.place(*share)).collect();
                (0.0..high.max(1.0), ticks.into_iter().filter(|tick| *tick <= high).collect())
            }
        }
    }

    /// What a line is called.
    pub(super) fn label(&self, place: f64) -> String {
        match self.scale {
            Scale::Linear => number(place),
            Scale::Log => number(10_f64.powf(place)),
            Scale::Percentile => format!("{}%", number((1.0 - 10_f64.powf(-place)) * 100.0)),
        }
    }
}

/// 1, 2 or 5 times a power of ten, and no less.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let parts = [1.0, 2.0, 5.0, 10.0];
    power * parts.into_iter().find(|part| part * power >= step * (1.0 - 1e-9)).unwrap_or(10.0)
}

/// Up to five digits, without zeros at the end.
fn number(value: f64) -> String {
    if value.abs() < 1e-12 {
        return "0".to_owned();
    }
    let digits = (4 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    thousands(text)
}

fn thousands(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-');
    let mut out = whole[..whole.len() - digits.len()].to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_where_people_expect_them() {
        let labels = |axis: &Axis, values: &[f64]| -> Vec<String> {
            let (_, ticks) = axis.scale(values);
            ticks.into_iter().map(|tick| axis.label(tick)).collect()
        };
        assert_eq!(labels(&Axis::from_zero("x"), &[3.0, 11.0]), ["0", "2", "4", "6", "8", "10", "12"]);
        assert_eq!(labels(&Axis::log("x"), &[3.0, 40.0]), ["2", "5", "10", "20", "50"]);
        assert_eq!(labels(&Axis::log("x"), &[0.3, 4000.0]), ["0.1", "1", "10", "100", "1,000", "10,000"]);
        assert_eq!(labels(&Axis::percentile("x"), &[0.5, 0.999]), ["0%", "50%", "90%", "99%", "99.9%"]);
        assert_eq!(labels(&Axis::linear("x"), &[5.0]).first().map(String::as_str), Some("5"));
    }

    #[test]
    fn numbers() {
        let all = [0.0, 1234.5, 0.05, 1e6, -2500.0, 99.9].map(number);
        assert_eq!(all, ["0", "1,234.5", "0.05", "1,000,000", "-2,500", "99.9"]);
    }

    #[test]
    fn zero_is_nowhere_on_a_logarithmic_axis() {
        assert_eq!(Axis::log("x").place(0.0), None);
        assert_eq!(Axis::percentile("x").place(1.0), None);
    }
}
