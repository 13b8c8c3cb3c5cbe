//! Who can be picked, and how they are doing.

use std::cmp::Ordering;

use crate::{Rng, Sample, Tried, sample::two, source::Source};

/// How many values the proxy answers a read of a column with.
pub(crate) const BLOCK: usize = 64;

/// The endpoints that can be picked. What is unhealthy or draining is not among them.
///
/// An index, from 0 to [`len`](Self::len), is valid until the next
/// [`endpoints_changed`](crate::Policy::endpoints_changed); an endpoint's id for as long as the endpoint lives.
///
/// When a request is retried, the ways to *choose* ([`sample`](Self::sample), [`candidates`](Self::candidates) and
/// [`scan`](Self::scan)) leave out the endpoints that it has been to already. The ways to *look* do not.
#[derive(Clone, Copy)]
pub struct Endpoints<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) attempt: u32,
}

impl<'a> Endpoints<'a> {
    /// How many there are. It may be none.
    #[inline]
    pub fn len(&self) -> u32 {
        self.source.count()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The endpoint at `index`, unless that is past the end.
    #[inline]
    pub fn get(&self, index: u32) -> Option<Endpoint<'a>> {
        (index < self.len()).then_some(Endpoint { source: self.source, index })
    }

    /// All endpoints, also those that this request has been to already.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Endpoint<'a>> + use<'a> {
        let source = self.source;
        (0..self.len() as usize).map(move |index| Endpoint { source, index: index as u32 })
    }

    /// The endpoints that this request has not been to.
    #[inline]
    pub fn candidates(&self) -> impl Iterator<Item = Endpoint<'a>> + use<'a> {
        let tried = self.tried();
        self.iter().filter(move |endpoint| !tried.contains(endpoint.index))
    }

    /// Up to `choices` different endpoints that this request has not been to, at random and in random order. At
    /// most [`Sample::MAX_CHOICES`].
    ///
    /// ```
    /// # use sluicegate_sdk::*;
    /// fn power_of_two_choices(rng: &mut Rng, endpoints: &Endpoints) -> Pick {
    ///     endpoints.sample(rng, 2).min_by_key(|endpoint| endpoint.in_flight()).into()
    /// }
    /// ```
    #[inline]
    pub fn sample(&self, rng: &mut Rng, choices: u32) -> Sample<'a> {
        Sample::new(*self, rng, choices)
    }

    /// Of up to `choices` different endpoints that this request has not been to, drawn at random, the one with the least
    /// `key`; of equal ones, the one that was drawn first.
    ///
    /// ```
    /// # use sluicegate_sdk::*;
    /// fn power_of_two_choices(rng: &mut Rng, endpoints: &Endpoints) -> Pick {
    ///     endpoints.least_of(rng, 2, |endpoint| endpoint.in_flight()).into()
    /// }
    /// ```
    #[inline]
    pub fn least_of<K: PartialOrd>(
        &self,
        rng: &mut Rng,
        choices: u32,
        mut key: impl FnMut(&Endpoint<'a>) -> K,
    ) -> Option<Endpoint<'a>> {
        // What nearly every pick is, without a loop over draws in memory.
        if self.attempt == 0 && choices == 2 && self.len() >= 2 {
            let [first, second] = two(self.len(), rng).map(|index| Endpoint { source: self.source, index });
            let keys = [key(&first), key(&second)];
            return Some(if keys[1] < keys[0] { second } else { first });
        }
        let index = self.least_of_drawn(rng, choices, key);
        (index != u32::MAX).then_some(Endpoint { source: self.source, index })
    }

    /// The index of what [`least_of`](Self::least_of) finds among more choices, or for a retry; `u32::MAX` for nobody. Apart
    /// from it, and by values that need no memory, so that what nearly every pick runs is short.
    #[inline(never)]
    fn least_of_drawn<K: PartialOrd>(
        self,
        rng: &mut Rng,
        choices: u32,
        mut key: impl FnMut(&Endpoint<'a>) -> K,
    ) -> u32 {
        let mut least: Option<(K, u32)> = None;
        for endpoint in self.sample(rng, choices) {
            let key = key(&endpoint);
            if least.as_ref().is_none_or(|(least, _)| key < *least) {
                least = Some((key, endpoint.index));
            }
        }
        least.map_or(u32::MAX, |(_, index)| index)
    }

    /// Up to `choices` different ones of these endpoints, as [`sample`](Self::sample) does of all. Indexes past the end are
    /// nobody's, so keep the list with the endpoints it was made of.
    #[inline]
    pub fn sample_of(&self, indexes: &[u32], rng: &mut Rng, choices: u32) -> Sample<'a> {
        Sample::of(*self, indexes, rng, choices)
    }

    /// Tells `each` the index and one live value of every endpoint that this request has not been to. A value
    /// that does not fit is `u32::MAX`.
    ///
    /// This is the cheap way to look at all endpoints: the proxy is asked once for every 64 of them.
    ///
    /// ```
    /// # use sluicegate_sdk::*;
    /// fn least_busy(endpoints: &Endpoints) -> Pick {
    ///     let mut best = (u32::MAX, None);
    ///     endpoints.scan(Signal::InFlight, |index, in_flight| {
    ///         if in_flight < best.0 {
    ///             best = (in_flight, Some(index));
    ///         }
    ///     });
    ///     best.1.into()
    /// }
    /// ```
    #[inline]
    pub fn scan(&self, signal: Signal, mut each: impl FnMut(u32, u32)) {
        let count = self.len();
        let tried = self.tried();
        for start in (0..count).step_by(BLOCK) {
            self.source.read_block(start, signal, |block| {
                let values = block.iter().take((count - start) as usize);
                if self.attempt == 0 {
                    values.zip(start..).for_each(|(value, index)| each(index, *value));
                } else {
                    let untried = values.zip(start..).filter(|(_, index)| !tried.contains(*index));
                    untried.for_each(|(value, index)| each(index, *value));
                }
            });
        }
    }

    /// Of the endpoints that this request has not been to, the one with the fewest requests in flight for its weight, and
    /// the first of equal ones. It looks at all: for when something cheaper has failed.
    #[cold]
    pub fn least_loaded(&self) -> Option<Endpoint<'a>> {
        let mut least: Option<(Load, u32)> = None;
        self.scan(Signal::InFlight, |index, in_flight| {
            let load = Load::new(in_flight, self.source.weight(index));
            if least.is_none_or(|(least, _)| load < least) {
                least = Some((load, index));
            }
        });
        least.map(|(_, index)| Endpoint { source: self.source, index })
    }

    /// Tells `each` the index of the first of [`BLOCK`](Self::BLOCK) endpoints and one live value of each of them, block by
    /// block; past the last endpoint there is `u32::MAX`. This is [`scan`](Self::scan) for policies that mind nanoseconds:
    /// of loops of a known length compilers make a few vector instructions. It does not leave out the endpoints that the
    /// request has been to already.
    ///
    /// ```
    /// # use sluicegate_sdk::*;
    /// fn least_in_flight(endpoints: &Endpoints) -> u32 {
    ///     let mut least = u32::MAX;
    ///     endpoints.scan_blocks(Signal::InFlight, |_, counts| {
    ///         least = counts.iter().copied().fold(least, u32::min);
    ///     });
    ///     least
    /// }
    /// ```
    #[inline]
    pub fn scan_blocks(&self, signal: Signal, mut each: impl FnMut(u32, &[u32; BLOCK])) {
        for start in (0..self.len()).step_by(BLOCK) {
            self.source.read_block(start, signal, |block| each(start, block));
        }
    }

    /// One live value of each of the [`BLOCK`](Self::BLOCK) endpoints from `start` on, or of as many as there are.
    #[inline]
    pub fn read_block<R>(&self, start: u32, signal: Signal, read: impl FnOnce(&[u32]) -> R) -> R {
        let length = BLOCK.min(self.len().saturating_sub(start) as usize);
        self.source.read_block(start, signal, |block| read(&block[..length]))
    }

    /// How many endpoints the proxy answers a question for a column with.
    pub const BLOCK: u32 = BLOCK as u32;

    #[inline]
    fn tried(&self) -> Tried {
        Tried::of(self.source, self.attempt)
    }
}

/// One endpoint.
#[derive(Clone, Copy)]
pub struct Endpoint<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) index: u32,
}

impl Endpoint<'_> {
    /// Its place among the endpoints, valid until they change.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its lasting identity: the same after a swap, a reload and a restart.
    #[inline]
    pub fn id(&self) -> u64 {
        self.source.id(self.index)
    }

    /// Its weight, from 1 to 65535: the configured one, unless endpoints warm up or priorities share the load, which then
    /// is in all weights.
    #[inline]
    pub fn weight(&self) -> u32 {
        self.source.weight(self.index)
    }

    /// Its address, as `ip:port`.
    pub fn address(&self) -> String {
        self.source.address(self.index)
    }

    /// Its configured zone; empty when it has none.
    pub fn zone(&self) -> String {
        self.source.zone(self.index)
    }

    /// A configured label.
    pub fn label(&self, key: &str) -> Option<String> {
        self.source.label(self.index, key)
    }

    /// Requests sent to it and not yet answered in full, by all workers.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.read(Signal::InFlight) as u32
    }

    /// One live value. Each read asks the proxy.
    #[inline]
    pub fn read(&self, signal: Signal) -> u64 {
        self.source.read(self.index, signal)
    }

    /// Asks the proxy to probe it, now. The answer comes to [`Probing`](crate::Probing), and what it says of the
    /// endpoint's load is in the signals.
    pub fn probe(&self) {
        self.source.probe(self.index);
    }

    /// How loaded it would be with one more request, for its weight.
    #[inline]
    pub fn load(&self) -> Load {
        Load::new(self.in_flight(), self.weight())
    }
}

/// A live value of one endpoint, shared by all workers. The order is the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// Requests sent to it and not yet answered in full.
    InFlight,
    /// Connections open to it.
    Connections,
    /// A moving average of the time to its first byte, in microseconds; 0 when nothing has been measured.
    LatencyUs,
    /// Requests answered below 500, ever.
    Successes,
    /// Requests answered with 500 or more, refused, or cut off, ever.
    Failures,
    /// Requests not answered in time, ever. These are not among the failures.
    Timeouts,
    /// Milliseconds since it joined the cluster.
    AgeMs,
    /// How busy it says it is, in millionths. This one and those below come from load reports, and are 0 until there is
    /// one: a policy that reads them says [`Setup::needs_load_reports`](crate::Setup::needs_load_reports).
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

/// How loaded an endpoint would be with one more request: `(in_flight + 1) / weight`, compared without dividing.
///
/// Counting the request itself makes an idle endpoint of weight 2 better than an idle one of weight 1.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    requests: u64,
    weight: u64,
}

impl Load {
    /// The load of an endpoint that has `in_flight` requests and this weight.
    #[inline]
    pub fn new(in_flight: u32, weight: u32) -> Self {
        Self { requests: u64::from(in_flight) + 1, weight: u64::from(weight) }
    }
}

impl Ord for Load {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (self.requests * other.weight).cmp(&(other.requests * self.weight))
    }
}

impl PartialOrd for Load {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Load {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_compare_as_fractions() {
        assert!(Load::new(0, 2) < Load::new(0, 1));
        assert!(Load::new(3, 2) == Load::new(1, 1));
        assert!(Load::new(4, 2) > Load::new(1, 1));
        assert!(Load::new(u32::MAX, 65_535) < Load::new(u32::MAX, 1));
    }
}
