//! The message itself (Protocol Buffers), and the base64 that it travels in.

use super::Report;

// `OrcaLoadReport`.
const CPU_UTILIZATION: u64 = 1;
const RPS_FRACTIONAL: u64 = 6;
const EPS: u64 = 7;
const NAMED_METRICS: u64 = 8;
const APPLICATION_UTILIZATION: u64 = 9;

// An entry of a map.
const KEY: u64 = 1;
const VALUE: u64 = 2;

/// One field, of those kinds that are read.
enum Field<'a> {
    Double(f64),
    Bytes(&'a [u8]),
    Other,
}

/// Fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field's number and value. The outer option is none when the bytes are no message.
    fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => {
                self.varint()?;
                Field::Other
            }
            1 => Field::Double(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => {
                self.take(4)?;
                Field::Other
            }
            _ => return None,
        };
        Some(Some((tag >> 3, field)))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

pub(super) fn parse(message: &[u8]) -> Option<Report> {
    let mut report = Report::default();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (CPU_UTILIZATION, Field::Double(value)) => report.set("cpu_utilization", value),
            (RPS_FRACTIONAL, Field::Double(value)) => report.set("rps_fractional", value),
            (EPS, Field::Double(value)) => report.set("eps", value),
            (APPLICATION_UTILIZATION, Field::Double(value)) => report.set("application_utilization", value),
            (NAMED_METRICS, Field::Bytes(entry)) => {
                let (name, value) = entry_of(entry)?;
                report.set_named(name, value);
            }
            _ => {}
        }
    }
    Some(report)
}

fn entry_of(entry: &[u8]) -> Option<(&str, f64)> {
    let (mut name, mut value) = ("", 0.0);
    let mut fields = Fields(entry);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (KEY, Field::Bytes(key)) => name = std::str::from_utf8(key).ok()?,
            (VALUE, Field::Double(number)) => value = number,
            _ => {}
        }
    }
    Some((name, value))
}

/// Base64 (RFC 4648, section 4), with its padding or without: gRPC sends either.
pub(super) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (digits, padding) = text.split_at(end);
    if padding.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut number = 0_u32;
        for digit in group {
            number = number << 6 | value_of(*digit)?;
        }
        // A last group of two or three digits has one or two bytes.
        number <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&number.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn value_of(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}
