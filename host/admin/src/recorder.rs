//! The recorder for the `metrics` facade, made for one thread per core.
//!
//! Each worker has a [`Shard`] of its own and installs it as its thread's recorder; what it counts is memory that no
//! other worker writes to. All other threads share the shard behind [`Telemetry::install_global`]. Scrapes add the
//! shards up. There is one lock, taken to register a handle and to list the series of a scrape, never to record.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use sluicegate_core::HistogramSnapshot;

use crate::{
    cell::{Cell, CounterCell, Kind, Value},
    prometheus,
    registry::Registry,
};

/// Counts the registrations that got a handle which does nothing: too many series, a name that Prometheus does not
/// accept, or one that is taken by another kind of metric.
pub const REJECTED: &str = "sluicegate_metrics_rejected_total";

/// The shard of all threads that have none of their own.
pub(crate) const GLOBAL_SHARD: u32 = 0;

/// All metrics of the process. Clones are handles to the same.
///
/// - Counters, gauges and histograms of the same name and labels **add up** over the shards. A gauge that is not a
///   sum must be set in one place only.
/// - Histograms take durations **in seconds** (names end in `_seconds`) and keep whole nanoseconds. Values that are
///   negative or not finite are ignored.
/// - A series whose handles have all been dropped is shown in one more scrape and then forgotten, total included;
///   without scrapes, it is forgotten when enough new ones have come. Prometheus takes a later series of the same
///   name for one that was reset. Hold on to handles for as long as the thing they measure exists.
#[derive(Clone, Debug)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

/// The recorder of one thread. Make one for each worker, at its start and for its lifetime, and install it with
/// `metrics::set_default_local_recorder`.
///
/// The counters and histograms that it hands out are for that thread alone: they are written without locked
/// instructions, so that two threads with the same handle would lose counts (and nothing worse).
#[derive(Debug)]
pub struct Shard {
    shared: Arc<Shared>,
    id: u32,
}

/// The process has a global recorder already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a global metrics recorder is already installed")]
pub struct AlreadyInstalled;

#[derive(Debug)]
struct Shared {
    registry: Mutex<Registry>,
    last_shard: AtomicU32,
    rejected: Arc<CounterCell>,
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.describe(&REJECTED.into(), "Registrations of metrics that were turned away.".into());
        let rejected = match registry.register(GLOBAL_SHARD, &Key::from_static_name(REJECTED), Kind::Counter) {
            Ok(Cell::Counter(cell)) => cell,
            _ => Arc::default(),
        };
        let registry = Mutex::new(registry);
        Self { shared: Arc::new(Shared { registry, last_shard: AtomicU32::new(GLOBAL_SHARD), rejected }) }
    }
}

impl Telemetry {
    /// No metrics yet, except [`REJECTED`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A recorder for one worker thread.
    pub fn shard(&self) -> Shard {
        Shard { shared: Arc::clone(&self.shared), id: self.shared.last_shard.fetch_add(1, Relaxed) + 1 }
    }

    /// Makes this the recorder of every thread that has no shard installed, for the rest of the process.
    pub fn install_global(&self) -> Result<(), AlreadyInstalled> {
        let shard = Shard { shared: Arc::clone(&self.shared), id: GLOBAL_SHARD };
        metrics::set_global_recorder(shard).map_err(|_| AlreadyInstalled)
    }

    /// Everything, in Prometheus' text format. This counts as a scrape.
    pub fn render(&self) -> String {
        let families = self.shared.registry().scrape();
        prometheus::render(&families)
    }

    /// The sum of all counters of this name that have these labels, whatever other labels they have.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        match self.total(name, labels) {
            Some(Value::Counter(count)) => count,
            _ => 0,
        }
    }

    /// All histograms of this name that have these labels, whatever other labels they have, merged. Values are in
    /// nanoseconds.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> HistogramSnapshot {
        match self.total(name, labels) {
            Some(Value::Histogram(snapshot)) => snapshot,
            _ => HistogramSnapshot::default(),
        }
    }

    fn total(&self, name: &str, labels: &[(&str, &str)]) -> Option<Value> {
        let cells = self.shared.registry().cells(name, labels);
        Value::total(&cells)
    }
}

impl Shared {
    /// A panic elsewhere leaves nothing half done that counting could not live with, so poison is ignored.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn register(&self, key: &Key, kind: Kind) -> Option<Cell> {
        // In a statement of its own: the lock must be free again before anything is logged.
        let registered = self.shared.registry().register(self.id, key, kind);
        match registered {
            Ok(cell) => Some(cell),
            Err(reason) => {
                // Only the first: whatever goes wrong here tends to go wrong for every request.
                if self.shared.rejected.add(1) == 0 {
                    tracing::warn!(metric = %key, %reason, "metric rejected; further ones are only counted");
                }
                None
            }
        }
    }
}

impl Recorder for Shard {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.shared.registry().describe(&key, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe_counter(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe_counter(key, unit, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.register(key, Kind::Counter) {
            Some(Cell::Counter(cell)) => cell.into(),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.register(key, Kind::Gauge) {
            Some(Cell::Gauge(cell)) => cell.into(),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.register(key, Kind::Histogram) {
            Some(Cell::Histogram(cell)) => cell.into(),
            _ => Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use metrics::{counter, gauge, histogram, with_local_recorder};

    use super::*;

    #[test]
    fn workers_add_up() {
        let telemetry = Telemetry::new();
        let worker = |shard: Shard| {
            let _guard = metrics::set_default_local_recorder(&shard);
            let (ok, failed) = (counter!("r_total", "code" => "200"), counter!("r_total", "code" => "500"));
            let (open, took) = (gauge!("open"), histogram!("took_seconds", "cluster" => "a", "code" => "200"));
            (0..1000).for_each(|_| ok.increment(1));
            failed.increment(2);
            open.increment(3);
            took.record(0.002);
            (ok, failed, open, took)
        };
        let handles: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| telemetry.shard()).map(|s| scope.spawn(move || worker(s))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(telemetry.counter("r_total", &[("code", "200")]), 4000);
        assert_eq!(telemetry.counter("r_total", &[]), 4008);
        assert_eq!(telemetry.counter("r_total", &[("code", "404")]), 0);
        assert_eq!(telemetry.counter("took_seconds", &[]), 0, "not a counter");
        let took = telemetry.histogram("took_seconds", &[("code", "200"), ("cluster", "a")]);
        assert_eq!((took.count(), took.sum()), (4, 8_000_000));
        assert_eq!(telemetry.histogram("took_seconds", &[("cluster", "b")]).count(), 0);
        assert!(telemetry.render().contains("\nopen 12\n"));
        drop(handles);
    }

    #[test]
    fn shards_do_not_share_memory() {
        let telemetry = Telemetry::new();
        let (one, two) = (telemetry.shard(), telemetry.shard());
        let key = Key::from_static_name("x_total");
        let cell = |shard: &Shard| match shard.register(&key, Kind::Counter) {
            Some(Cell::Counter(cell)) => cell,
            other => panic!("{other:?}"),
        };
        assert!(!Arc::ptr_eq(&cell(&one), &cell(&two)));
        assert!(Arc::ptr_eq(&cell(&one), &cell(&one)));
    }

    #[test]
    fn rejections_are_counted_and_harmless() {
        let telemetry = Telemetry::new();
        with_local_recorder(&telemetry.shard(), || {
            counter!("not a name").increment(1);
            histogram!(REJECTED).record(1.0);
        });
        assert_eq!(telemetry.counter(REJECTED, &[]), 2);
    }

    #[test]
    fn other_threads_share_the_global_shard() {
        let telemetry = Telemetry::new();
        telemetry.install_global().unwrap();
        assert_eq!(telemetry.install_global(), Err(AlreadyInstalled));
        let name = "global_test_total";
        let handles: Vec<Counter> =
            (0..2).map(|_| thread::spawn(move || counter!(name)).join().unwrap()).inspect(|c| c.increment(1)).collect();
        assert_eq!(telemetry.counter(name, &[]), 2);
        drop(handles);
    }
}
