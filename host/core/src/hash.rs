//! Hashing of keys that have to mean the same everywhere and for ever.

/// FNV-1a, 64 bits (Fowler, Noll and Vo), with MurmurHash3's finalizer so that keys which differ in their last digit
/// differ in every bit. It is the SDK's `hash`.
///
/// It is not keyed: who may choose keys can choose some that collide.
pub fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, step);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_does_not_change_a_hash() {
        assert_eq!(hash(b"127.0.0.1:9001"), 0x33ac_4f5a_f5b0_6ee4);
        assert_ne!(hash(b""), 0);
    }
}
