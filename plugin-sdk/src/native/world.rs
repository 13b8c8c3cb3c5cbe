//! What is around a policy beside endpoints and requests: shared numbers, metrics, needs.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::Shared;

/// How many counters and gauges a policy may have.
const MAX_METERS: usize = 32;
const MAX_PREFIX: u32 = 64 << 10;

thread_local! {
    /// Where the policy lives that is being configured.
    static CURRENT: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What is around a policy beside endpoints and requests. Clones are the same world.
#[derive(Clone, Debug, Default)]
pub struct World(Arc<Inner>);

#[derive(Default)]
struct Inner {
    shared: SharedHandle,
    meters: Mutex<Meters>,
}

#[derive(Default)]
struct Meters {
    counters: BTreeMap<String, CounterHandle>,
    gauges: BTreeMap<String, GaugeHandle>,
    needs: Needs,
}

/// What a policy has asked for with the contract's `needs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// `body-prefix`; 0 when it does not need any.
    pub body_prefix: u32,
    /// `load-reports`.
    pub load_reports: bool,
}

impl World {
    /// What a counter has come to, over all instances; none when there is no such counter.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.meters().counters.get(name).map(|counter| counter.0.load(Relaxed))
    }

    /// What a gauge was set to last, by whichever instance; none when there is no such gauge.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.meters().gauges.get(name).map(|gauge| f64::from_bits(gauge.0.load(Relaxed)))
    }

    /// A number that the instances share.
    pub fn shared(&self, slot: u32) -> u64 {
        self.0.shared.get(slot)
    }

    /// What the policy needs.
    pub fn needs(&self) -> Needs {
        self.meters().needs
    }

    /// The world of a successor: it shares what is shared, and has its own needs and metrics.
    pub(crate) fn succeeded(&self) -> Self {
        Self(Arc::new(Inner { shared: self.0.shared.clone(), meters: Mutex::default() }))
    }

    /// Configures a policy in here.
    pub(super) fn during<T>(&self, configure: impl FnOnce() -> T) -> T {
        let before = CURRENT.replace(Some(self.clone()));
        let result = configure();
        CURRENT.set(before);
        result
    }

    /// Where the policy lives that is being configured; nowhere when a test has made it by itself.
    fn current() -> Self {
        CURRENT.with_borrow(Clone::clone).unwrap_or_default()
    }

    fn meters(&self) -> MutexGuard<'_, Meters> {
        self.0.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meters {
    fn check(&self, name: &str) {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_good = name.len() <= 63 && name.starts_with(|first: char| first.is_ascii_lowercase());
        assert!(
            is_good && name.bytes().all(letters),
            "{name:?} is no name for a metric: it takes [a-z][a-z0-9_]{{0,62}}"
        );
        let names = self.counters.len() + self.gauges.len();
        assert!(names < MAX_METERS, "{name}: a policy may have {MAX_METERS} counters and gauges");
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct CounterHandle(Arc<AtomicU64>);

impl CounterHandle {
    pub(crate) fn new(name: &str) -> Self {
        let world = World::current();
        let mut meters = world.meters();
        if !meters.counters.contains_key(name) {
            meters.check(name);
        }
        meters.counters.entry(name.to_owned()).or_default().clone()
    }

    pub(crate) fn add(&self, delta: u64) {
        self.0.fetch_add(delta, Relaxed);
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GaugeHandle(Arc<AtomicU64>);

impl GaugeHandle {
    pub(crate) fn new(name: &str) -> Self {
        let world = World::current();
        let mut meters = world.meters();
        if !meters.gauges.contains_key(name) {
            meters.check(name);
        }
        meters.gauges.entry(name.to_owned()).or_default().clone()
    }

    pub(crate) fn set(&self, value: f64) {
        if value.is_finite() {
            self.0.store(value.to_bits(), Relaxed);
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SharedHandle(Arc<[AtomicU64; Shared::SLOTS as usize]>);

impl Default for SharedHandle {
    fn default() -> Self {
        Self(Arc::new([const { AtomicU64::new(0) }; Shared::SLOTS as usize]))
    }
}

impl SharedHandle {
    pub(crate) fn new() -> Self {
        World::current().0.shared.clone()
    }

    pub(crate) fn get(&self, slot: u32) -> u64 {
        self.0[slot as usize].load(Relaxed)
    }

    pub(crate) fn add(&self, slot: u32, delta: u64) -> u64 {
        self.0[slot as usize].fetch_add(delta, Relaxed)
    }

    pub(crate) fn compare_and_set(&self, slot: u32, expected: u64, new: u64) -> bool {
        self.0[slot as usize].compare_exchange(expected, new, Relaxed, Relaxed).is_ok()
    }
}

pub(crate) fn need_body_prefix(bytes: u32) {
    assert!(bytes <= MAX_PREFIX, "a policy may ask for {MAX_PREFIX} bytes of a request's body, not for {bytes}");
    World::current().meters().needs.body_prefix = bytes;
}

pub(crate) fn need_load_reports() {
    World::current().meters().needs.load_reports = true;
}
