//! What a run has shown.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{Arrivals, Plan};

/// From 1 us to 10 minutes, to three digits. Values are nanoseconds.
pub(crate) fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 600_000_000_000, digits).expect("valid bounds")
}

/// Percentiles that are told everywhere.
pub(crate) const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Why figures may be those of the generator rather than of what it drives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum OwnLimit {
    /// Its processor was full: this share of it.
    Full(f64),
    /// It sent too late by so much, with that share of a processor to spare or not. The cause need not be its own: a
    /// virtual machine that stands still looks the same.
    Late { ms: f64, processor: f64 },
}

impl fmt::Display for OwnLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(share) => {
                write!(out, "the generator was the limit: it used {:.0}% of a processor", share * 100.0)
            }
            Self::Late { ms, processor } => write!(
                out,
                "a hundredth of the requests went out {ms:.1} ms late or more, while the generator used {:.0}% of a \
                 processor: its own doing, or a machine that stood still",
                processor * 100.0
            ),
        }
    }
}

/// A piece of a run.
pub(crate) struct Slice {
    pub(crate) latency: Histogram<u64>,
    pub(crate) errors: u64,
}

/// A run's figures, of what was due after the warm-up.
pub(crate) struct Outcome {
    /// Answers below 400, from when they were due.
    pub(crate) latency: Histogram<u64>,
    /// Answers that say of an error, from when they were due.
    pub(crate) failed: Histogram<u64>,
    /// How late a request was sent that had a connection free for it: the generator's own doing.
    pub(crate) lateness: Histogram<u64>,
    /// How many were due.
    pub(crate) due: u64,
    /// How many of them had to wait for a connection.
    pub(crate) waited: u64,
    /// By kind.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Pieces of equal length, by when requests were due; also of the warm-up.
    pub(crate) slices: Vec<Slice>,
    pub(crate) slice: Duration,
    /// What was counted took so long.
    pub(crate) time: Duration,
    /// Processor time of the generator's thread as a share of the run.
    pub(crate) processor: f64,
    /// Whether requests followed a schedule.
    pub(crate) open: bool,
    /// Whether it took all of a processor on purpose.
    pub(crate) watches: bool,
}

impl Outcome {
    pub(super) fn new(plan: &Plan) -> Self {
        let (length, slice) = (plan.length(), plan.slice);
        let count = length.as_nanos() / slice.as_nanos().max(1) + 1;
        let slices = (0..count).map(|_| Slice { latency: histogram(2), errors: 0 }).collect();
        Self {
            latency: histogram(3),
            failed: histogram(3),
            lateness: histogram(3),
            due: 0,
            waited: 0,
            errors: BTreeMap::new(),
            slices,
            slice,
            time: length.saturating_sub(plan.warm_up),
            processor: 0.0,
            open: plan.arrivals != Arrivals::Closed,
            watches: plan.watches,
        }
    }

    /// Milliseconds below which a share `q` of the good answers came; none if there were none.
    pub(crate) fn ms(&self, q: f64) -> Option<f64> {
        (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(q) as f64 / 1e6)
    }

    /// Their mean.
    pub(crate) fn mean_ms(&self) -> Option<f64> {
        (!self.latency.is_empty()).then(|| self.latency.mean() / 1e6)
    }

    /// The slowest of them.
    pub(crate) fn max_ms(&self) -> Option<f64> {
        (!self.latency.is_empty()).then(|| self.latency.max() as f64 / 1e6)
    }

    /// Good answers a second.
    pub(crate) fn throughput(&self) -> f64 {
        self.latency.len() as f64 / self.time.as_secs_f64()
    }

    /// Requests that got no good answer.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// As a share of all.
    pub(crate) fn error_rate(&self) -> f64 {
        self.error_count() as f64 / self.due.max(1) as f64
    }

    /// Whether, and why, these are figures of the generator rather than of what it drives. Being late by a tenth of
    /// what is measured shows in its percentiles; a processor that is nearly full makes everything wait.
    pub(crate) fn own_limit(&self) -> Option<OwnLimit> {
        let late = self.lateness.value_at_quantile(0.99);
        let measured = self.latency.value_at_quantile(0.99);
        if self.processor > 0.95 && !self.watches {
            return Some(OwnLimit::Full(self.processor));
        }
        if self.open && late > 1_000_000 && late > measured / 10 {
            return Some(OwnLimit::Late { ms: late as f64 / 1e6, processor: self.processor });
        }
        None
    }

    /// All that is told of it.
    pub(crate) fn json(&self) -> Value {
        let histogram = |h: &Histogram<u64>| {
            if h.is_empty() {
                return Value::Null;
            }
            let mut value = json!({"count": h.len(), "mean_ms": h.mean() / 1e6, "max_ms": h.max() as f64 / 1e6});
            for (name, q) in PERCENTILES {
                value[format!("{name}_ms")] = json!(h.value_at_quantile(q) as f64 / 1e6);
            }
            value
        };
        let seconds = self.slice.as_secs_f64();
        let slices = self.slices.iter().enumerate().map(|(index, slice)| {
            json!({"at_s": index as f64 * seconds, "latency": histogram(&slice.latency), "errors": slice.errors})
        });
        json!({
            "due": self.due, "answered": self.latency.len(), "errors": self.errors, "error_rate": self.error_rate(),
            "seconds": self.time.as_secs_f64(), "requests_per_s": self.throughput(),
            "latency": histogram(&self.latency), "latency_of_failed": histogram(&self.failed),
            "waited_for_a_connection": self.waited,
            "generator": {"lateness": histogram(&self.lateness), "processor": self.processor,
                "limit": self.own_limit().map(|limit| limit.to_string())},
            "slices": slices.collect::<Vec<_>>(),
        })
    }
}
