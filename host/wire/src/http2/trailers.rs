//! Trailers as they are handed on.

use super::frame::{self, Head, Kind};

/// What is put in front of trailers: a field that no trailers may have, which is taken out again with others of that
/// kind. The library passes over pseudo-headers in trailers (RFC 9113, section 8.1); behind another field they are an
/// error to it.
pub(super) const GUARD: &[u8] = b"\x00\x02te\x08trailers";

/// A whole frame of trailers, so that pseudo-headers in it are noticed: the guard, and in a frame of its own what was
/// there, without padding and priority.
pub fn guarded_trailers(frame: &[u8], out: &mut Vec<u8>) {
    let Some((head, payload)) = Head::read(frame) else { return };
    let is_padded = head.has(frame::PADDED);
    let start = usize::from(is_padded) + if head.has(frame::PRIORITY) { 5 } else { 0 };
    let padding = if is_padded { usize::from(payload.first().copied().unwrap_or(0)) } else { 0 };
    // Both were checked when the frame came.
    let block = payload.get(start..payload.len().saturating_sub(padding)).unwrap_or_default();
    Head::new(Kind::HEADERS, frame::END_STREAM, head.stream, GUARD.len()).write(out);
    out.extend_from_slice(GUARD);
    Head::new(Kind::CONTINUATION, head.flags & frame::END_HEADERS, head.stream, block.len()).write(out);
    out.extend_from_slice(block);
}
