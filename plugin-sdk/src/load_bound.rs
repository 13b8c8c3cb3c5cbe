//! A bound on how much more than its share an endpoint may have.

use crate::{Endpoint, Endpoints, Signal};

/// Which endpoints have room: those that have less than a factor times their share, by weight, of all requests in flight
/// (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018, section 1.1).
///
/// The sum of all requests in flight is followed block by block: each [`read_next`](Self::read_next) reads 64 endpoints
/// anew, so the sum is exact with up to 64 endpoints and, with more, as old as the last `endpoints / 64` picks.
///
/// ```
/// # use sluicegate_sdk::*;
/// /// The first with room, or else whoever has least.
/// fn pick(bound: &mut LoadBound, endpoints: &Endpoints) -> Pick {
///     bound.read_next(endpoints);
///     let first = endpoints.candidates().find(|endpoint| bound.has_room(endpoint));
///     first.or_else(|| endpoints.least_loaded()).into()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct LoadBound {
    factor: f64,
    total_weight: f64,
    blocks: Vec<u64>,
    next: usize,
    total: u64,
    // For each unit of weight.
    most: f64,
}

impl LoadBound {
    /// A bound of so many times the share: more than 1.
    pub fn new(factor: f64) -> Self {
        Self { factor, total_weight: 0.0, blocks: Vec::new(), next: 0, total: 0, most: 0.0 }
    }

    /// Follows the endpoints: whenever they change.
    pub fn follow(&mut self, endpoints: &Endpoints) {
        self.total_weight = endpoints.iter().map(|endpoint| f64::from(endpoint.weight())).sum();
        self.blocks.resize(endpoints.len().div_ceil(Endpoints::BLOCK) as usize, 0);
        self.read_all(endpoints);
    }

    /// Reads the next block of endpoints: once ahead of each pick.
    #[inline]
    pub fn read_next(&mut self, endpoints: &Endpoints) {
        if let Some(block) = self.blocks.get_mut(self.next) {
            let sum = sum_of_block(endpoints, self.next);
            self.total = self.total - *block + sum;
            *block = sum;
            self.next = if self.next + 1 < self.blocks.len() { self.next + 1 } else { 0 };
        }
        self.settle();
    }

    /// Reads all blocks: where the sum had better be exact.
    pub fn read_all(&mut self, endpoints: &Endpoints) {
        self.blocks.iter_mut().enumerate().for_each(|(nth, block)| *block = sum_of_block(endpoints, nth));
        self.total = self.blocks.iter().sum();
        self.next = 0;
        self.settle();
    }

    #[inline]
    fn settle(&mut self) {
        // With the request that is being balanced, so that an idle cluster has room for it.
        self.most = self.factor * (self.total + 1) as f64 / self.total_weight;
    }

    /// Whether this endpoint may get one more. Reads its requests in flight.
    #[inline]
    pub fn has_room(&self, endpoint: &Endpoint) -> bool {
        // Below the bound that is rounded up is below the bound that is not.
        f64::from(endpoint.in_flight()) < self.most * f64::from(endpoint.weight())
    }
}

#[inline]
fn sum_of_block(endpoints: &Endpoints, nth: usize) -> u64 {
    let start = nth as u32 * Endpoints::BLOCK;
    endpoints.read_block(start, Signal::InFlight, |counts| counts.iter().copied().map(u64::from).sum())
}
