//! Values of cookies: which endpoint, and that we have said so.

use siphasher::sip128::SipHasher24;
use sluicegate_sdk::{ConfigError, Endpoints};

/// Makes and reads values with one key.
#[derive(Clone)]
pub(crate) struct Signer {
    prf: SipHasher24,
    // What is signed, up to the endpoint's name.
    signed: Vec<u8>,
    // The names of the endpoints that are there, sorted, with their indexes.
    names: Vec<(u64, u32)>,
}

/// What a cookie's value names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The endpoint at this index.
    Endpoint(u32),
    /// An endpoint that is not there, or not now.
    Gone,
    /// Nothing: this key has not signed it.
    Forged,
}

const NAME: u8 = 0;
const TAG: u8 = 1;

impl Signer {
    /// `name`: of the configuration's key, for the error.
    pub(crate) fn new(name: &str, key: &str, cookie: &str) -> Result<Self, ConfigError> {
        let mut bytes = [0; 16];
        if !from_hex(key, &mut bytes) {
            return Err(ConfigError::at(name, "has to be 32 hexadecimal digits, as `openssl rand -hex 16` makes them"));
        }
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(ConfigError::at(name, "can be guessed: make one with `openssl rand -hex 16`"));
        }
        let mut signed = vec![TAG];
        signed.extend(cookie.bytes());
        Ok(Self { prf: SipHasher24::new_with_key(&bytes), signed, names: Vec::new() })
    }

    /// Learns the names of the endpoints.
    pub(crate) fn follow(&mut self, endpoints: &Endpoints) {
        self.names = endpoints.iter().map(|endpoint| (self.name(endpoint.id()), endpoint.index())).collect();
        self.names.sort_unstable();
    }

    /// The value for the endpoint with this id.
    pub(crate) fn value(&self, id: u64) -> String {
        let name = self.name(id);
        let mut text = String::with_capacity(DIGITS);
        push_hex(&mut text, &name.to_be_bytes());
        push_hex(&mut text, &self.tag(name).to_be_bytes());
        text
    }

    /// What a value names.
    pub(crate) fn read(&self, value: &str) -> Named {
        let mut bytes = [0; DIGITS / 2];
        if !from_hex(value, &mut bytes) {
            return Named::Forged;
        }
        let (name, tag) = bytes.split_at(8);
        let name = name.iter().fold(0, |name, byte| name << 8 | u64::from(*byte));
        let tag = tag.iter().fold(0, |tag, byte| tag << 8 | u128::from(*byte));
        // All bits at once: how long it takes says nothing about how many are right.
        if self.tag(name) ^ tag != 0 {
            return Named::Forged;
        }
        let found = self.names.binary_search_by_key(&name, |(name, _)| *name);
        found.map_or(Named::Gone, |place| Named::Endpoint(self.names[place].1))
    }

    fn name(&self, id: u64) -> u64 {
        let mut message = [NAME; 9];
        message[1..].copy_from_slice(&id.to_be_bytes());
        self.hash(&message) as u64
    }

    #[inline(never)]
    fn hash(&self, message: &[u8]) -> u128 {
        let hash = self.prf.hash(message);
        u128::from(hash.h2) << 64 | u128::from(hash.h1)
    }

    fn tag(&self, name: u64) -> u128 {
        let mut message = [0; 1 + 64 + 8];
        let length = self.signed.len();
        message[..length].copy_from_slice(&self.signed);
        message[length..length + 8].copy_from_slice(&name.to_be_bytes());
        self.hash(&message[..length + 8])
    }
}

/// Of a value: 64 bits of name, 128 of tag.
const DIGITS: usize = 48;

fn push_hex(text: &mut String, bytes: &[u8]) {
    let digit = |number: u8| char::from(b"0123456789abcdef"[usize::from(number)]);
    bytes.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 15)]));
}

/// Whether these are the digits of exactly so many bytes, in either case: one spelling is enough for our own values, but a
/// key is an operator's.
fn from_hex(text: &str, bytes: &mut [u8]) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    text.len() == 2 * bytes.len()
        && bytes.iter_mut().zip(pairs).all(|(byte, pair)| {
            let both = digit(pair[0]).zip(digit(pair[1]));
            both.map(|(high, low)| *byte = (high << 4 | low) as u8).is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of `vectors_sip128` in the authors' reference implementation: the key is 0 to 15, the messages are
    /// nothing, 0, and 0 and 1.
    #[test]
    fn published_vectors() {
        let key: Vec<u8> = (0..16).collect();
        let prf = SipHasher24::new_with_key(key.as_slice().try_into().unwrap());
        let hash = |message: &[u8]| {
            let mut text = String::new();
            push_hex(&mut text, &prf.hash(message).as_bytes());
            text
        };
        assert_eq!(hash(&[]), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(hash(&[0]), "da87c1d86b99af44347659119b22fc45");
        assert_eq!(hash(&[0, 1]), "8177228da4a45dc7fca38bdef60affe4");
    }

    #[test]
    fn digits() {
        let mut bytes = [1, 1];
        assert!(from_hex("00fF", &mut bytes));
        assert_eq!(bytes, [0, 255]);
        for wrong in ["", "00f", "00fg", "00ff0", "\u{e4}\u{f6}"] {
            assert!(!from_hex(wrong, &mut bytes), "{wrong}");
        }
    }
}
