//! A stream as hyper wants it: TCP, or TLS over it.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice, Write as _},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use hyper::rt::{Read, ReadBufCursor, Write};
use sluicegate_wire::framing::Phase;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::{
    connection::Refused,
    headers,
    tcp::{SMALL, Tcp},
};

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What others may know of a stream, and ask of it, while hyper has it.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Set when anything is received; cleared by whoever wants to know.
    pub(crate) received: Cell<bool>,
    /// Whether the peer sends no more, where that is looked for.
    pub(crate) has_ended: Cell<bool>,
    /// Set when anything is sent; cleared by whoever wants to know.
    pub(crate) sent_some: Cell<bool>,
    /// Whether to end the connection with a reset, so that the peer can't take what it got for the whole.
    pub(crate) reset: Cell<bool>,
    /// What is wrong with what was received, where that is checked.
    pub(crate) refused: Cell<Option<Refused>>,
    /// Whether the peer takes no more for now.
    pub(crate) is_blocked: Cell<bool>,
    /// Who waits until it does.
    waiting: RefCell<Vec<Waker>>,
    /// How many requests are under way.
    pub(crate) active: Cell<u32>,
    /// How far what was received has come, where that is checked.
    pub(crate) phase: Cell<Option<Phase>>,
    /// Whether whoever writes has had nothing on its way out since it last wrote, where that is checked.
    pub(crate) is_flushed: Cell<bool>,
    /// What is said to a client before its answer.
    pub(crate) informational: RefCell<Vec<u8>>,
}

impl Traffic {
    /// Ready unless the peer takes no more for now.
    pub(crate) fn poll_unblocked(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_blocked.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let was_blocked = self.is_blocked.replace(written.is_pending());
        if written.is_ready() {
            self.sent_some.set(true);
            if was_blocked {
                self.waiting.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Says something to an HTTP/1.1 client before its answer (RFC 9110, section 15.2).
    pub(crate) fn inform(&self, status: StatusCode, headers: &HeaderMap) {
        let mut lines = self.informational.borrow_mut();
        // Writing to a vector can't fail.
        let _ = write!(lines, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
        for (name, value) in headers.iter().filter(|(name, _)| !headers::is_of_hop(name) && *name != CONTENT_LENGTH) {
            lines.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        lines.extend_from_slice(b"\r\n");
    }
}

/// What bytes go over.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Tcp),
    // In a box: it is several times as large as a plain one, and so would be every connection.
    Tls(Box<TlsStream<Tcp>>),
}

impl Stream {
    fn tcp(&self) -> &Tcp {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match $stream {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

/// A stream, read and written without an adapter in between.
#[derive(Debug)]
pub(crate) struct Io {
    stream: Stream,
    traffic: Rc<Traffic>,
}

impl Io {
    pub(crate) fn new(stream: Stream) -> (Self, Rc<Traffic>) {
        let traffic = Rc::new(Traffic::default());
        (Self { stream, traffic: Rc::clone(&traffic) }, traffic)
    }
}

impl Io {
    /// Reads what there is; nothing is the end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(either!(&mut self.stream, poll_read(cx, buffer)))?;
        if !buffer.filled().is_empty() {
            self.traffic.received.set(true);
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }

    /// Whether a plain stream has broken, without reading on. If not, `cx` hears of it when it has. That the peer sends no
    /// more is noted.
    pub(crate) fn is_broken(&self, cx: &mut Context<'_>) -> bool {
        let Stream::Plain(tcp) = &self.stream else { return false };
        // A system call only when the kernel has said something.
        match tcp.stream().poll_peek(cx, &mut ReadBuf::new(&mut [0])) {
            Poll::Ready(Ok(count)) => {
                self.traffic.has_ended.set(count == 0);
                false
            }
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Ready when there is something to be read, or the end.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.tcp().stream().poll_read_ready(cx)
    }

    /// Ends it in both directions. What is here already can still be read.
    pub(crate) fn break_off(&self) {
        self.stream.tcp().break_off();
    }

    /// How many bytes have gone out so far, as they are on their way: with TLS, they are more than were written.
    pub(crate) fn sent(&self) -> u64 {
        self.stream.tcp().sent()
    }

    /// The same. What was written, but has not gone out, never will.
    pub(crate) fn stop_sending(&self) -> u64 {
        self.stream.tcp().stop_sending()
    }

    /// Whether nothing is there to be read: neither bytes nor the end.
    pub(crate) fn is_quiet(&mut self) -> bool {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.is_quiet(),
            // What came may be meant for the TLS itself, such as a ticket for the next session.
            Stream::Tls(_) => {
                self.poll_fill(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut [0])).is_pending()
            }
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.traffic.reset.get() {
            // Should it fail, the stream ends as any other: nothing better can be done.
            let _ = self.stream.tcp().stream().set_zero_linger();
        }
    }
}

impl Read for Io {
    #[allow(unsafe_code)] // hyper's cursor can't be filled through a safe reader without copying every byte.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: `ReadBuf` never de-initialises what it is given.
        let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
        ready!(self.poll_fill(cx, &mut buffer))?;
        let count = buffer.filled().len();
        // SAFETY: `filled` says that this many bytes from the cursor's place on are initialised.
        unsafe { cursor.advance(count) };
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = either!(&mut self.stream, poll_write(cx, bytes));
        self.traffic.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices {
            return Write::poll_write(self, cx, only);
        }
        // TLS would make a record of each slice.
        if self.is_plain() || slices.iter().map(|slice| slice.len()).sum::<usize>() > SMALL {
            let written = either!(&mut self.stream, poll_write_vectored(cx, slices));
            self.traffic.wrote(&written);
            return written;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            slices.iter().for_each(|slice| scratch.extend_from_slice(slice));
            Write::poll_write(self.as_mut(), cx, scratch)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.stream, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.stream, poll_shutdown(cx))
    }
}

// For HTTP/2, and for what comes after a switch of protocols, hyper is not in between.

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_fill(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Write::poll_write(self, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Write::poll_write_vectored(self, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        Write::is_write_vectored(self)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_shutdown(self, cx)
    }
}
