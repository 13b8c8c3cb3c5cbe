//! A request on its way to an endpoint: its head, and its body as it comes.

use std::{
    future::Future,
    io::{self, IoSlice, Write as _},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, header::TRAILER};
use http_body::Body;
use hyper::rt::Write;
use sluicegate_policy::{RequestHeaders, RequestParts};
use sluicegate_wire::framing::is_forbidden_trailer;
use tokio::time::{Sleep, sleep};

use super::head::{encode, line};
use crate::{body::RequestBody, headers::tokens, io::Io};

/// What is kept of the memory for heads when a request is through.
const KEPT: usize = 4 * 1024;

/// Pieces up to this size are small: as they come, each costs a system call, here and at the endpoint.
const SMALL: usize = 256;

/// So much of small pieces goes out at once.
const TOGETHER: usize = 8 * 1024;

/// Trailers that a request may announce; others do not go out. Nobody has more than a few.
const MAX_ANNOUNCED: usize = 32;

/// So often small pieces wait for more of them.
const TURNS: u32 = 16;

/// A request on its way out.
#[derive(Default)]
pub(super) struct Sending {
    /// Written next, in this order. The first is kept from request to request.
    lines: Vec<u8>,
    written: usize,
    piece: Bytes,
    tail: &'static [u8],
    body: Option<RequestBody>,
    framing: Framing,
    /// The trailers that the head has announced.
    announced: Vec<HeaderName>,
    /// Until the endpoint asks for the body, or this is over, the body waits.
    hold: Option<Pin<Box<Sleep>>>,
    /// Whether some of what was written may still be with TLS.
    is_held_up: bool,
    /// Whether small pieces have come that wait for more of them, and how often they have waited.
    gathers: bool,
    turns: u32,
    /// Why no more can go out.
    broken: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    #[default]
    Chunked,
    /// So many bytes are still to come.
    Sized(u64),
}

impl Sending {
    /// Takes a request. Its body waits for "100 Continue", but not longer than `hold`.
    pub(super) fn begin(&mut self, head: &RequestParts, body: RequestBody, hold: Option<Duration>) {
        self.lines.clear();
        self.lines.shrink_to(KEPT);
        self.written = 0;
        (self.is_held_up, self.broken) = (false, None);
        (self.gathers, self.turns) = (false, 0);
        let said = encode(head, &mut self.lines);
        self.framing = said.length().map_or(Framing::Chunked, Framing::Sized);
        self.announced.clear();
        (self.body, self.hold) = (None, None);
        if !body.is_end_stream() && self.framing != Framing::Sized(0) {
            self.begin_body(body, hold, said.has_trailers.then_some(&head.headers));
        } else if said.is_chunked {
            // A body of which it is known already that nothing comes ends all the same.
            self.lines.extend_from_slice(b"0\r\n\r\n");
        }
    }

    #[inline(never)]
    fn begin_body(&mut self, body: RequestBody, hold: Option<Duration>, announces: Option<&RequestHeaders>) {
        self.body = Some(body);
        if let Some(headers) = announces {
            let names = headers.get_all(&TRAILER).flat_map(tokens);
            let names = names.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
            self.announced.extend(names.take(MAX_ANNOUNCED));
        }
        if let Some(hold) = hold {
            self.hold = Some(Box::pin(sleep(hold)));
            self.lines.truncate(self.lines.len() - 2);
            self.lines.extend_from_slice(b"expect: 100-continue\r\n\r\n");
        }
    }

    /// The endpoint asks for the body.
    pub(super) fn go_on(&mut self) {
        self.hold = None;
    }

    /// Whether all of it has gone out.
    pub(super) fn is_done(&self) -> bool {
        self.broken.is_none() && self.body.is_none() && self.is_flushed()
    }

    /// Whether as much of the body has gone out as the head announced.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.framing, Framing::Sized(left) if left > 0)
    }

    /// Whether all of it has gone out, or no more can.
    pub(super) fn is_over(&self) -> bool {
        self.broken.is_some() || self.is_done()
    }

    /// Whether it is for the client to send more: of a body whose length is known. Of others, an endpoint may wait for more
    /// as well as the client for an answer.
    pub(super) fn waits_for_client(&self) -> bool {
        let is_owed = matches!(self.framing, Framing::Sized(left) if left > 0) && self.body.is_some();
        is_owed && self.broken.is_none() && self.hold.is_none() && self.is_flushed()
    }

    /// Lets go of memory that only small pieces need.
    pub(super) fn shrink(&mut self) {
        if self.lines.capacity() > 2 * KEPT {
            self.make_room();
            self.lines.shrink_to(KEPT);
        }
    }

    /// Gives up what has not gone out. The body, if none of it was asked for.
    pub(super) fn abandon(&mut self) -> Option<RequestBody> {
        (self.piece, self.tail) = (Bytes::new(), b"");
        self.written = self.lines.len();
        self.body.take()
    }

    /// Sends on. Ready when all has gone out, or no more can. Only the body itself can be an error: that the endpoint
    /// takes no more is no reason not to hear its answer.
    pub(super) fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.broken.is_some() {
                return Poll::Ready(Ok(()));
            }
            // A first piece that is here already goes out with the head.
            let waits = match self.poll_body(cx) {
                Poll::Ready(Err(error)) => {
                    self.broken = Some(io::ErrorKind::InvalidData.into());
                    return Poll::Ready(Err(error));
                }
                polled => polled.is_pending(),
            };
            if waits && mem::take(&mut self.gathers) && self.turns < TURNS {
                self.turns += 1;
                // Whoever sends a little at a time may have sent more, which has not come this far.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_written(io, cx) {
                Poll::Ready(Ok(())) if waits => return Poll::Pending,
                Poll::Ready(Ok(())) if self.body.is_some() => {}
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => self.broken = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Why no more can go out.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.broken.take()
    }

    fn is_flushed(&self) -> bool {
        self.is_written() && !self.is_held_up
    }

    fn is_written(&self) -> bool {
        self.written == self.lines.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Takes the next piece of the body, or several small ones.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.piece.is_empty() && self.tail.is_empty() {
            ready!(self.poll_piece(cx))?;
            let is_small = !self.piece.is_empty() && self.piece.len() <= SMALL;
            if !is_small || self.body.is_none() || self.lines.len() - self.written > TOGETHER {
                return Poll::Ready(Ok(()));
            }
            self.fold();
        }
        Poll::Ready(Ok(()))
    }

    /// Puts a small piece to what is written next.
    fn fold(&mut self) {
        self.make_room();
        self.lines.extend_from_slice(&self.piece);
        self.lines.extend_from_slice(self.tail);
        (self.piece, self.tail, self.gathers) = (Bytes::new(), b"", true);
    }

    /// Takes the next piece of the body, if there is one.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
        if let Some(hold) = &mut self.hold {
            ready!(hold.as_mut().poll(cx));
            self.hold = None;
        }
        let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(frame) => frame.map_err(io::Error::other)?,
            None => return Poll::Ready(self.end(&HeaderMap::new())),
        };
        let frame = match frame.into_data() {
            Ok(data) => {
                let is_last = body.is_end_stream();
                return Poll::Ready(self.take(data, is_last));
            }
            Err(frame) => frame,
        };
        match frame.into_trailers() {
            Ok(trailers) => Poll::Ready(self.end(&trailers)),
            Err(_) => Poll::Ready(Ok(())),
        }
    }

    fn take(&mut self, data: Bytes, is_last: bool) -> io::Result<()> {
        if data.is_empty() {
            return if is_last { self.end(&HeaderMap::new()) } else { Ok(()) };
        }
        self.piece = data;
        match &mut self.framing {
            Framing::Sized(left) => {
                *left = left
                    .checked_sub(self.piece.len() as u64)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the body is longer than announced"))?;
                if *left == 0 {
                    self.body = None;
                }
            }
            Framing::Chunked => {
                self.make_room();
                // Writing to a vector can't fail.
                let _ = write!(self.lines, "{:x}\r\n", self.piece.len());
                self.tail = b"\r\n";
                if is_last {
                    self.tail = b"\r\n0\r\n\r\n";
                    self.body = None;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> io::Result<()> {
        self.body = None;
        match self.framing {
            Framing::Sized(0) => Ok(()),
            Framing::Sized(_) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body is shorter than announced"))
            }
            Framing::Chunked => {
                self.make_room();
                self.lines.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    if self.passes(name) {
                        line(name.as_ref(), value, &mut self.lines);
                    }
                }
                self.lines.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }

    /// Whether a trailer may go out: only what was announced, as it should be (RFC 9110, section 6.6.2). Of the servers
    /// that do not expect trailers some take them for headers, and some for the next request.
    fn passes(&self, name: &HeaderName) -> bool {
        self.announced.contains(name) && !is_forbidden_trailer(name.as_ref())
    }

    /// Forgets lines that have gone out.
    fn make_room(&mut self) {
        if self.written == self.lines.len() {
            self.lines.clear();
            self.written = 0;
        } else if self.written > TOGETHER {
            self.lines.drain(..self.written);
            self.written = 0;
        }
    }

    /// Writes what is there.
    fn poll_written(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let lines = &self.lines[self.written..];
            let count = if self.piece.is_empty() && self.tail.is_empty() {
                ready!(Write::poll_write(Pin::new(&mut *io), cx, lines))?
            } else {
                let slices = [lines, &self.piece, self.tail].map(IoSlice::new);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            (self.is_held_up, self.turns) = (true, 0);
            let from_lines = count.min(lines.len());
            let from_piece = (count - from_lines).min(self.piece.len());
            self.written += from_lines;
            self.piece.advance(from_piece);
            self.tail = &self.tail[count - from_lines - from_piece..];
        }
        if self.is_held_up {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.is_held_up = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(name: &str, value: &str) -> RequestParts {
        Request::put("/").header(name, value).body(()).unwrap().into_parts().0.into()
    }

    #[test]
    fn what_has_gone_out_of_small_pieces_is_forgotten() {
        for parts in [head("content-length", "1000000"), head("transfer-encoding", "chunked")] {
            let mut sending = Sending::default();
            sending.begin(&parts, RequestBody::Whole(Bytes::from_static(b"x")), None);
            for round in 0..10_000 {
                sending.take(Bytes::from_static(b"abcdefgh"), false).unwrap();
                sending.fold();
                assert!(sending.lines.len() < 3 * TOGETHER, "{}", sending.lines.len());
                // Some of it, but never all, goes out now and then.
                if round % 100 == 0 {
                    sending.written = sending.lines.len() - 1;
                }
            }
        }
    }

    #[test]
    fn only_trailers_that_were_announced_go_out() {
        let mut headers = head("transfer-encoding", "chunked");
        for said in ["x-one, ,content-length", "X-Two"] {
            headers.headers.all_mut().append(TRAILER, said.parse().unwrap());
        }
        let mut sending = Sending::default();
        sending.begin(&headers, RequestBody::Whole(Bytes::from_static(b"x")), None);
        let announced: Vec<bool> =
            ["x-one", "x-two", "x-three", "content-length"].map(|name| sending.passes(&name.parse().unwrap())).into();
        assert_eq!(announced, [true, true, false, false]);
        headers.headers.all_mut().insert(TRAILER, ",a".repeat(10_000).parse().unwrap());
        sending.begin(&headers, RequestBody::Whole(Bytes::from_static(b"x")), None);
        assert_eq!(sending.announced.len(), MAX_ANNOUNCED);
    }

    #[test]
    fn a_connection_that_owes_a_body_carries_no_more() {
        let mut sending = Sending::default();
        sending.begin(&head("content-length", "5"), RequestBody::Empty, None);
        assert!(!sending.is_whole());
        sending.begin(&head("content-length", "0"), RequestBody::Empty, None);
        assert!(sending.is_whole());
    }

    #[test]
    fn a_chunked_body_of_which_nothing_comes_has_its_end() {
        let mut sending = Sending::default();
        sending.begin(&head("transfer-encoding", "chunked"), RequestBody::Whole(Bytes::new()), None);
        assert!(sending.lines.ends_with(b"\r\n\r\n0\r\n\r\n"));
        sending.begin(&head("content-length", "0"), RequestBody::Empty, None);
        assert!(sending.lines.ends_with(b"content-length: 0\r\n\r\n"));
    }
}
