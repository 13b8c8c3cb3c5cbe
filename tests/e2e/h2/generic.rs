//! What any client may do (h2spec's "generic").

use super::{Case, frames::*};

pub(super) const CASES: &[Case] = &[
    ("1 preface", |door| door.greet(&[]).goes_on()),
    ("2 PRIORITY on an idle stream", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(PRIORITY, 0, 1, b"\0\0\0\0\xff"));
        peer.goes_on()
    }),
    ("2 WINDOW_UPDATE on a half-closed (remote) stream", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END, 1), update(1, 100)].concat());
        peer.answers(1)
    }),
    ("2 PRIORITY on a half-closed (remote) stream", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END, 1), frame(PRIORITY, 0, 1, b"\0\0\0\0\xff")].concat());
        peer.answers(1)
    }),
    ("2 RST_STREAM on a half-closed (remote) stream", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END, 1), reset(1)].concat());
        peer.goes_on()
    }),
    ("2 PRIORITY on a closed stream", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&headers(END, 1));
        peer.answers(1)?;
        peer.send(&frame(PRIORITY, 0, 1, b"\0\0\0\0\xff"));
        peer.goes_on()
    }),
    ("3.1 DATA", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), data(END_STREAM, 1)].concat());
        peer.answers(1)
    }),
    ("3.1 several DATA", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), data(0, 1), data(0, 1), data(END_STREAM, 1)].concat());
        peer.answers(1)
    }),
    ("3.1 DATA with padding", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), frame(DATA, END_STREAM | PADDED, 1, b"\x03data\0\0\0")].concat());
        peer.answers(1)
    }),
    ("3.2 HEADERS with padding", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(HEADERS, END | PADDED, 1, &[b"\x04", &head("GET", "/", &[])[..], &[0; 4]].concat()));
        peer.answers(1)
    }),
    ("3.2 HEADERS with priority", |door| {
        let mut peer = door.greet(&[]);
        let payload = [b"\0\0\0\0\xff", &head("GET", "/", &[])[..]].concat();
        peer.send(&frame(HEADERS, END | WITH_PRIORITY, 1, &payload));
        peer.answers(1)
    }),
    ("3.3 PRIORITY, of every kind", |door| {
        let mut peer = door.greet(&[]);
        for payload in [b"\0\0\0\0\0", b"\0\0\0\0\xff", b"\0\0\0\x01\x10", b"\x80\0\0\x01\x10"] {
            peer.send(&frame(PRIORITY, 0, 5, payload));
        }
        // It does not use up the streams before it.
        peer.send(&headers(END, 3));
        peer.answers(3)
    }),
    ("3.4 RST_STREAM", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), reset(1)].concat());
        peer.goes_on()
    }),
    ("3.5 SETTINGS", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&settings(&[(1, 0), (3, 100), (WINDOW, 70_000), (5, 20_000), (6, 1000)]));
        peer.find("an acknowledgement", |frame| frame.kind == SETTINGS && frame.flags & ACK != 0)?;
        peer.goes_on()
    }),
    ("3.7 PING", |door| door.greet(&[]).goes_on()),
    ("3.8 GOAWAY", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&headers(END, 1));
        peer.answers(1)?;
        peer.send(&frame(GOAWAY, 0, 0, &[0; 8]));
        peer.closes()
    }),
    ("3.9 WINDOW_UPDATE", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[update(0, 1), headers(END_HEADERS, 1), update(1, 1), data(END_STREAM, 1)].concat());
        peer.answers(1)
    }),
    ("3.10 CONTINUATION, one and several", |door| {
        let mut peer = door.greet(&[]);
        let head = head("GET", "/", &[("x", "a"), ("y", "b")]);
        peer.send(
            &[frame(HEADERS, END_STREAM, 1, &head[..20]), frame(CONTINUATION, END_HEADERS, 1, &head[20..])].concat(),
        );
        peer.answers(1)?;
        peer.send(&frame(HEADERS, END_STREAM, 3, &head[..1]));
        peer.send(&[frame(CONTINUATION, 0, 3, &head[1..30]), frame(CONTINUATION, 0, 3, b"")].concat());
        peer.send(&frame(CONTINUATION, END_HEADERS, 3, &head[30..]));
        peer.answers(3)
    }),
    ("4 HEAD", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(HEADERS, END, 1, &head("HEAD", "/", &[])));
        peer.answers(1)
    }),
    ("4 POST with trailers", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), data(0, 1), frame(HEADERS, END, 1, &field("x-sum", "1"))].concat());
        peer.answers(1)?;
        // In pieces, padded, and behind a change of the table's size.
        let trailers = [b"\x02\x20".as_slice(), &field("x-sum", "1"), b"\0\0"].concat();
        peer.send(&[headers(END_HEADERS, 3), data(0, 3), frame(HEADERS, END_STREAM | PADDED, 3, &trailers)].concat());
        peer.send(&frame(CONTINUATION, END_HEADERS, 3, &field("y", "")));
        peer.answers(3)
    }),
    ("5 every representation of a header", |door| {
        let mut peer = door.greet(&[]);
        let pseudo = [b"\x82\x86\x84".as_slice(), &[1], &text(b"test")].concat();
        let remembered = [&[0x40][..], &text(b"x-a"), &text(b"b")].concat();
        let block = [b"\x20\x3f\xe1\x1f", &pseudo[..], &remembered, b"\xbe", &field("x-c", "d"), b"\x10\x01e\x01f"];
        peer.send(&frame(HEADERS, END, 1, &block.concat()));
        peer.answers(1)?;
        peer.send(&frame(HEADERS, END, 3, &[&pseudo[..], b"\xbe"].concat()));
        peer.answers(3)
    }),
];
