//! What a connection may cost: frames that carry nothing of a request or an answer are paid for with those that do.
//!
//! Everything is counted in the cheapest of such frames (a PING). Who only asks and reads never owes anything, however
//! much; who sends frames for their own sake runs out in a moment. A connection that does nothing useful at all may
//! still send a hundred such frames each second, which takes a processor less than a thousandth of its time.

use super::{Reason, Refusal};

/// What is saved up at most, and there from the start. Clients may begin with a burst: of priorities, of requests that
/// are taken back.
const SAVED: i32 = 1000;

/// What is given each second.
const EACH_SECOND: i32 = 100;

/// A piece of an answer is useful from this size on: smaller ones are what a client can ask for that makes room for a
/// few bytes at a time. The smallest message that anybody sends by itself, an event or a gRPC message, is about as large.
const USEFUL: u32 = 32;

/// What a client may do, in frames of the cheapest kind.
pub(super) struct Cost;

impl Cost {
    /// A frame that is answered in a few bytes, or not at all.
    pub(super) const SMALL: i32 = 1;
    /// A window that changes is changed in every stream.
    pub(super) const SETTINGS: i32 = 20;
    /// A request that was begun for nothing: taken back by its client, or ended for the client's mistake.
    pub(super) const RESET: i32 = 20;
    /// What a request pays. A few small frames belong to each (a priority, an acknowledgement, room for the answer); and
    /// two out of three may be taken back.
    pub(super) const REQUEST: i32 = 10;
    /// What a piece of an answer pays: room for the next, on the stream and on the connection, and a PING that measures
    /// how fast it came.
    const PIECE: i32 = 3;
}

/// What a connection has left.
#[derive(Debug)]
pub(super) struct Budget(i32);

impl Default for Budget {
    fn default() -> Self {
        Self(SAVED)
    }
}

impl Budget {
    /// What a piece of an answer pays.
    pub(super) fn data_sent(length: u32) -> i32 {
        if length < USEFUL { 0 } else { Cost::PIECE }
    }

    pub(super) fn earn(&mut self, amount: i32) {
        self.0 = (self.0 + amount).min(SAVED);
    }

    pub(super) fn refill(&mut self) {
        self.earn(EACH_SECOND);
    }

    /// Takes note of what has been done already.
    pub(super) fn owe(&mut self, amount: i32) {
        self.0 = self.0.saturating_sub(amount);
    }

    pub(super) fn spend(&mut self, amount: i32) -> Result<(), Refusal> {
        self.owe(amount);
        if self.0 < 0 {
            return Err(Refusal::new(Reason::EnhanceYourCalm, "too many frames for too few requests"));
        }
        Ok(())
    }
}
