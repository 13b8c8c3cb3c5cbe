//! RFC 9113, section by section (h2spec's "http2"; the numbers are those of RFC 7540, as there).

use super::{
    Case, Door, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, Seen, frames::*,
};

/// The connection ends with this code when this is said.
fn ends(door: &Door, frames: &[Vec<u8>], code: u32) -> Seen {
    let mut peer = door.greet(&[]);
    peer.send(&frames.concat());
    peer.ends(&[code])
}

/// The same when the request on stream 1 was answered before the last frame.
fn ends_after(door: &Door, request: &[u8], frame: &[u8], code: u32) -> Seen {
    let mut peer = door.greet(&[]);
    peer.send(request);
    peer.answers(1)?;
    peer.send(frame);
    peer.ends(&[code])
}

/// A request with this head is malformed (RFC 9113, section 8.1.1).
fn is_malformed(door: &Door, block: &[u8]) -> Seen {
    let mut peer = door.greet(&[]);
    peer.send(&frame(HEADERS, END, 1, block));
    peer.refuses(1, &[PROTOCOL_ERROR])
}

/// The same with these behind the head of a good one.
fn is_malformed_with(door: &Door, name: &str, value: &str) -> Seen {
    is_malformed(door, &head("GET", "/", &[(name, value)]))
}

fn block(flags: u8, stream: u32) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, &field("x", "a"))
}

pub(super) const FRAMES: &[Case] = &[
    ("3.5 no preface", |door| {
        let mut peer = door.open();
        peer.send(b"INVALID CONNECTION PREFACE\r\n\r\n");
        peer.closes()
    }),
    ("3.5 another preface", |door| {
        let mut peer = door.open();
        peer.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
        peer.closes()
    }),
    ("3.5 no SETTINGS", |door| {
        let mut peer = door.open();
        peer.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &headers(END, 1)].concat());
        peer.ends(&[PROTOCOL_ERROR])
    }),
    ("4.1 a frame of an unknown kind", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(0x16, 0, 0, &[0; 8]));
        peer.goes_on()
    }),
    ("4.1 flags without a meaning", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(PING, 0x16, 0, &[0; 8]));
        peer.find("an answer", |frame| frame.kind == PING && frame.flags & ACK != 0).map(drop)
    }),
    ("4.1 the reserved bit", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(PING, 0, 1 << 31, &[0; 8]));
        peer.find("an answer", |frame| frame.kind == PING && frame.flags & ACK != 0).map(drop)
    }),
    ("4.2 DATA of 16,384 bytes", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), frame(DATA, END_STREAM, 1, &[b'x'; 16_384])].concat());
        peer.answers(1)
    }),
    ("4.2 DATA of one byte more", |door| {
        ends(door, &[headers(END_HEADERS, 1), frame(DATA, END_STREAM, 1, &[b'x'; 16_385])], FRAME_SIZE_ERROR)
    }),
    ("4.2 HEADERS of one byte more", |door| ends(door, &[frame(HEADERS, END, 1, &[0; 16_385])], FRAME_SIZE_ERROR)),
    ("4.3 a header block that is no header block", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(HEADERS, END, 1, b"\x40"));
        peer.ends(&[super::COMPRESSION_ERROR])
    }),
    ("4.3 PRIORITY in a header block", |door| {
        let frames = [headers(END_STREAM, 1), frame(PRIORITY, 0, 1, b"\0\0\0\0\xff"), block(END_HEADERS, 1)];
        ends(door, &frames, PROTOCOL_ERROR)
    }),
    ("4.3 HEADERS of another stream in a header block", |door| {
        ends(door, &[headers(END_STREAM, 1), headers(END, 3), block(END_HEADERS, 1)], PROTOCOL_ERROR)
    }),
    ("5.5 an extension's frame", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[frame(0x16, 0, 0, b"x"), frame(0x16, 0, 3, b"x")].concat());
        peer.goes_on()
    }),
    ("5.5 an extension's frame in a header block", |door| {
        ends(door, &[headers(END_STREAM, 1), frame(0x16, 0, 0, b"x"), block(END_HEADERS, 1)], PROTOCOL_ERROR)
    }),
    ("5.4.1 a PING on a stream", |door| ends(door, &[frame(PING, 0, 3, &[0; 8])], PROTOCOL_ERROR)),
    ("7 GOAWAY with an unknown code", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END, 1), frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff])].concat());
        peer.answers(1)
    }),
    ("7 RST_STREAM with an unknown code", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 0xff])].concat());
        peer.goes_on()
    }),
];

pub(super) const STREAMS: &[Case] = &[
    ("5.1 idle: DATA", |door| ends(door, &[data(END_STREAM, 1)], PROTOCOL_ERROR)),
    ("5.1 idle: RST_STREAM", |door| ends(door, &[reset(1)], PROTOCOL_ERROR)),
    ("5.1 idle: WINDOW_UPDATE", |door| ends(door, &[update(1, 100)], PROTOCOL_ERROR)),
    ("5.1 idle: CONTINUATION", |door| ends(door, &[block(END_HEADERS, 1)], PROTOCOL_ERROR)),
    ("5.1 half-closed (remote): DATA", |door| ends(door, &[headers(END, 1), data(END_STREAM, 1)], STREAM_CLOSED)),
    ("5.1 half-closed (remote): HEADERS", |door| ends(door, &[headers(END, 1), headers(END, 1)], STREAM_CLOSED)),
    ("5.1 half-closed (remote): CONTINUATION", |door| {
        ends(door, &[headers(END, 1), block(END_HEADERS, 1)], PROTOCOL_ERROR)
    }),
    ("5.1 closed by RST_STREAM: DATA", |door| {
        ends(door, &[headers(END_HEADERS, 1), reset(1), data(END_STREAM, 1)], STREAM_CLOSED)
    }),
    ("5.1 closed by RST_STREAM: HEADERS", |door| {
        ends(door, &[headers(END_HEADERS, 1), reset(1), headers(END, 1)], STREAM_CLOSED)
    }),
    ("5.1 closed by RST_STREAM: CONTINUATION", |door| {
        ends(door, &[headers(END_HEADERS, 1), reset(1), block(END_HEADERS, 1)], PROTOCOL_ERROR)
    }),
    ("5.1 closed: DATA", |door| ends_after(door, &headers(END, 1), &data(END_STREAM, 1), STREAM_CLOSED)),
    ("5.1 closed: HEADERS", |door| ends_after(door, &headers(END, 1), &headers(END, 1), STREAM_CLOSED)),
    ("5.1 closed: CONTINUATION", |door| ends_after(door, &headers(END, 1), &block(END_HEADERS, 1), PROTOCOL_ERROR)),
    ("5.1.1 an even stream", |door| ends(door, &[headers(END, 2)], PROTOCOL_ERROR)),
    ("5.1.1 a stream before the newest", |door| ends(door, &[headers(END, 5), headers(END, 3)], PROTOCOL_ERROR)),
    ("5.1.2 more streams than allowed", |door| {
        // Without room for the answers, so that none of them ends.
        let mut peer = door.greet(&[(WINDOW, 0)]);
        let said = peer.find("SETTINGS", |frame| frame.kind == SETTINGS && frame.flags & ACK == 0)?;
        let limit = said.payload.as_chunks::<6>().0.iter().find(|setting| setting[..2] == [0, 3]);
        let limit = limit.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap())).ok_or("no limit")?;
        (0..=limit).for_each(|stream| peer.send(&headers(END, stream * 2 + 1)));
        peer.refuses(limit * 2 + 1, &[PROTOCOL_ERROR, REFUSED_STREAM])
    }),
    ("5.3.1 HEADERS that depend on themselves", |door| {
        let payload = [b"\0\0\0\x01\xff", &head("GET", "/", &[])[..]].concat();
        ends(door, &[frame(HEADERS, END | WITH_PRIORITY, 1, &payload)], PROTOCOL_ERROR)
    }),
    ("5.3.1 PRIORITY that depends on itself", |door| {
        ends(door, &[frame(PRIORITY, 0, 2, b"\0\0\0\x02\xff")], PROTOCOL_ERROR)
    }),
];

pub(super) const KINDS: &[Case] = &[
    ("6.1 DATA on stream 0", |door| ends(door, &[data(END_STREAM, 0)], PROTOCOL_ERROR)),
    ("6.1 DATA on a stream that is not open", |door| {
        ends_after(door, &headers(END, 1), &data(END_STREAM, 1), STREAM_CLOSED)
    }),
    ("6.1 DATA with too much padding", |door| {
        ends(door, &[headers(END_HEADERS, 1), frame(DATA, END_STREAM | PADDED, 1, b"\x05Test")], PROTOCOL_ERROR)
    }),
    ("6.2 HEADERS on stream 0", |door| ends(door, &[headers(END, 0)], PROTOCOL_ERROR)),
    ("6.2 HEADERS with too much padding", |door| {
        ends(door, &[frame(HEADERS, END | PADDED, 1, &[b"\xff", &head("GET", "/", &[])[..]].concat())], PROTOCOL_ERROR)
    }),
    ("6.3 PRIORITY on stream 0", |door| ends(door, &[frame(PRIORITY, 0, 0, b"\x80\0\0\x01\xff")], PROTOCOL_ERROR)),
    ("6.3 PRIORITY of another size", |door| {
        ends(door, &[headers(END_HEADERS, 1), frame(PRIORITY, 0, 1, b"\x80\0\0\x01")], FRAME_SIZE_ERROR)
    }),
    ("6.4 RST_STREAM on stream 0", |door| ends(door, &[reset(0)], PROTOCOL_ERROR)),
    ("6.4 RST_STREAM on an idle stream", |door| ends(door, &[reset(1)], PROTOCOL_ERROR)),
    ("6.4 RST_STREAM of another size", |door| {
        ends(door, &[headers(END_HEADERS, 1), frame(RST_STREAM, 0, 1, b"\0\0\0")], FRAME_SIZE_ERROR)
    }),
    ("6.5 SETTINGS with ACK and more", |door| ends(door, &[frame(SETTINGS, ACK, 0, &[0])], FRAME_SIZE_ERROR)),
    ("6.5 SETTINGS on a stream", |door| ends(door, &[frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])], PROTOCOL_ERROR)),
    ("6.5 SETTINGS of another size", |door| ends(door, &[frame(SETTINGS, 0, 0, &[0, 3, 0])], FRAME_SIZE_ERROR)),
    ("6.5.2 ENABLE_PUSH", |door| ends(door, &[settings(&[(2, 2)])], PROTOCOL_ERROR)),
    ("6.5.2 INITIAL_WINDOW_SIZE", |door| ends(door, &[settings(&[(WINDOW, 1 << 31)])], FLOW_CONTROL_ERROR)),
    ("6.5.2 MAX_FRAME_SIZE, too small", |door| ends(door, &[settings(&[(5, 16_383)])], PROTOCOL_ERROR)),
    ("6.5.2 MAX_FRAME_SIZE, too large", |door| ends(door, &[settings(&[(5, 1 << 24)])], PROTOCOL_ERROR)),
    ("6.5.2 a setting that nobody knows", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&settings(&[(0xff, 1)]));
        peer.goes_on()
    }),
    ("6.5.3 several values, the last of which counts", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[settings(&[(WINDOW, 100), (WINDOW, 1)]), headers(END, 1)].concat());
        peer.gives(1, 1)
    }),
    ("6.5.3 an acknowledgement", |door| {
        let mut peer = door.greet(&[]);
        peer.find("ACK", |frame| frame.kind == SETTINGS && frame.flags == ACK && frame.payload.is_empty()).map(drop)
    }),
    ("6.7 PING", |door| door.greet(&[]).goes_on()),
    ("6.7 PING with ACK", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&frame(PING, ACK, 0, b"invalid!"));
        peer.goes_on()
    }),
    ("6.7 PING on a stream", |door| ends(door, &[frame(PING, 0, 1, &[0; 8])], PROTOCOL_ERROR)),
    ("6.7 PING of another size", |door| ends(door, &[frame(PING, 0, 0, &[0; 6])], FRAME_SIZE_ERROR)),
    ("6.8 GOAWAY on a stream", |door| ends(door, &[frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL_ERROR)),
    ("6.9 WINDOW_UPDATE by nothing", |door| ends(door, &[update(0, 0)], PROTOCOL_ERROR)),
    ("6.9 WINDOW_UPDATE by nothing, on a stream", |door| {
        ends(door, &[headers(END_HEADERS, 1), update(1, 0)], PROTOCOL_ERROR)
    }),
    ("6.9 WINDOW_UPDATE of another size", |door| {
        ends(door, &[frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01")], FRAME_SIZE_ERROR)
    }),
    ("6.9.1 a window of one byte", |door| {
        let mut peer = door.greet(&[(WINDOW, 1)]);
        peer.send(&headers(END, 1));
        peer.gives(1, 1)
    }),
    ("6.9.1 a window that overflows", |door| {
        ends(door, &[update(0, 0x7fff_ffff), update(0, 0x7fff_ffff)], FLOW_CONTROL_ERROR)
    }),
    ("6.9.1 a stream's window that overflows", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), update(1, 0x7fff_ffff), update(1, 0x7fff_ffff)].concat());
        peer.refuses(1, &[FLOW_CONTROL_ERROR])
    }),
    ("6.9.2 a window that grows with SETTINGS", |door| {
        let mut peer = door.greet(&[(WINDOW, 0)]);
        peer.send(&headers(END, 1));
        peer.find("an answer", |frame| frame.kind == HEADERS)?;
        peer.send(&settings(&[(WINDOW, 1)]));
        peer.gives(1, 1)
    }),
    ("6.9.2 a window below zero", |door| {
        let mut peer = door.greet(&[(WINDOW, 3)]);
        peer.send(&headers(END, 1));
        peer.gives(1, 3)?;
        peer.send(&[settings(&[(WINDOW, 2)]), update(1, 2)].concat());
        peer.gives(1, 1)
    }),
    ("6.10 several CONTINUATION", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_STREAM, 1), block(0, 1), block(END_HEADERS, 1)].concat());
        peer.answers(1)
    }),
    ("6.10 CONTINUATION and something else", |door| {
        ends(door, &[headers(END_STREAM, 1), block(0, 1), data(END_STREAM, 1)], PROTOCOL_ERROR)
    }),
    ("6.10 CONTINUATION on stream 0", |door| {
        ends(door, &[headers(END_STREAM, 1), block(END_HEADERS, 0)], PROTOCOL_ERROR)
    }),
    ("6.10 CONTINUATION behind a whole block", |door| {
        ends(door, &[headers(END_HEADERS, 1), block(END_HEADERS, 1)], PROTOCOL_ERROR)
    }),
    ("6.10 CONTINUATION behind the last", |door| {
        ends(door, &[headers(0, 1), block(END_HEADERS, 1), block(END_HEADERS, 1)], PROTOCOL_ERROR)
    }),
    ("6.10 CONTINUATION behind DATA", |door| {
        ends(door, &[headers(END_HEADERS, 1), data(0, 1), block(END_HEADERS, 1)], PROTOCOL_ERROR)
    }),
    ("8.2 PUSH_PROMISE", |door| {
        let payload = [b"\0\0\0\x02".as_slice(), &head("GET", "/", &[])].concat();
        ends(door, &[headers(END_HEADERS, 1), frame(PUSH_PROMISE, END_HEADERS, 1, &payload)], PROTOCOL_ERROR)
    }),
];

/// A body of these pieces whose length is said to be another.
fn has_another_length(door: &Door, length: &str, pieces: &[&[u8]], trailers: bool) -> Seen {
    let mut peer = door.greet(&[]);
    peer.send(&frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[("content-length", length)])));
    for (at, piece) in pieces.iter().enumerate() {
        let is_last = at + 1 == pieces.len() && !trailers;
        peer.send(&frame(DATA, if is_last { END_STREAM } else { 0 }, 1, piece));
    }
    if trailers {
        peer.send(&frame(HEADERS, END, 1, &field("x", "y")));
    }
    peer.refuses(1, &[PROTOCOL_ERROR])
}

/// These trailers are malformed.
fn are_malformed(door: &Door, flags: u8, block: &[u8]) -> Seen {
    let mut peer = door.greet(&[]);
    peer.send(&[headers(END_HEADERS, 1), data(0, 1), frame(HEADERS, flags, 1, block)].concat());
    peer.refuses(1, &[PROTOCOL_ERROR])
}

pub(super) const REQUESTS: &[Case] = &[
    ("8.1 HEADERS in the middle of a body", |door| are_malformed(door, END_HEADERS, &field("x", "y"))),
    ("8.1.2 a name in capitals", |door| is_malformed_with(door, "X-TEST", "ok")),
    ("8.1.2.1 an unknown pseudo-header", |door| {
        is_malformed(door, &[field(":test", "ok"), head("GET", "/", &[])].concat())
    }),
    ("8.1.2.1 a response's pseudo-header", |door| {
        is_malformed(door, &[field(":status", "200"), head("GET", "/", &[])].concat())
    }),
    ("8.1.2.1 a pseudo-header in trailers", |door| are_malformed(door, END, &field(":method", "POST"))),
    ("8.1.2.1 a pseudo-header in trailers, behind others", |door| {
        are_malformed(door, END, &fields(&[("x", "y"), (":path", "/")]))
    }),
    ("8.1.2.1 a pseudo-header in trailers, by its index", |door| are_malformed(door, END, b"\x84")),
    ("8.1.2.1 a pseudo-header in trailers, in a second piece", |door| {
        let mut peer = door.greet(&[]);
        peer.send(&[headers(END_HEADERS, 1), data(0, 1), frame(HEADERS, END_STREAM, 1, b"")].concat());
        peer.send(&frame(CONTINUATION, END_HEADERS, 1, b"\x84"));
        peer.refuses(1, &[PROTOCOL_ERROR])
    }),
    ("8.1.2.1 a pseudo-header behind others", |door| {
        is_malformed(door, &[field("x-test", "ok"), head("GET", "/", &[])].concat())
    }),
    ("8.1.2.2 a header of the connection", |door| {
        is_malformed_with(door, "connection", "keep-alive")?;
        is_malformed_with(door, "keep-alive", "5")?;
        is_malformed_with(door, "proxy-connection", "close")?;
        is_malformed_with(door, "transfer-encoding", "chunked")?;
        is_malformed_with(door, "upgrade", "h2c")
    }),
    ("8.1.2.2 TE", |door| is_malformed_with(door, "te", "trailers, deflate;q=0.5")),
    ("8.1.2.3 an empty path", |door| is_malformed(door, &head("GET", "", &[]))),
    ("8.1.2.3 no method", |door| is_malformed(door, &fields(&[(":scheme", "http"), (":path", "/")]))),
    ("8.1.2.3 no scheme", |door| is_malformed(door, &fields(&[(":method", "GET"), (":path", "/")]))),
    ("8.1.2.3 no path", |door| is_malformed(door, &fields(&[(":method", "GET"), (":scheme", "http")]))),
    ("8.1.2.3 two methods", |door| is_malformed(door, &[field(":method", "GET"), head("GET", "/", &[])].concat())),
    ("8.1.2.3 two schemes", |door| is_malformed(door, &[field(":scheme", "http"), head("GET", "/", &[])].concat())),
    ("8.1.2.3 two paths", |door| is_malformed(door, &[field(":path", "/"), head("GET", "/", &[])].concat())),
    ("8.1.2.3 two authorities", |door| is_malformed(door, &[field(":authority", "a"), head("GET", "/", &[])].concat())),
    ("8.1.2.6 a length that is not that of DATA", |door| has_another_length(door, "1", &[b"test"], false)),
    ("8.1.2.6 a length that is not that of several", |door| has_another_length(door, "1", &[b"test", b"test"], false)),
    ("8.1.2.6 a length that is longer", |door| {
        has_another_length(door, "9", &[b"test", b"test"], false)?;
        has_another_length(door, "9", &[b"test", b"test"], true)
    }),
    ("8.1.2.6 a length without a body", |door| is_malformed_with(door, "content-length", "1")),
];
