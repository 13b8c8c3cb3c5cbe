//! Frames and header blocks, as bytes.

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// A head that is whole, and has nothing behind it.
pub(crate) const END: u8 = END_STREAM | END_HEADERS;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A length with a prefix of seven bits (RFC 7541, section 5.1), and the text as it is.
pub(crate) fn text(text: &[u8]) -> Vec<u8> {
    let mut out = vec![text.len().min(127) as u8];
    if let Some(mut rest) = text.len().checked_sub(127) {
        while rest > 127 {
            out.push(rest as u8 | 128);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    [&out, text].concat()
}

/// A header that is not remembered.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name.as_bytes()), &text(value.as_bytes())].concat()
}

/// These headers.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A request's head, with more headers.
pub(crate) fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "test")];
    fields(&[&pseudo, more].concat())
}

/// A request for `/` as a frame.
pub(crate) fn headers(flags: u8, stream: u32) -> Vec<u8> {
    frame(HEADERS, flags, stream, &head(if flags & END_STREAM == 0 { "POST" } else { "GET" }, "/", &[]))
}

pub(crate) fn data(flags: u8, stream: u32) -> Vec<u8> {
    frame(DATA, flags, stream, b"data")
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

pub(crate) fn update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// SETTINGS with these values.
pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let values: Vec<u8> =
        values.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &values)
}

/// The initial window.
pub(crate) const WINDOW: u16 = 4;
