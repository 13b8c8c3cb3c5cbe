//! A client's bytes on their way to hyper, checked: what two parsers could read differently does not get there.
//!
//! hyper sees heads whole. In place of one that is refused it sees a request of this proxy's own making, which is
//! answered with what was wrong: so the refusal has its turn behind the answers to the requests before it, is counted
//! and logged as any other, and ends the connection. A body that is refused ends before its end.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use sluicegate_wire::framing::{Framing, Phase, Rules, Step, Verdict, Violation};
use tokio::io::ReadBuf;

use crate::io::{Io, Traffic};

/// What hyper reads in place of a refused head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// How much is read at a time while a head is incomplete.
const PIECE: usize = 4096;

/// What is wrong with a client's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) violation: Violation,
    /// How many requests came before it; the last of them is not whole if its body was refused.
    pub(crate) after: u64,
}

/// A client's connection whose requests are checked.
#[derive(Debug)]
pub(super) struct Checked {
    io: Io,
    traffic: Rc<Traffic>,
    framing: Framing,
    /// What came and was not handed on yet; the first `ready` bytes may be.
    held: Vec<u8>,
    ready: usize,
    /// What is left to be said in place of what was refused.
    stand_in: &'static [u8],
}

impl Checked {
    pub(super) fn new(io: Io, traffic: Rc<Traffic>, rules: Rules) -> Self {
        traffic.is_flushed.set(true);
        traffic.phase.set(Some(Phase::Idle));
        Self { io, traffic, framing: Framing::new(rules), held: Vec::new(), ready: 0, stand_in: STAND_IN }
    }

    /// The stream itself, and what came over it and was not handed on: for another protocol than HTTP. None when the
    /// stream was refused.
    pub(super) fn into_tunnel(self) -> Option<(Io, Vec<u8>)> {
        (!self.is_refused()).then_some((self.io, self.held))
    }

    /// Whether the end of the client's bytes can be seen without reading them.
    pub(super) fn shows_its_end(&self) -> bool {
        self.io.is_plain()
    }

    /// Ready when there is something to be read, or the end.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_readable(cx)
    }

    /// Says what is to be said before the answer. Not in the middle of an earlier one: then it is not said.
    fn poll_inform(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut lines = self.traffic.informational.borrow_mut();
        if !self.traffic.is_flushed.get() {
            lines.clear();
        }
        while !lines.is_empty() {
            let count = ready!(Write::poll_write(Pin::new(&mut self.io), cx, &lines))?;
            lines.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client has left while its answer is being made. hyper would find out by reading on, for which it takes
    /// 8 KiB of memory with each request; so it is told not to, where this can be seen from outside (`serve_some`), and
    /// it flushes whenever it has looked for an answer. A client that only sends no more may still wait for its answer,
    /// though not for long (`ClientConnection::is_slow`).
    fn is_abandoned(&self, cx: &mut Context<'_>) -> bool {
        let is_waiting = self.traffic.active.get() > 0 && self.traffic.phase.get() == Some(Phase::Idle);
        is_waiting && self.io.is_broken(cx)
    }

    /// How much of these bytes may be handed on. What is refused is noted.
    fn check(&mut self, bytes: &[u8]) -> usize {
        let Step { passed, verdict } = self.framing.advance(bytes);
        let violation = match verdict {
            Verdict::More => {
                self.traffic.phase.set(Some(self.framing.phase()));
                return passed;
            }
            Verdict::Http2 => Violation::UnsupportedVersion,
            Verdict::Refused(violation) => violation,
        };
        self.traffic.refused.set(Some(Refused { violation, after: self.framing.heads() }));
        passed
    }

    fn is_refused(&self) -> bool {
        self.traffic.refused.get().is_some()
    }

    /// Hands over what is held, or what stands in for it.
    fn hand_over(&mut self, cursor: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let room = cursor.remaining();
        if self.ready > 0 {
            let count = self.ready.min(room);
            cursor.put_slice(&self.held[..count]);
            self.held.drain(..count);
            self.ready -= count;
        } else if self.framing.was_refused_in_body() {
            // Nothing more: it ends before its end.
        } else if self.stand_in.is_empty() {
            // The end of a client's bytes would be taken for the end of its interest. The answer closes the connection.
            return Poll::Pending;
        } else {
            let (now, later) = self.stand_in.split_at(self.stand_in.len().min(room));
            cursor.put_slice(now);
            self.stand_in = later;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads straight to where hyper wants it, and keeps what may not be handed on yet. Says how much may.
    #[allow(unsafe_code)] // hyper's cursor can't be filled through a safe reader without copying every byte.
    fn poll_direct(&mut self, cx: &mut Context<'_>, cursor: &mut ReadBufCursor<'_>) -> Poll<io::Result<Came>> {
        // SAFETY: `ReadBuf` never de-initialises what it is given.
        let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
        ready!(self.io.poll_fill(cx, &mut buffer))?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(Came::End));
        }
        let passed = self.check(bytes);
        self.held.extend_from_slice(&bytes[passed..]);
        // SAFETY: the first `filled` bytes are initialised, and no more than these have passed.
        unsafe { cursor.advance(passed) };
        Poll::Ready(Ok(if passed > 0 { Came::Some } else { Came::Nothing }))
    }

    /// Reads on from what is held.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Came>> {
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut piece);
        ready!(self.io.poll_fill(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(Came::End));
        }
        self.held.extend_from_slice(buffer.filled());
        let held = std::mem::take(&mut self.held);
        self.ready = self.check(&held);
        self.held = held;
        Poll::Ready(Ok(Came::Nothing))
    }
}

/// What a read came to.
enum Came {
    /// Something for hyper, which has it.
    Some,
    /// Nothing for hyper yet.
    Nothing,
    /// The end.
    End,
}

impl Read for Checked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.ready > 0 || self.is_refused() {
                return self.hand_over(&mut cursor);
            }
            let came = if self.held.is_empty() {
                ready!(self.poll_direct(cx, &mut cursor))?
            } else {
                ready!(self.poll_held(cx))?
            };
            if !matches!(came, Came::Nothing) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Write for Checked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_inform(cx))?;
        self.traffic.is_flushed.set(false);
        Write::poll_write(Pin::new(&mut self.io), cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_inform(cx))?;
        self.traffic.is_flushed.set(false);
        Write::poll_write_vectored(Pin::new(&mut self.io), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        Write::is_write_vectored(&self.io)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has written all that it has.
        self.traffic.is_flushed.set(true);
        if self.is_abandoned(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        ready!(self.poll_inform(cx))?;
        Write::poll_flush(Pin::new(&mut self.io), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_shutdown(Pin::new(&mut self.io), cx)
    }
}
