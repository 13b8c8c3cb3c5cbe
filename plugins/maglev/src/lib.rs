//! Maglev hashing: each key belongs to one endpoint, found with one look into a table.
//!
//! Every endpoint has a permutation of the table's places of its own, and the endpoints take turns at claiming the
//! next place of theirs that is free, until the table is full (Eisenbud et al., "Maglev: A Fast and Reliable Software
//! Network Load Balancer", NSDI 2016, section 3.4). All have the same share, to a place; when an endpoint joins or leaves,
//! nearly all places that were not its own stay whose they were (section 5.3 measures how nearly: the larger the table
//! beside the number of endpoints, the more).
//!
//! The paper has no weights. Here a turn comes to an endpoint as often as its weight says, beside the heaviest, whose
//! turn is every time. Turns go by ids, not by the order of the configuration, so that all workers and all proxies
//! that see the same endpoints have the same table.
//!
//! A retry, and a key whose endpoint it has been to, goes where the key hashed once more points: the same second choice
//! each time, and another one for each key.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::Deserialize;
use sluicegate_sdk::{ConfigError, Endpoint, Endpoints, Pick, Policy, Request, Rng, Setup, export, mix};

/// What can be configured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct MaglevConfig {
    /// How many places the table has: a prime number, and best a hundred times as many as there are endpoints. The
    /// default is the paper's smaller one; the larger is 655,373.
    #[serde(default = "small")]
    table_size: u32,
}

fn small() -> u32 {
    65_537
}

const LARGE: u32 = 655_373;

/// The policy.
#[derive(Clone, Debug)]
pub struct Maglev {
    size: u32,
    rng: Rng,
    table: Vec<u32>,
    // What the table was made of.
    seats: Vec<Seat>,
}

/// An endpoint at the claiming of places. Sorted by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seat {
    id: u64,
    weight: u32,
    index: u32,
}

impl Policy for Maglev {
    type Config = MaglevConfig;

    fn new(config: MaglevConfig, setup: Setup) -> Result<Self, ConfigError> {
        let size = config.table_size;
        if !(2..=LARGE).contains(&size) {
            return Err(ConfigError::out_of_range("table_size", size, 2..=LARGE));
        }
        if let Some(factor) =
            (2..size).take_while(|factor| factor * factor <= size).find(|factor| size.is_multiple_of(*factor))
        {
            let other = size / factor;
            return Err(ConfigError::at("table_size", format_args!("{size} is not prime: it is {factor} * {other}")));
        }
        Ok(Self { size, rng: Rng::new(setup.seed), table: Vec::new(), seats: Vec::new() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        let seat = |endpoint: Endpoint| Seat { id: endpoint.id(), weight: endpoint.weight(), index: endpoint.index() };
        let mut seats: Vec<Seat> = endpoints.iter().map(seat).collect();
        seats.sort_unstable();
        // Labels and zones change too, and matter nothing.
        if seats != self.seats {
            self.table = claim(&seats, self.size);
            self.seats = seats;
        }
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        let mut hash = request.hash_or_random(&mut self.rng);
        if request.attempt() == 0 {
            return self.at(hash).into();
        }
        let tried = request.tried();
        for _ in 0..REHASHES {
            match self.at(hash) {
                Some(index) if tried.contains(index) => hash = mix(hash.wrapping_add(1)),
                place => return place.into(),
            }
        }
        // Whoever is left is light, or has no place in a table that is too small.
        // The same for the same key, here too.
        Rng::new(hash).choose_weighted(endpoints.candidates(), Endpoint::weight).into()
    }
}

/// With eight endpoints tried of nine that are equal, one key in two is still unlucky after so many.
const REHASHES: u32 = 8;

impl Maglev {
    #[inline]
    fn at(&self, hash: u64) -> Option<u32> {
        // A multiplication instead of the paper's division: equally even, as hashes are mixed.
        let place = ((hash >> 32) * self.table.len() as u64) >> 32;
        self.table.get(place as usize).copied()
    }
}

/// The paper's permutation: a start and a step, which is as good as any as long as the size is prime.
struct Permutation {
    next: u32,
    step: u32,
}

impl Permutation {
    fn of(id: u64, size: u32) -> Self {
        // The id is a hash; another one of it is independent enough of the first.
        let (offset, skip) = (id % u64::from(size), mix(id ^ 0x6d61_676c_6576) % u64::from(size - 1));
        Self { next: offset as u32, step: skip as u32 + 1 }
    }

    fn next(&mut self, size: u32) -> u32 {
        let place = self.next;
        self.next += self.step;
        if self.next >= size {
            self.next -= size;
        }
        place
    }
}

/// The table. Only `size` turns are taken whatever the weights, and about `size * ln(size)` places looked at.
fn claim(seats: &[Seat], size: u32) -> Vec<u32> {
    claim_with(seats, size, seats.iter().map(|seat| Permutation::of(seat.id, size)).collect())
}

fn claim_with(seats: &[Seat], size: u32, mut permutations: Vec<Permutation>) -> Vec<u32> {
    let Some(heaviest) = seats.iter().map(|seat| u64::from(seat.weight)).max() else { return Vec::new() };
    let mut table = vec![FREE; size as usize];
    let mut claim = |number: usize| {
        let place = loop {
            let place = permutations[number].next(size) as usize;
            if table[place] == FREE {
                break place;
            }
        };
        table[place] = seats[number].index;
    };
    if seats.iter().all(|seat| u64::from(seat.weight) == heaviest) {
        (0..seats.len()).cycle().take(size as usize).for_each(claim);
        return table;
    }
    // The nth turn of an endpoint is in the round in which it is due by its weight; within a round, they go by ids.
    let round = |number: usize, nth: u64| (nth * heaviest).div_ceil(u64::from(seats[number].weight));
    let mut due: BinaryHeap<_> = (0..seats.len()).map(|number| Reverse((round(number, 1), number, 1))).collect();
    for _ in 0..size {
        let Some(mut first) = due.peek_mut() else { break };
        let Reverse((_, number, nth)) = *first;
        *first = Reverse((round(number, nth + 1), number, nth + 1));
        claim(number);
    }
    table
}

const FREE: u32 = u32::MAX;

export!(Maglev);

#[cfg(test)]
mod tests;
