//! A strict check of a stream of HTTP/1.1 requests, between the socket and an HTTP server.
//!
//! Two parties that disagree on where a request ends can be made to see different requests: that is request smuggling.
//! What RFC 9112 lets a recipient tolerate is therefore refused here, with an answer, before any other parser sees it:
//! bare LF, folded lines, whitespace before a colon, two lengths, a length beside a transfer coding, and so on. What
//! passes has one reading only. The bytes themselves are never changed.
//!
//! [`Framing`] is given the bytes as they come, and says how many at the front may be handed on: heads when they are
//! whole and in order, bodies as they come.
//!
//! What is refused follows RFC 9112 (HTTP/1.1), RFC 9110 (semantics), and what is known of smuggling: Linhart et al.,
//! "HTTP request smuggling" (2005); Kettle, "HTTP desync attacks" (2019); Kallus et al., "The HTTP Garden" (2024).

mod chunked;
mod fields;
mod head;
mod host;
mod http2;
mod known;
mod names;
mod rules;
mod scan;
mod target;
#[cfg(test)]
mod tests;
mod violation;

pub use chunked::{Chunks, Piece};
pub use http2::Http2Head;
pub use names::is_forbidden_trailer;
pub use rules::{OddNames, Rules};
pub use violation::Violation;

use chunked::Chunked;
use head::{Body, Head};
use known::Known;

/// What a client that speaks HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What [`Framing::advance`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// So many bytes at the front are in order and may be handed on, whatever the verdict is.
    pub passed: usize,
    /// What to do about the others.
    pub verdict: Verdict,
}

/// What to do about the bytes that did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are the beginning of something: keep them, and show them again, in front of what comes next.
    More,
    /// The client speaks HTTP/2 from the start. None of its bytes has passed.
    Http2,
    /// The stream can't be trusted from here on: answer what has passed, then refuse, then close.
    Refused(Violation),
}

/// Where in the stream the check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between two requests, or before the first.
    Idle,
    /// Some of a head has come, and none of it has passed.
    Head,
    /// A head has passed, and its body has not ended yet.
    Body,
    /// Whatever comes passes.
    Tunnel,
    /// Nothing passes any more: the stream was refused, or speaks HTTP/2.
    Ended,
}

/// The check of one connection's requests.
#[derive(Clone, Debug)]
pub struct Framing {
    rules: Rules,
    state: State,
    head: Head,
    known: Known,
    heads: u64,
    is_head_begun: bool,
    refused_in_body: bool,
}

#[derive(Clone, Debug)]
enum State {
    Head,
    Sized(u64),
    Chunked(Chunked),
    Tunnel,
    Http2,
    Refused(Violation),
}

impl Framing {
    /// The check of a new connection.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Head,
            head: Head::default(),
            known: Known::default(),
            heads: 0,
            is_head_begun: false,
            refused_in_body: false,
        }
    }

    /// Looks at what has come. `bytes` begins with what did not pass the last time. However small
    /// the pieces are, no byte is looked at more than three times.
    pub fn advance(&mut self, bytes: &[u8]) -> Step {
        let mut passed = 0;
        let verdict = loop {
            let rest = &bytes[passed..];
            let ended = match &mut self.state {
                State::Head => self.advance_head(rest, &mut passed),
                State::Sized(left) => {
                    let count = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= count as u64;
                    passed += count;
                    if *left > 0 { Some(Verdict::More) } else { self.next_message() }
                }
                State::Chunked(chunked) => match chunked.scan(rest, &self.rules, &mut passed) {
                    Ok(Piece::Data(count)) => {
                        passed += count;
                        None
                    }
                    Ok(Piece::End(_)) => self.next_message(),
                    Ok(Piece::None) => Some(Verdict::More),
                    Err(violation) => Some(Verdict::Refused(violation)),
                },
                State::Tunnel => {
                    passed = bytes.len();
                    Some(Verdict::More)
                }
                State::Http2 => Some(Verdict::Http2),
                State::Refused(violation) => Some(Verdict::Refused(*violation)),
            };
            if let Some(verdict) = ended {
                break verdict;
            }
        };
        match verdict {
            Verdict::More => {}
            Verdict::Http2 => self.state = State::Http2,
            Verdict::Refused(violation) => {
                self.refused_in_body |= matches!(self.state, State::Chunked(_));
                self.state = State::Refused(violation);
            }
        }
        Step { passed, verdict }
    }

    /// Lets everything pass from now on, what was held back included: the connection speaks another protocol. A stream
    /// that was refused stays so.
    pub fn passthrough(&mut self) {
        if !matches!(self.state, State::Refused(_)) {
            self.state = State::Tunnel;
        }
    }

    /// How many heads have passed.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the stream was refused in the middle of a body, whose head has passed.
    pub fn was_refused_in_body(&self) -> bool {
        self.refused_in_body
    }

    /// Where in the stream it stands.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Head if self.is_head_begun => Phase::Head,
            State::Head => Phase::Idle,
            State::Sized(_) | State::Chunked(_) => Phase::Body,
            State::Tunnel => Phase::Tunnel,
            State::Http2 | State::Refused(_) => Phase::Ended,
        }
    }

    fn advance_head(&mut self, rest: &[u8], passed: &mut usize) -> Option<Verdict> {
        if self.heads == 0 && rest.first() == Some(&PREFACE[0]) {
            if rest.starts_with(PREFACE) {
                return Some(Verdict::Http2);
            }
            if PREFACE.starts_with(rest) {
                self.is_head_begun = true;
                return Some(Verdict::More);
            }
        }
        match self.head.scan(rest, &self.rules, &mut self.known) {
            Ok(None) => {
                // An empty line in front of a request is not yet a request.
                self.is_head_begun = self.head.is_begun();
                Some(Verdict::More)
            }
            Ok(Some((length, body))) => {
                *passed += length;
                self.heads += 1;
                self.head = Head::default();
                self.is_head_begun = false;
                self.state = match body {
                    Body::Empty => State::Head,
                    Body::Sized(length) => State::Sized(length),
                    Body::Chunked => State::Chunked(Chunked::default()),
                };
                None
            }
            Err(violation) => Some(Verdict::Refused(violation)),
        }
    }

    fn next_message(&mut self) -> Option<Verdict> {
        self.state = State::Head;
        None
    }
}
