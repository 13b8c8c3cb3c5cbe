//! Names for requests: W3C trace context, and request ids.

use std::{fmt, str};

use thiserror::Error;

/// How long a `traceparent` of version 00 is, in bytes.
const TRACEPARENT: usize = 55;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A `traceparent` header (W3C, "Trace Context", section 3.2). Shown as it is sent: in version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    /// Bit 0 says that the caller may have recorded the trace; the others are to be passed on as 0.
    flags: u8,
}

/// Why a `traceparent` is to be ignored, and a new trace begun (section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("not a valid traceparent")]
pub struct BadTraceParent;

impl TraceParent {
    /// None if one of both is 0, which stands for nothing.
    pub fn new(trace_id: u128, parent_id: u64, is_sampled: bool) -> Option<Self> {
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id, flags: u8::from(is_sampled) })
    }

    /// Reads a header's value. Of versions yet to come, what version 00 knows is read (section 4.3).
    pub fn parse(value: &[u8]) -> Result<Self, BadTraceParent> {
        let known = value.first_chunk::<TRACEPARENT>().ok_or(BadTraceParent)?;
        let has_dashes = [2, 35, 52].iter().all(|place| known[*place] == b'-');
        let version = hex(&known[..2])?;
        let fits = match version {
            0 => value.len() == TRACEPARENT,
            0xff => false,
            _ => value.get(TRACEPARENT).is_none_or(|byte| *byte == b'-'),
        };
        if !has_dashes || !fits {
            return Err(BadTraceParent);
        }
        let flags = hex(&known[53..])? as u8;
        Self::new(hex(&known[3..35])?, hex(&known[36..52])? as u64, flags & 1 == 1).ok_or(BadTraceParent)
    }

    /// What this hop sends on: the same trace, with this hop as the parent. None if `parent_id` is 0.
    pub fn child(self, parent_id: u64) -> Option<Self> {
        (parent_id != 0).then_some(Self { parent_id, ..self })
    }

    /// The whole trace.
    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The caller's part of it.
    pub fn parent_id(self) -> u64 {
        self.parent_id
    }

    /// Whether the caller may have recorded it.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

/// Lower-case digits only, as the specification asks for. At most 32 of them.
fn hex(digits: &[u8]) -> Result<u128, BadTraceParent> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Ok(number << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Ok(number << 4 | u128::from(digit - b'a' + 10)),
        _ => Err(BadTraceParent),
    })
}

/// A name for a request: 128 random bits from the caller. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// An id of these bits. It is as hard to guess as they are.
    pub fn new(random: [u64; 2]) -> Self {
        Self(u128::from(random[0]) << 64 | u128::from(random[1]))
    }

    /// Its bits, for example as a trace's id.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// As 32 hexadecimal digits.
    pub fn hex(self) -> [u8; 32] {
        std::array::from_fn(|place| HEX[(self.0 >> (124 - 4 * place)) as usize & 0xf])
    }

    /// As a random UUID (RFC 9562, section 5.4), which takes six bits for the version and the variant.
    pub fn uuid(self) -> [u8; 36] {
        let bits = self.0 & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
        let digits = Self(bits).hex();
        let mut uuid = [b'-'; 36];
        for (from, to, at) in [(0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)] {
            uuid[at..at + to - from].copy_from_slice(&digits[from..to]);
        }
        uuid
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specifications_example() {
        let parent = TraceParent::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(parent.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((parent.parent_id(), parent.is_sampled()), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(parent.to_string(), EXAMPLE);
        let child = parent.child(0xb7ad_6b71_6920_3331).unwrap();
        assert_eq!(child.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01");
        assert_eq!(parent.child(0), None);
    }

    #[test]
    fn versions_to_come_are_read_as_far_as_known() {
        let sampled = EXAMPLE.replacen("00", "cc", 1);
        for good in [sampled.clone(), format!("{sampled}-what-the-future-brings"), format!("{sampled}-")] {
            assert_eq!(TraceParent::parse(good.as_bytes()).unwrap().to_string(), EXAMPLE, "{good}");
        }
        let unsampled = TraceParent::parse(EXAMPLE.replace("-01", "-fe").as_bytes()).unwrap();
        assert!(unsampled.to_string().ends_with("-00"));
    }

    #[test]
    fn what_is_ignored() {
        let zero = |from, to| format!("{}{}{}", &EXAMPLE[..from], "0".repeat(to - from), &EXAMPLE[to..]);
        let bad = [
            String::new(),
            EXAMPLE[..54].to_owned(),
            format!("{EXAMPLE}-"),
            format!("{EXAMPLE} "),
            format!(" {EXAMPLE}"),
            EXAMPLE.to_uppercase(),
            EXAMPLE.replacen("00", "ff", 1),
            EXAMPLE.replacen("00", "0g", 1),
            EXAMPLE.replace('-', "_"),
            EXAMPLE.replacen("00", "01", 1) + ".",
            zero(3, 35),
            zero(36, 52),
            EXAMPLE.replace("-01", "-0x"),
            EXAMPLE.replace("4bf", "+bf"),
        ];
        for bad in bad {
            assert_eq!(TraceParent::parse(bad.as_bytes()), Err(BadTraceParent), "{bad:?}");
        }
    }

    #[test]
    fn ids_have_two_forms() {
        let id = RequestId::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        assert_eq!(id.to_string(), "0123456789abcdeffedcba9876543210");
        assert_eq!(str::from_utf8(&id.uuid()), Ok("01234567-89ab-4def-bedc-ba9876543210"));
        assert_eq!(str::from_utf8(&RequestId::new([0; 2]).uuid()), Ok("00000000-0000-4000-8000-000000000000"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id: u128, parent_id: u64, is_sampled: bool) {
            if let Some(parent) = TraceParent::new(trace_id, parent_id, is_sampled) {
                prop_assert_eq!(TraceParent::parse(parent.to_string().as_bytes()), Ok(parent));
            }
        }

        #[test]
        fn a_changed_byte_never_panics(place in 0..EXAMPLE.len(), byte: u8, more: Vec<u8>) {
            let mut value = [EXAMPLE.as_bytes(), &more].concat();
            value[place] = byte;
            let _ = TraceParent::parse(&value);
        }
    }
}
