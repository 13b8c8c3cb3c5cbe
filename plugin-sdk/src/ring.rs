//! A consistent-hash ring.

use crate::{Endpoints, PerEndpoint, md5::md5};

/// Ketama's ring: every endpoint has points on a circle, and a key belongs to the endpoint whose point comes next.
/// When an endpoint joins or leaves, only the keys next to its own points move.
///
/// This is consistent hashing (Karger et al., "Consistent hashing and random trees", STOC 1997, section 4) with the
/// points of ketama (Jones, last.fm, 2007), as libmemcached's weighted ketama makes them: an endpoint with its
/// share `s` of all weight has 4 points for each of the MD5 digests of `address-0` to `address-k`, where `k` is
/// `s * endpoints * points / 4`, rounded down. Other than there, an endpoint of little weight keeps one digest.
///
/// [`follow`](Self::follow) the endpoints whenever they change. That costs a digest for each four points of the
/// endpoints that are new or have another share, and one pass over all points. Finding a key's endpoint costs a
/// binary search.
///
/// ```
/// # use sluicegate_sdk::*;
/// fn pick(ring: &Ring, request: &Request) -> Pick {
///     let tried = request.tried();
///     ring.clockwise(request.hash()).find(|index| !tried.contains(*index)).into()
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Ring {
    // Sorted: 32 bits of place on the circle, then 32 bits of the endpoint's index.
    points: Vec<u64>,
    owners: PerEndpoint<Owner>,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    index: u32,
    digests: u32,
}

const NOBODY: u32 = u32::MAX;

impl Ring {
    /// Ketama's number of points for an endpoint of average weight.
    pub const POINTS: u32 = 160;

    /// So many points altogether, about: with more endpoints than fit at the wanted number each, all have fewer. It
    /// bounds the memory (8 bytes a point, and as much again while the ring is built) and the time.
    pub const MOST: u32 = 1 << 20;

    /// Gives the endpoints their places, an endpoint of average weight this many points.
    pub fn follow(&mut self, endpoints: &Endpoints, points: u32) {
        let count = u64::from(endpoints.len());
        let total: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight())).sum();
        let each = u64::from(points.min(Self::MOST / endpoints.len().max(1)) / 4).max(1);
        let digests = |weight: u32| (u64::from(weight) * each * count / total.max(1)).max(1) as u32;

        let mut moved_to = vec![NOBODY; self.owners.as_slice().len()];
        self.owners.follow(endpoints, |_| Owner { index: NOBODY, digests: 0 });
        let mut new = Vec::new();
        for endpoint in endpoints.iter() {
            let index = endpoint.index();
            let now = Owner { index, digests: digests(endpoint.weight()) };
            let before = std::mem::replace(&mut self.owners[index], now);
            if before.digests == now.digests {
                moved_to[before.index as usize] = index;
            } else {
                add_points(&mut new, &endpoint.address(), now);
            }
        }
        self.points.retain_mut(|point| {
            let index = moved_to[*point as u32 as usize];
            *point = at(place(*point), index);
            index != NOBODY
        });
        self.points.append(&mut new);
        // The stable sort of the standard library takes what is sorted already as it is.
        self.points.sort();
    }

    /// The owners of all points, from the first one at or after the place of this hash, once round the circle. An
    /// endpoint comes as often as it has points.
    #[inline]
    pub fn clockwise(&self, hash: u64) -> impl Iterator<Item = u32> {
        // Hashes are mixed: any half of one is as good as the other.
        self.clockwise_from((hash >> 32) as u32)
    }

    #[inline]
    fn clockwise_from(&self, start: u32) -> impl Iterator<Item = u32> {
        let first = self.points.partition_point(|point| place(*point) < start);
        self.points[first..].iter().chain(&self.points[..first]).map(|point| *point as u32)
    }
}

#[inline]
fn place(point: u64) -> u32 {
    (point >> 32) as u32
}

fn at(place: u32, index: u32) -> u64 {
    u64::from(place) << 32 | u64::from(index)
}

fn add_points(points: &mut Vec<u64>, address: &str, owner: Owner) {
    let mut name = format!("{address}-").into_bytes();
    let start = name.len();
    for number in 0..owner.digests {
        name.truncate(start);
        push_decimal(&mut name, number);
        points.extend(md5(&name).map(|place| at(place, owner.index)));
    }
}

/// What `write!` would do with ten times the code, for each of a million points.
fn push_decimal(text: &mut Vec<u8>, number: u32) {
    if number >= 10 {
        push_decimal(text, number / 10);
    }
    text.push(b'0' + (number % 10) as u8);
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
