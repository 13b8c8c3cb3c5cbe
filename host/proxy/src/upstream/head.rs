//! A request's head, as it goes over the wire.

use http::{
    HeaderValue,
    header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING},
};
use sluicegate_policy::RequestParts;

/// What a head says of its body. Its framing was checked before.
#[derive(Default)]
pub(super) struct Said {
    pub(super) is_chunked: bool,
    pub(super) has_trailers: bool,
    length: Option<u64>,
}

impl Said {
    /// The announced length. A transfer coding overrides it.
    pub(super) fn length(&self) -> Option<u64> {
        self.length.filter(|_| !self.is_chunked)
    }
}

/// Writes a head. `http`'s types hold nothing that would end a line.
pub(super) fn encode(head: &RequestParts, lines: &mut Vec<u8>) -> Said {
    let mut said = Said::default();
    lines.extend_from_slice(head.method.as_str().as_bytes());
    lines.push(b' ');
    lines.extend_from_slice(head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    lines.extend_from_slice(b" HTTP/1.1\r\n");
    let own = head.headers.lines(|name, value| {
        match *name {
            // A second one says the same.
            CONTENT_LENGTH if said.length.is_none() => {
                said.length = value.to_str().ok().and_then(|length| length.parse().ok());
            }
            TRANSFER_ENCODING => said.is_chunked = true,
            TRAILER => said.has_trailers = true,
            _ => {}
        }
        line(name.as_ref(), value, lines);
    });
    lines.extend_from_slice(own);
    lines.extend_from_slice(b"\r\n");
    said
}

/// Writes a header's line.
pub(super) fn line(name: &[u8], value: &HeaderValue, lines: &mut Vec<u8>) {
    let value = value.as_bytes();
    lines.reserve(name.len() + value.len() + 4);
    lines.extend_from_slice(name);
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}
