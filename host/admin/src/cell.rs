//! Cells: the memory behind the handles, written by one shard and read by scrapes.
//!
//! Each cell is aligned to a cache line, so that two workers that count the same thing never write to the same line.
//! Everything is relaxed: a scrape wants totals, not an order between them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use metrics::{CounterFn, GaugeFn, HistogramFn};
use sluicegate_core::{Histogram, HistogramSnapshot};

/// No duration counts as more than this (about 11 days), so that a slip of the caller's clock does not run the sum of
/// nanoseconds over.
const MAX_SECONDS: f64 = 1e6;

/// What a metric is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Counter,
    Gauge,
    Histogram,
}

/// One shard's part of a series.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
}

impl Cell {
    /// `exclusive`: only one thread will ever write to it.
    pub(crate) fn new(kind: Kind, exclusive: bool) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Arc::new(CounterCell { count: AtomicU64::new(0), exclusive })),
            Kind::Gauge => Self::Gauge(Arc::default()),
            Kind::Histogram => Self::Histogram(Arc::new(HistogramCell { histogram: Histogram::default(), exclusive })),
        }
    }

    /// Whether anybody but the registry holds on to this.
    pub(crate) fn is_held(&self) -> bool {
        let count = match self {
            Self::Counter(cell) => Arc::strong_count(cell),
            Self::Gauge(cell) => Arc::strong_count(cell),
            Self::Histogram(cell) => Arc::strong_count(cell),
        };
        count > 1
    }

    fn value(&self) -> Value {
        match self {
            Self::Counter(cell) => Value::Counter(cell.count.load(Relaxed)),
            Self::Gauge(cell) => Value::Gauge(f64::from_bits(cell.0.load(Relaxed))),
            Self::Histogram(cell) => Value::Histogram(cell.histogram.snapshot()),
        }
    }
}

/// What cells add up to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(HistogramSnapshot),
}

impl Value {
    /// The sum of all cells, which are of one kind; `None` when there are none.
    pub(crate) fn total<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Option<Self> {
        cells.into_iter().map(Cell::value).reduce(|mut sum, value| {
            match (&mut sum, value) {
                (Self::Counter(sum), Self::Counter(value)) => *sum = sum.wrapping_add(value),
                (Self::Gauge(sum), Self::Gauge(value)) => *sum += value,
                (Self::Histogram(sum), Self::Histogram(value)) => sum.merge(&value),
                _ => debug_assert!(false, "the cells of a series are of one kind"),
            }
            sum
        })
    }
}

/// A counter's memory.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct CounterCell {
    count: AtomicU64,
    exclusive: bool,
}

impl CounterCell {
    /// Adds, and returns what was there before.
    pub(crate) fn add(&self, value: u64) -> u64 {
        if !self.exclusive {
            return self.count.fetch_add(value, Relaxed);
        }
        // The only writer needs no locked instruction, which costs more than all the rest.
        let before = self.count.load(Relaxed);
        self.count.store(before.wrapping_add(value), Relaxed);
        before
    }
}

impl CounterFn for CounterCell {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, value: u64) {
        self.count.fetch_max(value, Relaxed);
    }
}

/// A gauge's memory: the bits of an `f64`.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct GaugeCell(AtomicU64);

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never declines, so this cannot fail.
        let _ = self.0.fetch_update(Relaxed, Relaxed, add);
    }

    fn decrement(&self, value: f64) {
        self.increment(-value);
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }
}

/// A histogram's memory. The facade speaks seconds, as Prometheus does; inside, durations are whole nanoseconds.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct HistogramCell {
    histogram: Histogram,
    exclusive: bool,
}

impl HistogramFn for HistogramCell {
    fn record(&self, seconds: f64) {
        // NaN is in no range.
        if !(0.0..f64::INFINITY).contains(&seconds) {
            return;
        }
        // Processors make signed numbers of floats; an unsigned one takes twice as long.
        let ns = (seconds.min(MAX_SECONDS) * 1e9 + 0.5) as i64 as u64;
        match self.exclusive {
            true => self.histogram.record_exclusive(ns),
            false => self.histogram.record(ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_nanoseconds() {
        let cell = HistogramCell { exclusive: true, ..HistogramCell::default() };
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e-9].iter().for_each(|value| cell.record(*value));
        assert_eq!(cell.histogram.snapshot().count(), 0);
        [0.0, -0.0, 26e-9, 1.5].iter().for_each(|value| cell.record(*value));
        assert_eq!((cell.histogram.snapshot().count(), cell.histogram.snapshot().sum()), (4, 1_500_000_026));
        cell.record(f64::MAX);
        assert_eq!(cell.histogram.snapshot().sum(), 1_500_000_026 + 1_000_000_000_000_000);
    }

    #[test]
    fn gauges_go_up_and_down() {
        let cell = GaugeCell::default();
        cell.set(2.5);
        cell.increment(1.0);
        cell.decrement(3.0);
        assert_eq!(Value::total(&[Cell::Gauge(cell.into())]), Some(Value::Gauge(0.5)));
    }

    #[test]
    fn cells_have_cache_lines_of_their_own() {
        assert_eq!((align_of::<CounterCell>(), size_of::<CounterCell>()), (64, 64));
        assert_eq!((align_of::<GaugeCell>(), align_of::<HistogramCell>()), (64, 64));
    }
}
