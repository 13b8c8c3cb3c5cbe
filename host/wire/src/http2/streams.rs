//! The states of a connection's streams, as far as the client could know them (RFC 9113, section 5.1).

use super::{Reason, Refusal};

/// Streams that are kept at a time. This side allows far fewer; the others have been refused or reset, and the client
/// may not know yet. Beyond it, the oldest of those are forgotten.
const KEPT: usize = 256;

/// Streams that the client has left open though they are over for this side: more of them than of all is no accident.
const MAX: usize = 4096;

/// What a client has said on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// Nothing.
    Idle,
    /// It may say more.
    Open,
    /// It has said that there is no more, or was never to use the stream.
    Ended,
    /// Nobody knows any more. What comes may have been on its way.
    Forgotten,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    id: u32,
    /// Whether the client may still send on it.
    is_open: bool,
    /// Whether this side has said all that it will.
    is_answered: bool,
    /// Pieces of the answer that were sent.
    pieces: u32,
}

/// The streams that are not over on both sides.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// In the order of their ids.
    streams: Vec<Stream>,
    newest: u32,
    /// Which of the streams up to the newest, from that on backwards, were ever used.
    used: u128,
    /// The newest one that was forgotten.
    forgotten: u32,
}

impl Streams {
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    pub(super) fn remote(&self, id: u32) -> Remote {
        if id > self.newest || id.is_multiple_of(2) {
            return Remote::Idle;
        }
        match self.find(id) {
            Some(at) if self.streams[at].is_open => Remote::Open,
            None if id <= self.forgotten => Remote::Forgotten,
            _ => Remote::Ended,
        }
    }

    /// Whether a stream up to the newest was used, and not passed over. Of those long ago, nobody knows.
    pub(super) fn was_used(&self, id: u32) -> bool {
        let back = (self.newest - id) / 2;
        back >= u128::BITS || self.used >> back & 1 == 1
    }

    /// A new one, newer than all.
    pub(super) fn begin(&mut self, id: u32, is_ended: bool) -> Result<(), Refusal> {
        if self.streams.len() >= KEPT {
            self.forget();
        }
        if self.streams.len() >= MAX {
            return Err(Refusal::new(Reason::EnhanceYourCalm, "too many streams at a time"));
        }
        self.used = self.used.checked_shl((id - self.newest).div_ceil(2)).unwrap_or(0) | 1;
        self.newest = id;
        self.streams.push(Stream { id, is_open: !is_ended, is_answered: false, pieces: 0 });
        Ok(())
    }

    /// The client has said all that it will.
    pub(super) fn ended(&mut self, id: u32) {
        self.change(id, |stream| stream.is_open = false);
    }

    /// A piece of the answer was sent.
    pub(super) fn piece_sent(&mut self, id: u32) {
        if let Some(at) = self.find(id) {
            self.streams[at].pieces = self.streams[at].pieces.wrapping_add(1);
        }
    }

    /// How many pieces of the answer were sent. None when there is no more to be sent.
    pub(super) fn pieces(&self, id: u32) -> Option<u32> {
        let stream = self.streams[self.find(id)?];
        (!stream.is_answered).then_some(stream.pieces)
    }

    /// This side has said all that it will.
    pub(super) fn answered(&mut self, id: u32) {
        self.change(id, |stream| stream.is_answered = true);
    }

    /// The client wants no more of it. Whether there would have been more.
    pub(super) fn reset(&mut self, id: u32) -> bool {
        self.find(id).is_some_and(|at| !self.streams.remove(at).is_answered)
    }

    fn find(&self, id: u32) -> Option<usize> {
        // Most frames are of the newest ones.
        match self.streams.last() {
            Some(last) if last.id == id => Some(self.streams.len() - 1),
            _ => self.streams.binary_search_by_key(&id, |stream| stream.id).ok(),
        }
    }

    fn change(&mut self, id: u32, change: impl FnOnce(&mut Stream)) {
        if let Some(at) = self.find(id) {
            let stream = &mut self.streams[at];
            change(stream);
            if !stream.is_open && stream.is_answered {
                self.streams.remove(at);
            }
        }
    }

    /// Forgets the older half of those that are over for this side.
    fn forget(&mut self) {
        let mut count = self.streams.iter().filter(|stream| stream.is_answered).count().div_ceil(2);
        let forgotten = &mut self.forgotten;
        self.streams.retain(|stream| {
            let goes = stream.is_answered && count > 0;
            if goes {
                count -= 1;
                *forgotten = (*forgotten).max(stream.id);
            }
            !goes
        });
    }
}
