//! Heads of frames (RFC 9113, section 4.1), and what each kind of frame must be by itself (section 6).

use super::{Reason, Refusal};

/// The bytes of a head.
pub(super) const HEAD: usize = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// Codes that RST_STREAM may come with.
pub(super) const NO_ERROR: u32 = 0;
pub(super) const REFUSED_STREAM: u32 = 7;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u8);

impl Kind {
    pub(super) const DATA: Self = Self(0);
    pub(super) const HEADERS: Self = Self(1);
    pub(super) const PRIORITY: Self = Self(2);
    pub(super) const RST_STREAM: Self = Self(3);
    pub(super) const SETTINGS: Self = Self(4);
    pub(super) const PUSH_PROMISE: Self = Self(5);
    pub(super) const PING: Self = Self(6);
    pub(super) const GOAWAY: Self = Self(7);
    pub(super) const WINDOW_UPDATE: Self = Self(8);
    pub(super) const CONTINUATION: Self = Self(9);
}

/// What every frame begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Of the payload, in bytes.
    pub(super) length: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn new(kind: Kind, flags: u8, stream: u32, length: usize) -> Self {
        Self { length: length as u32, kind, flags, stream }
    }

    /// The head that some bytes begin with, and what follows.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]);
        // The reserved bit means nothing.
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Some((Self { length, kind: Kind(kind), flags, stream }, rest))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.length.to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind.0, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The padding with its own length; none while that has not come.
    pub(super) fn padding(&self, payload: &[u8]) -> Result<Option<u32>, Refusal> {
        if !self.has(PADDED) {
            return Ok(Some(0));
        }
        if self.length == 0 {
            return Err(Refusal::new(Reason::FrameSize, "a padded frame without the length of its padding"));
        }
        Ok(payload.first().map(|length| u32::from(*length) + 1))
    }

    /// Whether it is of a kind that is looked at as a whole, of which there is little.
    pub(super) fn is_short(&self) -> bool {
        matches!(self.kind, Kind::PRIORITY | Kind::RST_STREAM | Kind::SETTINGS | Kind::WINDOW_UPDATE)
    }

    pub(super) fn check_size(&self) -> Result<(), Refusal> {
        let is_right = match self.kind {
            Kind::PRIORITY => self.length == 5,
            Kind::RST_STREAM | Kind::WINDOW_UPDATE => self.length == 4,
            Kind::SETTINGS if self.has(ACK) => self.length == 0,
            Kind::SETTINGS => self.length.is_multiple_of(6),
            Kind::PING => self.length == 8,
            Kind::GOAWAY => self.length >= 8,
            _ => true,
        };
        if is_right {
            Ok(())
        } else {
            Err(Refusal::new(Reason::FrameSize, "a frame has a size that its kind can't have"))
        }
    }

    /// Whether it is of a stream, or of the connection, as its kind wants it.
    pub(super) fn check_stream(&self) -> Result<(), Refusal> {
        let is_right = match self.kind {
            Kind::PRIORITY | Kind::RST_STREAM => self.stream != 0,
            Kind::SETTINGS | Kind::PING | Kind::GOAWAY => self.stream == 0,
            _ => true,
        };
        if is_right {
            Ok(())
        } else {
            Err(Refusal::new(Reason::Protocol, "a frame on a stream that its kind can't have"))
        }
    }
}

/// A number of 31 bits.
pub(super) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
}

/// A stream can't depend on itself (RFC 7540, section 5.3.1). RFC 9113 takes no notice of priorities any more; a client
/// that gives any gives those of RFC 7540.
pub(super) fn check_dependency(stream: u32, dependency: &[u8]) -> Result<(), Refusal> {
    if number(dependency) == stream {
        return Err(Refusal::new(Reason::Protocol, "a stream that depends on itself"));
    }
    Ok(())
}

/// RFC 9113, section 6.5.2, and RFC 8441, section 3.
pub(super) fn check_settings(payload: &[u8]) -> Result<(), Refusal> {
    for setting in payload.as_chunks::<6>().0 {
        let [a, b, value @ ..] = *setting;
        let value = u32::from_be_bytes(value);
        match u16::from_be_bytes([a, b]) {
            2 | 8 if value > 1 => return Err(Refusal::new(Reason::Protocol, "a setting that is neither 0 nor 1")),
            4 if value > 0x7fff_ffff => return Err(Refusal::new(Reason::FlowControl, "too large an initial window")),
            5 if !(16_384..1 << 24).contains(&value) => {
                return Err(Refusal::new(Reason::Protocol, "a size of frames that no peer may ask for"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Finds the heads in a stream of frames that are known to be right.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    /// A head, and of RST_STREAM its code.
    start: [u8; HEAD + 4],
    /// So many bytes of it have come.
    known: usize,
    /// So many of a payload have not.
    left: usize,
}

impl Walk {
    /// Tells of each head, and of the code that comes with it, if one does.
    pub(super) fn walk(&mut self, mut bytes: &[u8], mut found: impl FnMut(Head, u32)) {
        loop {
            let count = self.left.min(bytes.len());
            self.left -= count;
            bytes = &bytes[count..];
            if bytes.is_empty() {
                return;
            }
            let has_code = self.known >= HEAD;
            let wanted = if has_code { self.start.len() } else { HEAD };
            let count = (wanted - self.known).min(bytes.len());
            self.start[self.known..self.known + count].copy_from_slice(&bytes[..count]);
            self.known += count;
            bytes = &bytes[count..];
            let Some((head, code)) = Head::read(&self.start[..self.known]).filter(|_| self.known == wanted) else {
                continue;
            };
            if head.kind == Kind::RST_STREAM && !has_code {
                continue;
            }
            self.known = 0;
            self.left = if has_code { 0 } else { head.length as usize };
            found(head, number(code));
        }
    }

    /// Whether a frame has ended and none has begun.
    pub(super) fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0
    }
}
