//! Why a header block could not be read (RFC 7541): looked for once, when the library has given a connection up for it.
//!
//! The library says PROTOCOL_ERROR both of a block that can't be decoded, which RFC 9113 (section 4.3) calls
//! COMPRESSION_ERROR, and of one that can, but holds names and values that no header may have.

/// The static table has so many entries. The first ones are pseudo-headers.
const STATIC: usize = 61;
const PSEUDO: usize = 14;

/// What a table may hold: what every peer may assume to start with, and this side never says otherwise.
const TABLE_BYTES: usize = 4096;

/// How many bits stand for each byte, and for the end (RFC 7541, appendix B). The codes follow from that: they are in the
/// order of their lengths, and in that of the bytes among those of one length.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// A block can't be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

/// What a block turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It can be decoded, and a name or a value in it is bad.
    BadField,
    /// There is nothing wrong with it.
    Nothing,
}

/// Looks for what is wrong with a block. What its names mean that are in the table of the connection, only the library
/// knows: a block with such names, and nothing else wrong, is taken to be undecodable for one that is not there.
pub(super) fn look(mut block: &[u8]) -> Result<Found, Undecodable> {
    let (mut is_first, mut has_dynamic) = (true, false);
    while let Some(first) = block.first() {
        match first {
            0x80.. => {
                let index = integer(&mut block, 7)?;
                has_dynamic |= index > STATIC;
                if index == 0 {
                    return Err(Undecodable);
                }
            }
            0x20..0x40 => {
                if integer(&mut block, 5)? > TABLE_BYTES || !is_first {
                    return Err(Undecodable);
                }
                continue;
            }
            _ => {
                let index = integer(&mut block, if *first >= 0x40 { 6 } else { 4 })?;
                has_dynamic |= index > STATIC;
                let name = if index == 0 { Some(string(&mut block)?) } else { None };
                let value = string(&mut block)?;
                if name.is_some_and(|name| !is_name(&name)) || !is_value(&value, index) {
                    return Ok(Found::BadField);
                }
            }
        }
        is_first = false;
    }
    if has_dynamic { Err(Undecodable) } else { Ok(Found::Nothing) }
}

fn is_name(name: &[u8]) -> bool {
    match name {
        [b':', pseudo @ ..] => {
            matches!(pseudo, b"method" | b"scheme" | b"authority" | b"path" | b"protocol" | b"status")
        }
        _ => {
            !name.is_empty()
                && name.iter().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && *byte != b':')
        }
    }
}

fn is_value(value: &[u8], index: usize) -> bool {
    let is_text = value.iter().all(|byte| *byte >= b' ' && *byte != 0x7f || *byte == b'\t');
    is_text && !((1..=PSEUDO).contains(&index) && value.is_empty())
}

/// RFC 7541, section 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Undecodable> {
    let mask = (1 << prefix) - 1;
    let (first, mut rest) = block.split_first().ok_or(Undecodable)?;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        // More bytes than these no number has that means anything here.
        for shift in [0, 7, 14, 21] {
            let (byte, behind) = rest.split_first().ok_or(Undecodable)?;
            rest = behind;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *block = rest;
                return Ok(value);
            }
        }
        return Err(Undecodable);
    }
    *block = rest;
    Ok(value)
}

/// RFC 7541, section 5.2.
fn string(block: &mut &[u8]) -> Result<Vec<u8>, Undecodable> {
    let is_huffman = block.first().ok_or(Undecodable)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (string, rest) = block.split_at_checked(length).ok_or(Undecodable)?;
    *block = rest;
    if is_huffman { huffman(string) } else { Ok(string.to_vec()) }
}

fn huffman(bytes: &[u8]) -> Result<Vec<u8>, Undecodable> {
    let mut symbols: Vec<u16> = (0..=256).collect();
    symbols.sort_by_key(|symbol| LENGTHS[usize::from(*symbol)]);
    let mut out = Vec::new();
    // The bits of a code so far, and the first code of as many bits, with its place among the symbols.
    let (mut code, mut length, mut first, mut place) = (0_u32, 0_u8, 0_u32, 0_usize);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        (code, length, first) = (code << 1 | u32::from(bit), length + 1, first << 1);
        let count = symbols[place..].iter().take_while(|symbol| LENGTHS[usize::from(**symbol)] == length).count();
        if let Some(symbol) = symbols[place..place + count].get((code - first) as usize) {
            out.push(u8::try_from(*symbol).map_err(|_| Undecodable)?);
            (code, length, first, place) = (0, 0, 0, 0);
        } else {
            (first, place) = (first + count as u32, place + count);
        }
    }
    // What is left is the beginning of the end's code, which is all ones, and less than a byte.
    let is_padding = length < 8 && code == (1 << length) - 1;
    if is_padding { Ok(out) } else { Err(Undecodable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_example_is_decoded() {
        let bytes = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(huffman(&bytes), Ok(b"www.example.com".to_vec()));
        assert_eq!(integer(&mut &[0x1f, 0x9a, 0x0a][..], 5), Ok(1337));
    }

    #[test]
    fn what_is_wrong_is_found() {
        let check = |block: &[u8], expected| assert_eq!(look(block), expected, "{block:x?}");
        for bad in [
            b"\x40".as_slice(),
            b"\x80",
            b"\x82\xc6",
            b"\x7f\x07\x05empty",
            b"\x82\x21",
            b"\x3f\xe2\x1f\x82",
            b"\0\x03ab",
            b"\xff\xff\xff\xff\xff\xff\x01",
            b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff",
            b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90",
            b"\0\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f",
        ] {
            check(bad, Err(Undecodable));
        }
        for bad in [b"\0\x01X\x01a".as_slice(), b"\0\x05:test\x01a", b"\0\0\x01a", b"\0\x01x\x01\n", b"\x02\0"] {
            check(bad, Ok(Found::BadField));
        }
        for good in [b"".as_slice(), b"\x20\x3f\xe1\x1f\x82\x86", b"\0\x01x\x01a\x04\x01/"] {
            check(good, Ok(Found::Nothing));
        }
    }
}
