//! Which bytes may stand where, and how far a run of them goes.
//!
//! Values and targets are looked at eight bytes at a time, in ordinary integers (Mycroft's test for a zero byte, 1987;
//! Warren, "Hacker's Delight", section 6-1). A test marks the first byte that it is about exactly; only above that one
//! may it mark a byte wrongly.

const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = LOW << 7;

/// Bits of [`CLASS`].
const PLAIN: u8 = 1;
const TOKEN: u8 = 2;
const HOST: u8 = 4;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => PLAIN | TOKEN | HOST,
            b'.' | b'_' | b'~' => TOKEN | HOST,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' => TOKEN,
            _ => 0,
        };
        byte += 1;
    }
    class
};

/// Whether a byte may stand in a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    CLASS[usize::from(byte)] & TOKEN != 0
}

/// How many bytes at the front are letters, digits and hyphens: what nearly all names consist of.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    class_run(bytes, PLAIN)
}

/// How many bytes at the front may stand in a token.
#[inline]
pub(super) fn token_run(bytes: &[u8]) -> usize {
    class_run(bytes, TOKEN)
}

/// How many bytes at the front may stand in the name of a host: letters, digits and `-._~`.
#[inline]
pub(super) fn host_run(bytes: &[u8]) -> usize {
    class_run(bytes, HOST)
}

/// Four at a time, because a branch costs more than looking a byte up.
#[inline]
fn class_run(bytes: &[u8], class: u8) -> usize {
    let is_in = |byte: u8| CLASS[usize::from(byte)] & class;
    let (fours, _) = bytes.as_chunks::<4>();
    let all = |four: &&[u8; 4]| is_in(four[0]) & is_in(four[1]) & is_in(four[2]) & is_in(four[3]) != 0;
    let front = fours.iter().take_while(all).count() * 4;
    front + bytes[front..].iter().take_while(|byte| is_in(**byte) != 0).count()
}

/// How many bytes at the front are neither control characters, HTAB included, nor DEL.
#[inline]
pub(super) fn text_run(bytes: &[u8]) -> usize {
    run(bytes, |word| below(word, 0x20) | equal(word, 0x7f))
}

/// How many bytes at the front are visible ASCII characters, but for `#`.
#[inline]
pub(super) fn target_run(bytes: &[u8]) -> usize {
    run(bytes, |word| below(word, 0x21) | (word & HIGH) | equal(word, 0x7f) | equal(word, b'#'))
}

/// How far it is to the first byte that `stops` marks with its highest bit.
#[inline]
fn run(bytes: &[u8], stops: impl Fn(u64) -> u64) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = stops(u64::from_le_bytes(*word));
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    // What is beyond the end is filled up with a byte that nothing stops at.
    let mut last = [b'a'; 8];
    last[..tail.len()].copy_from_slice(tail);
    let marks = stops(u64::from_le_bytes(last));
    let in_tail = if marks == 0 { tail.len() } else { marks.trailing_zeros() as usize / 8 };
    words.len() * 8 + in_tail
}

/// Marks bytes below `limit`, which is at most 128.
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(LOW * u64::from(limit)) & !word & HIGH
}

/// Marks bytes equal to `byte`.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (LOW * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_stops_or_does_not_at_every_place() {
        for byte in 0..=255 {
            for before in 0..20 {
                let mut bytes = vec![b'x'; 25];
                bytes[before] = byte;
                let is_text = byte >= 0x20 && byte != 0x7f;
                assert_eq!(text_run(&bytes), if is_text { 25 } else { before }, "{byte} at {before}");
                let is_target = (0x21..0x7f).contains(&byte) && byte != b'#';
                assert_eq!(target_run(&bytes), if is_target { 25 } else { before }, "{byte} at {before}");
            }
        }
    }

    #[test]
    fn tokens_are_what_the_grammar_says() {
        let others = b"!#$%&'*+-.^_`|~";
        for byte in 0..=255_u8 {
            assert_eq!(is_token(byte), byte.is_ascii_alphanumeric() || others.contains(&byte), "{byte}");
            assert_eq!(plain_run(&[byte]) == 1, byte.is_ascii_alphanumeric() || byte == b'-', "{byte}");
            assert_eq!(host_run(&[byte]) == 1, byte.is_ascii_alphanumeric() || b"-._~".contains(&byte), "{byte}");
            for before in 0..10 {
                let mut bytes = [b'x'; 10];
                bytes[before] = byte;
                assert_eq!(token_run(&bytes), if is_token(byte) { 10 } else { before }, "{byte} at {before}");
            }
        }
    }

    proptest! {
        #[test]
        fn runs_are_those_of_a_byte_by_byte_search(bytes: Vec<u8>) {
            let is_text = |byte: &u8| *byte >= 0x20 && *byte != 0x7f;
            prop_assert_eq!(text_run(&bytes), bytes.iter().take_while(|byte| is_text(byte)).count());
            let is_target = |byte: &u8| (0x21..0x7f).contains(byte) && *byte != b'#';
            prop_assert_eq!(target_run(&bytes), bytes.iter().take_while(|byte| is_target(byte)).count());
        }
    }
}
