//! Hashing, for policies that send the same key to the same place.

/// A 64-bit hash of some bytes: FNV-1a (Fowler, Noll and Vo), [mixed](mix).
///
/// The same everywhere and for ever, so that several proxies agree. Keys that are chosen to collide will: this is
/// not a keyed hash.
pub fn hash(bytes: &[u8]) -> u64 {
    mix(fnv1a(bytes))
}

/// Spreads every bit of a number over all of it (the finalizer of MurmurHash3, by Appleby). Equal numbers stay
/// equal and different ones different.
///
/// With it, rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM
/// Transactions on Networking 6(1), 1998) is one line: a key's endpoint is the one that it ranks highest, and when
/// an endpoint leaves, only its own keys move.
///
/// ```
/// # use sluicegate_sdk::*;
/// fn rendezvous(request: &Request, endpoints: &Endpoints) -> Pick {
///     endpoints.candidates().max_by_key(|endpoint| mix(request.hash() ^ endpoint.id())).into()
/// }
/// ```
#[inline]
pub const fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // From the authors' test suite.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn mixing_changes_half_of_the_bits() {
        assert_eq!(mix(0), 0);
        for bit in 0..64 {
            let changed = (mix(0x1234_5678) ^ mix(0x1234_5678 ^ (1 << bit))).count_ones();
            assert!((16..=48).contains(&changed), "bit {bit} changes {changed}");
        }
    }

    #[test]
    fn a_release_does_not_change_a_hash() {
        assert_eq!(hash(b"127.0.0.1:9001"), 0x33ac_4f5a_f5b0_6ee4);
    }
}
