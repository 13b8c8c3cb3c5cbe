//! Live signals: how an endpoint is doing right now.
//!
//! Every value is an atomic that all workers share, so that a policy in one worker sees the load that the others
//! put on an endpoint. Values of the same kind lie side by side (64 endpoints to a chunk), because policies that
//! scan read one kind of all endpoints: sixteen `u32` to a cache line instead of one.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{AttemptResult, Outcome};

/// How many endpoints share a chunk, and how many values a block read returns.
pub const BLOCK: usize = 64;

/// What can be read of an endpoint. The order is the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// Requests sent to it and not yet answered in full.
    InFlight,
    /// Connections open to it.
    Connections,
    /// A moving average of the time to its first byte, in microseconds; 0 before the first answer.
    LatencyUs,
    /// Requests answered below 500, ever.
    Successes,
    /// Requests answered with 500 or more, refused, or cut off, ever.
    Failures,
    /// Requests not answered in time, ever.
    Timeouts,
    /// Milliseconds since it joined the cluster.
    AgeMs,
    /// How busy it says it is, in millionths; 0, as those below, until it reports something.
    UtilizationPpm,
    /// Requests that it says it has and has not answered.
    QueueDepth,
    /// Requests a second that it says it answers, in thousandths.
    RequestsMilliPerS,
    /// Errors among them.
    ErrorsMilliPerS,
    /// Milliseconds since its last load report; `u64::MAX` when there was none.
    ReportAgeMs,
}

impl Signal {
    /// All of them, in the contract's order.
    pub const ALL: [Self; 12] = [
        Self::InFlight,
        Self::Connections,
        Self::LatencyUs,
        Self::Successes,
        Self::Failures,
        Self::Timeouts,
        Self::AgeMs,
        Self::UtilizationPpm,
        Self::QueueDepth,
        Self::RequestsMilliPerS,
        Self::ErrorsMilliPerS,
        Self::ReportAgeMs,
    ];

    /// The signal with this number in the contract.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

/// What an endpoint says of its own load. What it does not say is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// In millionths.
    pub utilization_ppm: u32,
    /// Requests that it has and has not answered.
    pub queue_depth: u32,
    /// Requests a second that it answers, in thousandths.
    pub requests_milli_per_s: u32,
    /// Errors among them.
    pub errors_milli_per_s: u32,
}

#[derive(Debug)]
struct Chunk {
    in_flight: [TwoCounts; BLOCK / 2],
    connections: [AtomicU32; BLOCK],
    latency_us: [AtomicU32; BLOCK],
    successes: [AtomicU64; BLOCK],
    failures: [AtomicU64; BLOCK],
    timeouts: [AtomicU64; BLOCK],
    joined_ns: [AtomicU64; BLOCK],
    utilization_ppm: [AtomicU32; BLOCK],
    queue_depth: [AtomicU32; BLOCK],
    requests_milli_per_s: [AtomicU32; BLOCK],
    errors_milli_per_s: [AtomicU32; BLOCK],
    /// 0 when there was none.
    reported_ns: [AtomicU64; BLOCK],
}

/// Two counts in one number, so that policies which look at all endpoints get them with half the loads.
#[derive(Debug)]
struct TwoCounts(AtomicU64);

impl TwoCounts {
    /// One more, or one fewer, at this place. What was counted in is counted out, so no half ever borrows from the other.
    #[inline]
    fn count(chunk: &Chunk, place: usize, by: i64) {
        let by = by << (place % 2 * 32);
        chunk.in_flight[place / 2].0.fetch_add(by as u64, Relaxed);
    }

    #[inline]
    fn read(chunk: &Chunk, place: usize) -> u32 {
        (chunk.in_flight[place / 2].0.load(Relaxed) >> (place % 2 * 32)) as u32
    }
}

/// Hands out places for the signals of new endpoints.
///
/// Places are never reused: a late completion of a removed endpoint must not count for its successor. A chunk is
/// freed when the last endpoint in it is gone.
#[derive(Debug, Default)]
pub struct LiveArena {
    chunk: Option<Arc<Chunk>>,
    used: usize,
}

impl LiveArena {
    /// A place for an endpoint that joined at `now`, in nanoseconds.
    pub fn allocate(&mut self, now: u64) -> Live {
        if self.used == BLOCK {
            self.chunk = None;
        }
        let chunk = self.chunk.get_or_insert_with(|| {
            self.used = 0;
            Arc::new(Chunk {
                in_flight: [const { TwoCounts(AtomicU64::new(0)) }; BLOCK / 2],
                connections: [const { AtomicU32::new(0) }; BLOCK],
                latency_us: [const { AtomicU32::new(0) }; BLOCK],
                successes: [const { AtomicU64::new(0) }; BLOCK],
                failures: [const { AtomicU64::new(0) }; BLOCK],
                timeouts: [const { AtomicU64::new(0) }; BLOCK],
                joined_ns: [const { AtomicU64::new(0) }; BLOCK],
                utilization_ppm: [const { AtomicU32::new(0) }; BLOCK],
                queue_depth: [const { AtomicU32::new(0) }; BLOCK],
                requests_milli_per_s: [const { AtomicU32::new(0) }; BLOCK],
                errors_milli_per_s: [const { AtomicU32::new(0) }; BLOCK],
                reported_ns: [const { AtomicU64::new(0) }; BLOCK],
            })
        });
        let place = self.used;
        self.used += 1;
        chunk.joined_ns[place].store(now, Relaxed);
        Live { chunk: Arc::clone(chunk), place: place as u32 }
    }
}

/// The live signals of one endpoint.
#[derive(Clone, Debug)]
pub struct Live {
    chunk: Arc<Chunk>,
    place: u32,
}

impl Live {
    /// One value. `now` is in nanoseconds.
    #[inline]
    pub fn read(&self, signal: Signal, now: u64) -> u64 {
        // The mask tells the compiler what `allocate` promises: a place is below BLOCK.
        let place = self.place as usize % BLOCK;
        let chunk = &*self.chunk;
        match signal {
            Signal::InFlight => u64::from(TwoCounts::read(chunk, place)),
            Signal::Connections => u64::from(chunk.connections[place].load(Relaxed)),
            Signal::LatencyUs => u64::from(chunk.latency_us[place].load(Relaxed)),
            Signal::Successes => chunk.successes[place].load(Relaxed),
            Signal::Failures => chunk.failures[place].load(Relaxed),
            Signal::Timeouts => chunk.timeouts[place].load(Relaxed),
            Signal::AgeMs => now.saturating_sub(chunk.joined_ns[place].load(Relaxed)) / 1_000_000,
            Signal::UtilizationPpm => u64::from(chunk.utilization_ppm[place].load(Relaxed)),
            Signal::QueueDepth => u64::from(chunk.queue_depth[place].load(Relaxed)),
            Signal::RequestsMilliPerS => u64::from(chunk.requests_milli_per_s[place].load(Relaxed)),
            Signal::ErrorsMilliPerS => u64::from(chunk.errors_milli_per_s[place].load(Relaxed)),
            Signal::ReportAgeMs => match chunk.reported_ns[place].load(Relaxed) {
                0 => u64::MAX,
                reported => now.saturating_sub(reported) / 1_000_000,
            },
        }
    }

    /// Takes in what the endpoint says of its load, at `now`. Two reports may mix when they come at the same moment:
    /// each number is one that the endpoint has said.
    pub fn report(&self, report: &LoadReport, now: u64) {
        let (place, chunk) = (self.place as usize % BLOCK, &*self.chunk);
        chunk.utilization_ppm[place].store(report.utilization_ppm, Relaxed);
        chunk.queue_depth[place].store(report.queue_depth, Relaxed);
        chunk.requests_milli_per_s[place].store(report.requests_milli_per_s, Relaxed);
        chunk.errors_milli_per_s[place].store(report.errors_milli_per_s, Relaxed);
        chunk.reported_ns[place].store(now.max(1), Relaxed);
    }

    /// Whether the place of `next` is the one after this one.
    pub(crate) fn is_followed_by(&self, next: &Self) -> bool {
        Arc::ptr_eq(&self.chunk, &next.chunk) && next.place == self.place + 1
    }

    /// The requests in flight to this endpoint and to those whose places follow, little-endian.
    #[inline]
    pub(crate) fn copy_in_flight(&self, values: &mut [[u8; 4]]) {
        let (mut place, chunk) = (self.place as usize % BLOCK, &*self.chunk);
        // The first one may be the second of two, and the last one the first.
        let (before, values) = values.split_at_mut(values.len().min(place % 2));
        let (twos, after) = values.as_chunks_mut::<2>();
        if let [first] = before {
            *first = TwoCounts::read(chunk, place).to_le_bytes();
            place += 1;
        }
        for ([even, odd], counts) in twos.iter_mut().zip(&chunk.in_flight[place / 2..]) {
            let counts = counts.0.load(Relaxed);
            (*even, *odd) = ((counts as u32).to_le_bytes(), ((counts >> 32) as u32).to_le_bytes());
        }
        if let [last] = after {
            *last = TwoCounts::read(chunk, place + 2 * twos.len()).to_le_bytes();
        }
    }

    /// Requests sent and not yet answered in full.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        TwoCounts::read(&self.chunk, self.place as usize % BLOCK)
    }

    /// Takes in how an attempt went.
    pub fn record(&self, result: &AttemptResult) {
        let place = self.place as usize % BLOCK;
        let chunk = &*self.chunk;
        match result.outcome {
            Outcome::Answered if result.status < 500 => &chunk.successes[place],
            Outcome::TimedOut => &chunk.timeouts[place],
            Outcome::Cancelled => return,
            Outcome::Answered | Outcome::ConnectFailed | Outcome::Broken => &chunk.failures[place],
        }
        .fetch_add(1, Relaxed);
        if result.outcome == Outcome::Answered && result.first_byte_us > 0 {
            // Two workers may race here and one sample is lost: harmless to an average, and cheaper than a loop.
            let average = &chunk.latency_us[place];
            average.store(smoothed(average.load(Relaxed), result.first_byte_us), Relaxed);
        }
    }
}

/// An exponentially weighted moving average with a weight of 1/8 for the newest sample, as in TCP's round-trip
/// estimate (RFC 6298, section 2).
fn smoothed(average: u32, sample: u32) -> u32 {
    if average == 0 {
        return sample;
    }
    let (average, sample) = (u64::from(average), u64::from(sample));
    // Rounding towards the sample lets a steady input be reached, from above and from below.
    let weighted = average * 7 + sample;
    (if sample > average { weighted.div_ceil(8) } else { weighted / 8 }) as u32
}

/// Whoever knows an endpoint's signals. Workers count through a handle of their own, so that a request costs no
/// shared reference count.
pub trait HasLive {
    /// The endpoint's signals.
    fn live(&self) -> &Live;
}

impl HasLive for Live {
    fn live(&self) -> &Live {
        self
    }
}

impl<T: HasLive> HasLive for std::rc::Rc<T> {
    fn live(&self) -> &Live {
        (**self).live()
    }
}

/// A request on its way to an endpoint, counted for as long as this lives.
#[derive(Debug)]
pub struct InFlight<E: HasLive>(E);

impl<E: HasLive> InFlight<E> {
    /// Counts a request in.
    pub fn begin(endpoint: E) -> Self {
        let live = endpoint.live();
        TwoCounts::count(&live.chunk, live.place as usize % BLOCK, 1);
        Self(endpoint)
    }

    /// Whoever it is counted for.
    pub fn endpoint(&self) -> &E {
        &self.0
    }
}

impl<E: HasLive> Drop for InFlight<E> {
    fn drop(&mut self) {
        let live = self.0.live();
        TwoCounts::count(&live.chunk, live.place as usize % BLOCK, -1);
    }
}

/// A connection to an endpoint, counted for as long as this lives.
#[derive(Debug)]
pub struct OpenConnection<E: HasLive>(E);

impl<E: HasLive> OpenConnection<E> {
    /// Counts a connection in.
    pub fn begin(endpoint: E) -> Self {
        let live = endpoint.live();
        live.chunk.connections[live.place as usize % BLOCK].fetch_add(1, Relaxed);
        Self(endpoint)
    }
}

impl<E: HasLive> Drop for OpenConnection<E> {
    fn drop(&mut self) {
        let live = self.0.live();
        live.chunk.connections[live.place as usize % BLOCK].fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EndpointId;

    fn result(outcome: Outcome, status: u16, first_byte_us: u32) -> AttemptResult {
        AttemptResult { endpoint: EndpointId(1), outcome, status, connect_us: 0, first_byte_us, total_us: 0 }
    }

    #[test]
    fn guards_count_in_and_out() {
        let live = LiveArena::default().allocate(0);
        let first = InFlight::begin(live.clone());
        let second = InFlight::begin(live.clone());
        let connection = OpenConnection::begin(live.clone());
        assert_eq!((live.in_flight(), live.read(Signal::Connections, 0)), (2, 1));
        drop((first, second, connection));
        assert_eq!((live.in_flight(), live.read(Signal::Connections, 0)), (0, 0));
    }

    #[test]
    fn outcomes_are_counted_once_and_in_the_right_place() {
        let live = LiveArena::default().allocate(0);
        live.record(&result(Outcome::Answered, 200, 100));
        live.record(&result(Outcome::Answered, 503, 100));
        live.record(&result(Outcome::ConnectFailed, 0, 0));
        live.record(&result(Outcome::Broken, 200, 100));
        live.record(&result(Outcome::TimedOut, 0, 0));
        live.record(&result(Outcome::Cancelled, 0, 0));
        let read = |signal| live.read(signal, 0);
        assert_eq!((read(Signal::Successes), read(Signal::Failures), read(Signal::Timeouts)), (1, 3, 1));
    }

    #[test]
    fn the_average_reaches_a_steady_latency_from_both_sides() {
        for start in [1, 10_000] {
            assert_eq!((0..200).fold(start, |average, _| smoothed(average, 500)), 500);
        }
        assert_eq!(smoothed(0, 70), 70, "the first sample is the average");
        assert_eq!(smoothed(u32::MAX, u32::MAX), u32::MAX);
    }

    #[test]
    fn age_counts_from_joining() {
        let live = LiveArena::default().allocate(5_000_000);
        assert_eq!(live.read(Signal::AgeMs, 12_000_000), 7);
        assert_eq!(live.read(Signal::AgeMs, 0), 0);
    }

    #[test]
    fn a_report_is_read_and_grows_old() {
        let live = LiveArena::default().allocate(0);
        assert_eq!(live.read(Signal::ReportAgeMs, 5_000_000), u64::MAX, "there was none");
        let report = LoadReport { utilization_ppm: 1, queue_depth: 2, requests_milli_per_s: 3, errors_milli_per_s: 4 };
        live.report(&report, 0);
        let signals = [Signal::UtilizationPpm, Signal::QueueDepth, Signal::RequestsMilliPerS, Signal::ErrorsMilliPerS];
        assert_eq!(signals.map(|signal| live.read(signal, 0)), [1, 2, 3, 4]);
        assert_eq!(live.read(Signal::ReportAgeMs, 5_000_001), 5);
    }

    #[test]
    fn places_are_not_shared() {
        let mut arena = LiveArena::default();
        let all: Vec<Live> = (0..BLOCK * 2 + 1).map(|_| arena.allocate(0)).collect();
        let _guards: Vec<InFlight<Live>> = all.iter().map(|live| InFlight::begin(live.clone())).collect();
        assert!(all.iter().all(|live| live.in_flight() == 1));
    }
}
