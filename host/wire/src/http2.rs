//! HTTP/2 connections from clients, frame by frame (RFC 9113): what goes beyond what the protocol library behind this
//! checks, and what a connection may cost.
//!
//! The library (`h2`) is lenient in places, gives other error codes than the RFC's in others, and answers some frames
//! that no client has reason to send with work, or with a reset of one stream, as often as they come ("MadeYouReset",
//! CVE-2025-8671). Here a frame that no client can have sent by an honest race ends the connection, which RFC 9113
//! (section 5.4.1) leaves to the receiver, with the code that the RFC names. The library sees whole, lawful frames.
//!
//! Frames themselves are not unpacked: of most, nine bytes are looked at. What header blocks say is the library's.

mod block;
mod budget;
mod frame;
mod incoming;
mod streams;
#[cfg(test)]
mod tests;
mod trailers;

use budget::{Budget, Cost};
use frame::{Head, Kind};
use incoming::Incoming;
use streams::{Remote, Streams};

pub use trailers::guarded_trailers;

/// What a client begins with (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest payload: what RFC 9113 gives every peer to start with, and this side asks for no more.
pub const MAX_FRAME: u32 = 16_384;

/// A frame that ends a connection is this long.
pub const GOAWAY: usize = frame::HEAD + 8;

/// The code that a connection ends with (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // RFC 9113 says what each means.
pub enum Reason {
    Protocol = 1,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What the client is told.
    pub reason: Reason,
    /// What the operator is told.
    pub what: &'static str,
}

impl Refusal {
    const fn new(reason: Reason, what: &'static str) -> Self {
        Self { reason, what }
    }
}

/// How far some bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// So many of them may be handed on.
    pub passed: usize,
    /// What about the rest.
    pub next: Next,
}

/// What about the bytes that may not be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There are none, or more of them are needed.
    More,
    /// A whole frame of trailers, this long, to be handed on as [`guarded_trailers`] writes it.
    Trailers(usize),
    /// They are refused, and so is everything behind them.
    Refused(Refusal),
}

/// Both directions of a client's connection.
#[derive(Debug)]
pub struct Connection {
    incoming: Incoming,
    outgoing: frame::Walk,
    streams: Streams,
    budget: Budget,
}

/// What a frame of the client's may do.
enum Pass {
    /// All of it may be handed on.
    All,
    /// It takes more bytes to say.
    More,
    /// All of it is here, and it is trailers.
    Trailers,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            incoming: Incoming { left: PREFACE.len(), ..Incoming::default() },
            outgoing: frame::Walk::default(),
            streams: Streams::default(),
            budget: Budget::default(),
        }
    }
}

impl Connection {
    /// Takes in what the client sent. What may not be handed on yet has to come again, with what follows.
    pub fn receive(&mut self, bytes: &[u8]) -> Step {
        let mut passed = 0;
        loop {
            let count = self.incoming.left.min(bytes.len() - passed);
            self.incoming.pass(&bytes[passed..passed + count]);
            passed += count;
            let rest = &bytes[passed..];
            let Some((head, payload)) = Head::read(rest) else { return Step { passed, next: Next::More } };
            match self.frame(head, payload) {
                Ok(Pass::All) => self.incoming.left = frame::HEAD + head.length as usize,
                Ok(Pass::More) => return Step { passed, next: Next::More },
                Ok(Pass::Trailers) => {
                    return Step { passed, next: Next::Trailers(frame::HEAD + head.length as usize) };
                }
                Err(refusal) => return Step { passed, next: Next::Refused(refusal) },
            }
        }
    }

    /// Takes in what was sent to the client.
    pub fn sent(&mut self, bytes: &[u8]) {
        let (streams, budget) = (&mut self.streams, &mut self.budget);
        self.outgoing.walk(bytes, |head, code| match head.kind {
            Kind::DATA => {
                budget.earn(Budget::data_sent(head.length));
                streams.piece_sent(head.stream);
                if head.has(frame::END_STREAM) {
                    streams.answered(head.stream);
                }
            }
            Kind::HEADERS if head.has(frame::END_STREAM) => streams.answered(head.stream),
            Kind::RST_STREAM => {
                streams.answered(head.stream);
                budget.owe(match code {
                    frame::NO_ERROR => 0,
                    // Too many at a time, as they may be while the client has not heard of the limit.
                    frame::REFUSED_STREAM => Cost::REQUEST,
                    _ => Cost::RESET,
                });
            }
            _ => {}
        });
    }

    /// How many pieces of a stream's answer have gone out. None when there is no more to go: all of it has, or the client
    /// wants no more.
    pub fn pieces_sent(&self, stream: u32) -> Option<u32> {
        self.streams.pieces(stream)
    }

    /// To be called once a second: what a connection may cost, it may cost again.
    pub fn second_passed(&mut self) {
        self.budget.refill();
    }

    /// Whether frames sent so far are whole, so that another may follow.
    pub fn may_speak(&self) -> bool {
        self.outgoing.is_between()
    }

    /// The frame that tells the client why its connection ends.
    pub fn farewell(&self, reason: Reason) -> [u8; GOAWAY] {
        let mut frame = [0; GOAWAY];
        (frame[2], frame[3]) = (8, Kind::GOAWAY.0);
        frame[9..13].copy_from_slice(&self.streams.newest().to_be_bytes());
        frame[13..].copy_from_slice(&(reason as u32).to_be_bytes());
        frame
    }

    /// What is to be sent in place of some bytes, if they end in the library's word that it gives the connection up for a
    /// header block that can't be decoded: that with the code that RFC 9113 (section 4.3) has for it. A best effort:
    /// another block may have come meanwhile.
    pub fn corrected(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let at = bytes.len().checked_sub(GOAWAY)?;
        let (head, payload) = Head::read(&bytes[at..])?;
        if head.kind != Kind::GOAWAY || head.length != 8 || frame::number(&payload[4..]) != Reason::Protocol as u32 {
            return None;
        }
        // It could be the end of something else.
        let mut outgoing = self.outgoing.clone();
        outgoing.walk(&bytes[..at], |_, _| {});
        if !outgoing.is_between() || block::look(&self.incoming.newest).is_ok() {
            return None;
        }
        let mut corrected = bytes.to_vec();
        *corrected.last_mut()? = Reason::Compression as u8;
        Some(corrected)
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<Pass, Refusal> {
        if head.length > MAX_FRAME {
            return Err(Refusal::new(Reason::FrameSize, "a frame is larger than allowed"));
        }
        if !self.incoming.is_greeted && (head.kind != Kind::SETTINGS || head.has(frame::ACK)) {
            return Err(Refusal::new(Reason::Protocol, "the first frame is not SETTINGS"));
        }
        let expected = self.incoming.block;
        if expected.is_some_and(|stream| head.kind != Kind::CONTINUATION || head.stream != stream) {
            return Err(Refusal::new(Reason::Protocol, "a header block is interrupted by another frame"));
        }
        let payload = &payload[..payload.len().min(head.length as usize)];
        match head.kind {
            Kind::DATA => self.data(head, payload),
            Kind::HEADERS => self.headers(head, payload),
            Kind::CONTINUATION if expected.is_none() => {
                Err(Refusal::new(Reason::Protocol, "CONTINUATION without a header block before it"))
            }
            Kind::CONTINUATION => {
                if head.has(frame::END_HEADERS) {
                    self.incoming.block = None;
                }
                // The library has a limit of its own for all of it together.
                if self.incoming.newest.len() <= MAX_FRAME as usize {
                    self.incoming.part = (frame::HEAD, head.length as usize);
                }
                Ok(Pass::All)
            }
            Kind::PUSH_PROMISE => Err(Refusal::new(Reason::Protocol, "PUSH_PROMISE from a client")),
            _ => self.control(head, payload),
        }
    }

    fn data(&mut self, head: Head, payload: &[u8]) -> Result<Pass, Refusal> {
        if head.stream == 0 {
            return Err(Refusal::new(Reason::Protocol, "DATA on stream 0"));
        }
        let Some(padding) = head.padding(payload)? else { return Ok(Pass::More) };
        if padding > head.length {
            return Err(Refusal::new(Reason::Protocol, "DATA with more padding than payload"));
        }
        let is_last = head.has(frame::END_STREAM);
        match self.streams.remote(head.stream) {
            Remote::Open if is_last => self.streams.ended(head.stream),
            Remote::Open | Remote::Forgotten => {}
            Remote::Idle => return Err(Refusal::new(Reason::Protocol, "DATA on an idle stream")),
            Remote::Ended => return Err(Refusal::new(Reason::StreamClosed, "DATA on a stream that has ended")),
        }
        if padding == head.length && !is_last {
            self.budget.spend(Cost::SMALL)?;
        }
        Ok(Pass::All)
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<Pass, Refusal> {
        if head.stream.is_multiple_of(2) {
            return Err(Refusal::new(Reason::Protocol, "HEADERS on a stream that is not a client's"));
        }
        let state = self.streams.remote(head.stream);
        let is_last = head.has(frame::END_STREAM);
        if state == Remote::Open && !is_last {
            return Err(Refusal::new(Reason::Protocol, "HEADERS in the middle of a body"));
        }
        let Some(padding) = head.padding(payload)? else { return Ok(Pass::More) };
        let has_priority = head.has(frame::PRIORITY);
        let prefix = if head.has(frame::PADDED) { 1 } else { 0 };
        if has_priority {
            if head.length < prefix as u32 + 5 {
                return Err(Refusal::new(Reason::FrameSize, "HEADERS too short for their priority"));
            }
            let Some(dependency) = payload.get(prefix..prefix + 4) else { return Ok(Pass::More) };
            frame::check_dependency(head.stream, dependency)?;
        }
        if padding + if has_priority { 5 } else { 0 } > head.length {
            return Err(Refusal::new(Reason::Protocol, "HEADERS with more padding than payload"));
        }
        match state {
            Remote::Open => {
                if payload.len() < head.length as usize {
                    return Ok(Pass::More);
                }
                self.streams.ended(head.stream);
            }
            Remote::Idle => {
                self.streams.begin(head.stream, is_last)?;
                self.budget.earn(Cost::REQUEST);
                // Resets on this side may have used it up.
                self.budget.spend(0)?;
            }
            Remote::Forgotten => {}
            Remote::Ended if self.streams.was_used(head.stream) => {
                return Err(Refusal::new(Reason::StreamClosed, "HEADERS on a stream that has ended"));
            }
            Remote::Ended => return Err(Refusal::new(Reason::Protocol, "HEADERS on a stream before the newest")),
        }
        if !head.has(frame::END_HEADERS) {
            self.incoming.block = Some(head.stream);
        }
        let before = prefix + if has_priority { 5 } else { 0 };
        // The length of the padding counts as a part of it.
        let length = head.length as usize - before - (padding as usize - prefix);
        self.incoming.begin_block(before, length);
        if state != Remote::Open {
            return Ok(Pass::All);
        }
        self.incoming.newest.extend_from_slice(&payload[before..before + length]);
        self.incoming.part = (0, 0);
        Ok(Pass::Trailers)
    }

    /// Frames that carry nothing of a request.
    fn control(&mut self, head: Head, payload: &[u8]) -> Result<Pass, Refusal> {
        head.check_size()?;
        head.check_stream()?;
        if head.is_short() && payload.len() < head.length as usize {
            return Ok(Pass::More);
        }
        let is_idle = || self.streams.remote(head.stream) == Remote::Idle;
        match head.kind {
            Kind::PRIORITY => frame::check_dependency(head.stream, payload)?,
            Kind::RST_STREAM if is_idle() => {
                return Err(Refusal::new(Reason::Protocol, "RST_STREAM on an idle stream"));
            }
            Kind::RST_STREAM => {
                let is_waste = self.streams.reset(head.stream);
                self.budget.spend(if is_waste { Cost::RESET } else { Cost::SMALL })?;
                return Ok(Pass::All);
            }
            Kind::SETTINGS => {
                frame::check_settings(payload)?;
                self.incoming.is_greeted = true;
                let cost = if head.has(frame::ACK) { Cost::SMALL } else { Cost::SETTINGS };
                self.budget.spend(cost)?;
                return Ok(Pass::All);
            }
            Kind::WINDOW_UPDATE => {
                if head.stream != 0 && is_idle() {
                    return Err(Refusal::new(Reason::Protocol, "WINDOW_UPDATE on an idle stream"));
                }
                if frame::number(payload) == 0 {
                    return Err(Refusal::new(Reason::Protocol, "WINDOW_UPDATE by nothing"));
                }
            }
            _ => {}
        }
        self.budget.spend(Cost::SMALL)?;
        Ok(Pass::All)
    }
}
