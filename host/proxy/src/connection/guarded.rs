//! A client's HTTP/2 connection whose frames are looked at, in both directions (`sluicegate_wire::http2`), on their way
//! to and from the library.
//!
//! Of a connection that is given up, the library sees the end behind the last frame that was good. It closes it then,
//! and this says why, in a frame of its own.

use std::{
    cell::RefCell,
    io,
    io::IoSlice,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use hyper::rt::Write;
use sluicegate_wire::http2::{self, GOAWAY, Next, guarded_trailers};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::Io;

/// How much is read at a time while the beginning of a frame is incomplete.
const PIECE: usize = 4096;

/// How much of what a client sent meanwhile is thrown away when its connection is given up. What is left unread makes
/// the kernel reset the connection, and the client might never see why it was closed.
const MAX_UNREAD: usize = 256 << 10;

/// A stream whose frames are looked at.
#[derive(Debug)]
pub(super) struct Guarded {
    io: Io,
    frames: Rc<RefCell<http2::Connection>>,
    /// What came and was not handed on yet; the first `ready` bytes may be.
    held: Vec<u8>,
    ready: usize,
    /// What is to be said at the end, once there is anything, and how much of it was said.
    farewell: Option<([u8; GOAWAY], usize)>,
}

impl Guarded {
    pub(super) fn new(io: Io, frames: Rc<RefCell<http2::Connection>>) -> Self {
        Self { io, frames, held: Vec::new(), ready: 0, farewell: None }
    }

    /// Looks at what is held, of which none is ready.
    fn look(&mut self) {
        let step = self.frames.borrow_mut().receive(&self.held);
        self.ready = step.passed;
        self.go_on(step.next);
    }

    /// Goes on with what is held behind what is ready.
    fn go_on(&mut self, mut next: Next) {
        let mut frames = self.frames.borrow_mut();
        loop {
            match next {
                Next::More => return,
                Next::Trailers(length) => {
                    let (mut guarded, end) = (Vec::new(), self.ready + length);
                    guarded_trailers(&self.held[self.ready..end], &mut guarded);
                    self.ready += guarded.len();
                    self.held.splice(self.ready - guarded.len()..end, guarded);
                }
                Next::Refused(refusal) => {
                    tracing::debug!(reason = ?refusal.reason, "an HTTP/2 connection is given up: {refusal}");
                    self.farewell = Some((frames.farewell(refusal.reason), 0));
                    self.held.truncate(self.ready);
                    return;
                }
            }
            let step = frames.receive(&self.held[self.ready..]);
            self.ready += step.passed;
            next = step.next;
        }
    }

    /// Reads straight to where the library wants it, and keeps what may not be handed on yet. Says whether there is
    /// anything for the library, which may be the end.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        ready!(self.io.poll_fill(cx, buffer))?;
        let came = &buffer.filled()[before..];
        if came.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let step = self.frames.borrow_mut().receive(came);
        if step.passed < came.len() {
            self.held.extend_from_slice(&came[step.passed..]);
            buffer.set_filled(before + step.passed);
            self.go_on(step.next);
        }
        Poll::Ready(Ok(step.passed > 0))
    }

    /// Reads on from what is held. Says whether the client's end has come.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut piece);
        ready!(self.io.poll_fill(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.held.extend_from_slice(buffer.filled());
        self.look();
        Poll::Ready(Ok(false))
    }

    /// Says why the connection ends, if it was given up.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((frame, said)) = &mut self.farewell else { return Poll::Ready(Ok(())) };
        // In the middle of a frame it would be a part of that.
        if *said == 0 && !self.frames.borrow().may_speak() {
            return Poll::Ready(Ok(()));
        }
        while *said < frame.len() {
            *said += ready!(Write::poll_write(Pin::new(&mut self.io), cx, &frame[*said..]))?;
        }
        ready!(Write::poll_flush(Pin::new(&mut self.io), cx))?;
        self.drain();
        Poll::Ready(Ok(()))
    }

    /// Throws away what has come.
    fn drain(&mut self) {
        let (mut piece, mut left) = ([MaybeUninit::uninit(); PIECE], MAX_UNREAD);
        while left > 0 {
            let mut buffer = ReadBuf::uninit(&mut piece);
            let Poll::Ready(Ok(())) = self.io.poll_fill(&mut Context::from_waker(Waker::noop()), &mut buffer) else {
                return;
            };
            if buffer.filled().is_empty() {
                return;
            }
            left = left.saturating_sub(buffer.filled().len());
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.ready > 0 {
                let count = self.ready.min(buffer.remaining());
                buffer.put_slice(&self.held[..count]);
                self.held.drain(..count);
                self.ready -= count;
                return Poll::Ready(Ok(()));
            }
            if self.farewell.is_some() {
                return Poll::Ready(Ok(()));
            }
            let is_done =
                if self.held.is_empty() { ready!(self.poll_direct(cx, buffer))? } else { ready!(self.poll_held(cx))? };
            if is_done {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let corrected = self.frames.borrow().corrected(bytes);
        let bytes = corrected.as_deref().unwrap_or(bytes);
        let count = ready!(Write::poll_write(Pin::new(&mut self.io), cx, bytes))?;
        self.frames.borrow_mut().sent(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices {
            return AsyncWrite::poll_write(self, cx, only);
        }
        let count = ready!(Write::poll_write_vectored(Pin::new(&mut self.io), cx, slices))?;
        let (mut frames, mut left) = (self.frames.borrow_mut(), count);
        for slice in slices {
            let part = left.min(slice.len());
            frames.sent(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_flush(Pin::new(&mut self.io), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_farewell(cx))?;
        Write::poll_shutdown(Pin::new(&mut self.io), cx)
    }
}
