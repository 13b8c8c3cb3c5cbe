//! Least request: of all endpoints, take the one with the fewest requests in flight for its weight.
//!
//! This is "join the shortest queue", which no policy beats that knows only the queues of equal servers (Winston,
//! "Optimality of the shortest line discipline", Journal of Applied Probability 14(1), 1977), as long as what it
//! sees is fresh. All workers share the counts of requests in flight, so it is.
//!
//! Among endpoints that are equally good each is equally likely: taking the first would send every request of an
//! idle cluster to the same endpoint. The request itself counts as load, so that an idle cluster whose weights differ
//! prefers the heaviest: weights stand for speed, and that is where the request is done first (the "shortest expected
//! delay" of the Linux Virtual Server).

use std::array;

use sluicegate_sdk::{ConfigError, Endpoints, Load, NoConfig, Pick, Policy, Request, Rng, Setup, Signal, export};

/// Live values or weights of endpoints that follow each other, or what no endpoint has, four by four, as vector
/// instructions take them. It has one length, so that compilers unroll the loops over it.
type Block<T> = [[T; 4]; ROWS];
const ROWS: usize = Endpoints::BLOCK as usize / 4;

/// The policy.
#[derive(Clone, Debug)]
pub struct LeastRequest {
    rng: Rng,
    // Empty when all weights are equal: then the counts alone decide, and there is nothing to divide.
    weights: Vec<Block<f32>>,
}

/// A load that no endpoint has, and any that is worse.
const NOBODY: u32 = f32::INFINITY.to_bits();

impl Policy for LeastRequest {
    type Config = NoConfig;

    fn new(_: NoConfig, setup: Setup) -> Result<Self, ConfigError> {
        Ok(Self { rng: Rng::new(setup.seed), weights: Vec::new() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        let weights: Vec<f32> = endpoints.iter().map(|endpoint| endpoint.weight() as f32).collect();
        self.weights.clear();
        if weights.iter().any(|weight| *weight != weights[0]) {
            let weight = |block: &[f32], place: usize| block.get(place).copied().unwrap_or(0.0);
            let rows = |block: &[f32]| array::from_fn(|row| array::from_fn(|lane| weight(block, 4 * row + lane)));
            self.weights.extend(weights.chunks(4 * ROWS).map(rows));
        }
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        if request.attempt() > 0 {
            return self.elsewhere(endpoints).into();
        }
        let mut search = Search { rng: &mut self.rng, least: NOBODY - 1, places: 0, chosen: None };
        let mut weights = self.weights.iter();
        endpoints.scan_blocks(Signal::InFlight, |start, in_flight| {
            let in_flight = in_flight.as_chunks().0.as_array().expect("a block of rows");
            match weights.next() {
                None => search.offer(start, in_flight),
                Some(weights) => search.offer(start, &loads(in_flight, weights)),
            }
        });
        search.end().into()
    }
}

impl LeastRequest {
    /// The same for a retry, of those that it has not been to.
    #[cold]
    fn elsewhere(&mut self, endpoints: &Endpoints) -> Option<u32> {
        let (mut least, mut places, mut chosen) = (None, 0, None);
        endpoints.scan(Signal::InFlight, |index, in_flight| {
            let load = endpoints.get(index).map(|endpoint| Load::new(in_flight, endpoint.weight()));
            if least.is_some() && load > least {
                return;
            }
            places = if load == least { places + 1 } else { 1 };
            least = load;
            if self.rng.below(places) == 0 {
                chosen = Some(index);
            }
        });
        chosen
    }
}

/// The smallest load so far, in how many places it was seen, and those of them that are in one block.
struct Search<'a> {
    rng: &'a mut Rng,
    least: u32,
    places: u32,
    chosen: Option<(u32, u64)>,
}

impl Search<'_> {
    #[inline]
    fn offer(&mut self, start: u32, loads: &Block<u32>) {
        let smallest = smallest_of(loads);
        if smallest > self.least {
            return;
        }
        // Among equally good blocks, one is drawn by how many places it has (reservoir sampling: Vitter, "Random sampling
        // with a reservoir", ACM TOMS 11(1), 1985).
        let at = places_of(smallest, loads);
        let here = at.count_ones();
        self.places = if smallest < self.least { here } else { self.places + here };
        self.least = smallest;
        if here == self.places || self.rng.below(self.places) < here {
            self.chosen = Some((start, at));
        }
    }

    fn end(self) -> Option<u32> {
        let (start, at) = self.chosen?;
        let bit = nth_one(at, self.rng.below(at.count_ones()));
        Some(start + bit % 16 * 4 + bit / 16)
    }
}

/// The load of each with one more request, for its weight, as bits: those of positive numbers are in their order. A
/// division is rounded right, so that equal loads are equal, whatever the weights.
fn loads(in_flight: &Block<u32>, weights: &Block<f32>) -> Block<u32> {
    // All of them are exact up to here, and fit a signed number, which is quicker to convert.
    const MOST: u32 = 1 << 24;
    array::from_fn(|row| {
        array::from_fn(|lane| {
            let requests = in_flight[row][lane].min(MOST - 1) as i32 + 1;
            (requests as f32 / weights[row][lane]).to_bits()
        })
    })
}

#[inline]
fn smallest_of(loads: &Block<u32>) -> u32 {
    let mut lanes = [u32::MAX; 4];
    for row in loads {
        lanes = array::from_fn(|lane| lanes[lane].min(row[lane]));
    }
    lanes.into_iter().fold(u32::MAX, u32::min)
}

/// A bit for each place where the load is: for `loads[row][lane]` it is the bit `16 * lane + row`.
#[inline]
fn places_of(load: u32, loads: &Block<u32>) -> u64 {
    let mut lanes: [u32; 4] = [0; 4];
    for row in loads.iter().rev() {
        lanes = array::from_fn(|lane| lanes[lane] << 1 | u32::from(row[lane] == load));
    }
    let [a, b, c, d] = lanes;
    u64::from(a | b << 16) | u64::from(c | d << 16) << 32
}

/// Which bit is the nth that is set, by halves.
#[inline]
fn nth_one(mut bits: u64, mut nth: u32) -> u32 {
    let mut bit = 0;
    for half in [32, 16, 8, 4, 2, 1] {
        let below = (bits & ((1 << half) - 1)).count_ones();
        if nth >= below {
            (bits, nth, bit) = (bits >> half, nth - below, bit + half);
        }
    }
    bit
}

export!(LeastRequest);

#[cfg(test)]
mod tests;
