//! What a prompt begins with: a hash for each block of it, which stands for all that comes before, too.

/// The hashes of the whole blocks of these bytes, into `hashes`. What is left of the last block is none.
///
/// Each hash goes on from the one before, as vLLM's do ("Automatic Prefix Caching", in its design documentation): so
/// equal hashes mean equal beginnings, up to there.
pub(crate) fn hash_blocks(bytes: &[u8], block: usize, most: usize, hashes: &mut Vec<u64>) {
    hashes.clear();
    let mut hash = 0;
    for block in bytes.chunks_exact(block).take(most) {
        hash = hash_block(hash, block);
        hashes.push(hash);
    }
}

/// Eight bytes at a time, because a request waits for thousands: a multiplication that spreads bits upwards, and a
/// rotation that brings them down again (as in FxHash), mixed well in the end.
fn hash_block(parent: u64, block: &[u8]) -> u64 {
    let mut hash = parent;
    let (words, rest) = block.as_chunks::<8>();
    for word in words {
        hash = step(hash, u64::from_le_bytes(*word));
    }
    for byte in rest {
        hash = step(hash, u64::from(*byte));
    }
    // 0 is for places in which nothing is.
    sluicegate_sdk::mix(hash).max(1)
}

#[inline]
fn step(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Which endpoint the requests went to that began in some way: of a bounded number of beginnings, the ones that were seen
/// last.
///
/// It is a cache as processors have them: a hash can be in one set of [`WAYS`] places only, and in a set that is full the
/// one goes that was used least recently. So nothing is ever moved, and no memory is asked for after the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    places: Vec<[Place; WAYS]>,
    now: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    hash: u64,
    endpoint: u64,
    used: u32,
}

/// A set is a few cache lines, which the processor fetches together.
const WAYS: usize = 8;

impl Seen {
    /// Room for so many blocks: a power of two, and at least [`WAYS`].
    pub(crate) fn with_room_for(blocks: u32) -> Self {
        Self { places: vec![[Place::default(); WAYS]; blocks as usize / WAYS], now: 0 }
    }

    /// A request later. What is looked up or noted from here on is used now.
    pub(crate) fn tick(&mut self) {
        self.now = self.now.wrapping_add(1);
    }

    /// The id of the endpoint where the request went last that began like this.
    pub(crate) fn endpoint(&self, hash: u64) -> Option<u64> {
        self.places[self.set(hash)].iter().find(|place| place.hash == hash).map(|place| place.endpoint)
    }

    /// A request that begins like this goes to the endpoint with this id.
    pub(crate) fn note(&mut self, hash: u64, endpoint: u64) {
        let (set, used) = (self.set(hash), self.now);
        // The same, or else an empty one, or else the one that was used longest ago.
        let rank = |place: &&mut Place| match place.hash {
            same if same == hash => (2, 0),
            0 => (1, 0),
            _ => (0, used.wrapping_sub(place.used)),
        };
        if let Some(place) = self.places[set].iter_mut().max_by_key(rank) {
            *place = Place { hash, endpoint, used };
        }
    }

    #[inline]
    fn set(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(text: &str) -> Vec<u64> {
        let mut hashes = Vec::new();
        hash_blocks(text.as_bytes(), 20, 5, &mut hashes);
        hashes
    }

    #[test]
    fn a_hash_stands_for_all_before_it() {
        let text = "The quick brown fox jumps over the lazy dog, and then it rests. ".repeat(3);
        let all = hashes(&text);
        assert_eq!(all.len(), 5, "no more than are wanted");
        assert_eq!(hashes(&text[..59]), all[..2], "whole blocks only");
        assert!(hashes(&text[..19]).is_empty());
        let mut distinct = all.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 5);
        for place in 0..100 {
            let mut other = text.clone().into_bytes();
            other[place] ^= 1;
            let other = hashes(std::str::from_utf8(&other).unwrap());
            let differ = place / 20;
            assert_eq!(other[..differ], all[..differ], "what is before byte {place}");
            assert!(other[differ..].iter().zip(&all[differ..]).all(|(other, one)| other != one), "and after");
        }
    }

    #[test]
    fn blocks_that_are_moved_are_others() {
        let (one, other) = (hashes(&("a".repeat(20) + &"b".repeat(20))), hashes(&("b".repeat(20) + &"a".repeat(20))));
        assert!(one.iter().all(|hash| !other.contains(hash)));
    }

    #[test]
    fn what_was_used_least_recently_goes() {
        let mut seen = Seen::with_room_for(8);
        for hash in 1..=8 {
            seen.tick();
            seen.note(hash, hash * 10);
        }
        seen.tick();
        seen.note(1, 11);
        seen.note(9, 90);
        assert_eq!((1..=9).map(|hash| seen.endpoint(hash)).collect::<Vec<_>>()[..3], [Some(11), None, Some(30)]);
        assert_eq!(seen.endpoint(9), Some(90));
    }

    #[test]
    fn time_may_wrap_around() {
        let mut seen = Seen::with_room_for(8);
        seen.now = u32::MAX - 3;
        for hash in 1..=9 {
            seen.tick();
            seen.note(hash, hash);
        }
        assert_eq!((1..=9).filter(|hash| seen.endpoint(*hash).is_none()).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn room_is_used() {
        let mut seen = Seen::with_room_for(1 << 12);
        let hash = |number: u64| sluicegate_sdk::mix(number);
        (1..=1 << 11).for_each(|number| seen.note(hash(number), number));
        let kept = (1..=1 << 11).filter(|number| seen.endpoint(hash(*number)) == Some(*number)).count();
        assert!(kept > 2000, "{kept} of 2048, at half of the room");
    }
}
