//! What is known of the frame that a client is sending, and of its header block.

use super::frame;

/// What is kept for header blocks when there are none: as much as nearly all take.
const KEPT_BLOCK: usize = 1024;

/// Where what the client sends has come to.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// So many bytes of a frame whose head has passed (at first of the preface, which the library looks at).
    pub(super) left: usize,
    /// Whether the client has sent its first SETTINGS.
    pub(super) is_greeted: bool,
    /// The stream of a header block that is not whole.
    pub(super) block: Option<u32>,
    /// The newest header block, for the case that it can't be read.
    pub(super) newest: Vec<u8>,
    /// Of the frame whose head has passed: so many bytes come before a part of a header block, and so many are one.
    pub(super) part: (usize, usize),
}

impl Incoming {
    /// Notes what passes of a frame whose head has passed.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.left -= bytes.len();
        let (before, length) = &mut self.part;
        if *length > 0 {
            let skipped = bytes.len().min(*before);
            let count = (bytes.len() - skipped).min(*length);
            self.newest.extend_from_slice(&bytes[skipped..skipped + count]);
            (*before, *length) = (*before - skipped, *length - count);
        }
    }

    /// The next bytes are a frame's, with a part of a header block behind `before` bytes of its payload.
    pub(super) fn begin_block(&mut self, before: usize, length: usize) {
        if self.newest.capacity() > KEPT_BLOCK {
            self.newest = Vec::new();
        }
        self.newest.clear();
        self.part = (frame::HEAD + before, length);
    }
}
