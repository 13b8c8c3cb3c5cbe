//! MD5 (RFC 1321), because ketama's points are made with it, and only for that: it protects nothing.

/// The words of the digest of `message`.
pub(crate) fn md5(message: &[u8]) -> [u32; 4] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let (blocks, rest) = message.as_chunks::<64>();
    blocks.iter().for_each(|block| take_in(&mut state, block));
    // A bit, zeroes, and the length in bits; in a block of their own when they do not fit.
    let mut last = [0; 128];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    let end = if rest.len() < 56 { 64 } else { 128 };
    last[end - 8..end].copy_from_slice(&(message.len() as u64 * 8).to_le_bytes());
    last[..end].as_chunks::<64>().0.iter().for_each(|block| take_in(&mut state, block));
    state
}

/// RFC 1321, section 3.4.
fn take_in(state: &mut [u32; 4], block: &[u8; 64]) {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let mut turned = *state;
    round::<0>(&mut turned, &words, |b, c, d| (b & c) | (!b & d), |step| step);
    round::<1>(&mut turned, &words, |b, c, d| (d & b) | (!d & c), |step| 5 * step + 1);
    round::<2>(&mut turned, &words, |b, c, d| b ^ c ^ d, |step| 3 * step + 5);
    round::<3>(&mut turned, &words, |b, c, d| c ^ (b | !d), |step| 7 * step);
    for (word, change) in state.iter_mut().zip(turned) {
        *word = word.wrapping_add(change);
    }
}

/// Sixteen steps, as a function of their own for each round: a step that has to ask which round it is in takes several
/// times as long.
#[inline]
fn round<const ROUND: usize>(
    [a, b, c, d]: &mut [u32; 4],
    words: &[u32; 16],
    mixed: impl Fn(u32, u32, u32) -> u32,
    word: impl Fn(usize) -> usize,
) {
    for step in 0..16 {
        let sum = a.wrapping_add(mixed(*b, *c, *d)).wrapping_add(SINES[ROUND * 16 + step]);
        let turned = sum.wrapping_add(words[word(step) % 16]).rotate_left(SHIFTS[ROUND][step % 4]);
        (*a, *d, *c, *b) = (*d, *c, *b, b.wrapping_add(turned));
    }
}

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// 2^32 times the absolute sine of 1 to 64 radians.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        let digest: String = md5(message.as_bytes()).iter().map(|word| format!("{:08x}", word.swap_bytes())).collect();
        assert_eq!(digest, expected, "{message}");
    }

    #[test]
    fn published_vectors() {
        // RFC 1321, appendix A.5.
        check("", "d41d8cd98f00b204e9800998ecf8427e");
        check("a", "0cc175b9c0f1b6a831c399e269772661");
        check("abc", "900150983cd24fb0d6963f7d28e17f72");
        check("message digest", "f96b697d7cb7938d525a2f31aaf161d0");
        check("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f");
        check(&"1234567890".repeat(8), "57edf4a22be3c955ac49da2e2107b67a");
    }

    #[test]
    fn the_sines_are_sines() {
        for (sine, radians) in SINES.iter().zip(1..) {
            assert_eq!(*sine, (f64::from(radians).sin().abs() * 4_294_967_296.0) as u32);
        }
    }
}
