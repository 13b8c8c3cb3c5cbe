//! Header compression (h2spec's "hpack"; RFC 7541).

use super::{COMPRESSION_ERROR, Case, Door, Seen, frames::*};

/// The connection ends when this is behind a request's head.
fn ends(door: &Door, behind: &[u8]) -> Seen {
    let mut peer = door.greet(&[]);
    peer.send(&frame(HEADERS, END, 1, &[&head("GET", "/", &[])[..], behind].concat()));
    peer.ends(&[COMPRESSION_ERROR])
}

pub(super) const CASES: &[Case] = &[
    ("2.3.3 an index behind the tables", |door| ends(door, b"\xc6")),
    ("2.3.3 a name's index behind the tables", |door| ends(door, b"\x7f\x07\x05empty")),
    ("4.2 a change of the table's size at the end", |door| ends(door, b"\x21")),
    ("5.2 Huffman padding of more than 7 bits", |door| ends(door, b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")),
    ("5.2 Huffman padding that is not ones", |door| ends(door, b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90")),
    ("5.2 Huffman's end of a string", |door| ends(door, b"\0\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f")),
    ("6.1 index 0", |door| ends(door, b"\x80")),
    ("6.3 a table larger than allowed", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(HEADERS, END, 1, &[b"\x3f\xe2\x1f", &head("GET", "/", &[])[..]].concat()));
        peer.ends(&[COMPRESSION_ERROR])
    }),
    ("5.1 an integer without an end", |door| ends(door, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
    ("5.2 a string without an end", |door| ends(door, b"\0\x03ab")),
];
