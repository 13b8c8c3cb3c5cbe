//! The header lines of a connection's last head, recognised.
//!
//! A client says the same of itself with every request: what it is, what it takes, its cookies. Often only the request
//! line is another. Then what was found in the lines before holds for these as well, and they are not looked at again.

use super::head::Said;

/// More than this is not kept: it is for as long as the connection lives.
const MAX_BYTES: usize = 1024;

/// Header lines up to the empty one, and what they say.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    lines: Vec<u8>,
    is_http10: bool,
    said: Said,
}

impl Known {
    /// What the lines say that `bytes` begins with, and how long they are, if they are the same. Whether they are in order
    /// depends on the version, and on nothing else of a request line that names no host.
    #[inline]
    pub(super) fn recall(&self, bytes: &[u8], is_http10: bool) -> Option<(usize, Said)> {
        let is_same = !self.lines.is_empty() && self.is_http10 == is_http10 && bytes.starts_with(&self.lines);
        is_same.then_some((self.lines.len(), self.said))
    }

    /// Takes in lines that are in order.
    #[inline]
    pub(super) fn learn(&mut self, lines: &[u8], is_http10: bool, said: Said) {
        if lines.len() <= MAX_BYTES && self.lines != lines {
            self.lines.clear();
            self.lines.extend_from_slice(lines);
            (self.is_http10, self.said) = (is_http10, said);
        }
    }
}
