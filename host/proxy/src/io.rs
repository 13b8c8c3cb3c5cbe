//! A stream as hyper wants it: TCP, or TLS over it.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice, Write as _},
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use hyper::rt::{Read, ReadBufCursor, Write};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use sluicegate_wire::framing::Phase;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use crate::{connection::Refused, headers};

/// Up to this many bytes are copied together and sent with one plain `write`: for a head and a small body that
/// costs the kernel a tenth less than `writev`. More than that is not worth copying.
const FLATTEN: usize = 8 * 1024;

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
    Plain(TcpStream),
    // In a box: it is several times as large as a plain one, and so would be every connection.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

// System calls are made without the C library, where each is a place at which a thread may be cancelled: two locked
// instructions for what nobody does.

/// Sends what there is room for. None if that is nothing: whoever wants to hear when there is asks the runtime. It is not
/// asked before, because there nearly always is.
fn send_at_once(tcp: &TcpStream, bytes: &[u8]) -> Option<io::Result<usize>> {
    match rustix::net::send(tcp, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => None,
        sent => Some(sent.map_err(Into::into)),
    }
}

/// Reads what there is; nothing is the end.
fn poll_receive(tcp: &TcpStream, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        let mut received = None;
        let tried = tcp.try_io(Interest::READABLE, || {
            let count = receive(tcp, buffer)?;
            received = Some(count);
            // Less than there was room for was all that there is: the runtime is to wait for more, which would otherwise take
            // another system call to find out.
            if count > 0 && buffer.remaining() > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match tried {
            _ if received.is_some() => return Poll::Ready(Ok(())),
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Poll::Ready(Err(error));
            }
            _ => {}
        }
    }
}

#[allow(unsafe_code)] // A buffer that is not initialised can't be read into otherwise.
fn receive(tcp: &TcpStream, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
    // SAFETY: nothing is written to it but by the system call.
    let free = unsafe { buffer.unfilled_mut() };
    let ((received, _), _) = rustix::net::recv(tcp, free, RecvFlags::DONTWAIT)?;
    let count = received.len();
    // SAFETY: the system call has written that much.
    unsafe { buffer.assume_init(count) };
    buffer.advance(count);
    Ok(count)
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
        ready!(match &mut self.stream {
            Stream::Plain(tcp) => poll_receive(tcp, cx, buffer),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buffer),
        })?;
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
        match tcp.poll_peek(cx, &mut ReadBuf::new(&mut [0])) {
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
        self.stream.tcp().poll_read_ready(cx)
    }

    /// Ends it in both directions. What is here already can still be read.
    pub(crate) fn break_off(&self) {
        // That it has ended already is as good.
        let _ = SockRef::from(self.stream.tcp()).shutdown(Shutdown::Both);
    }

    /// Whether nothing is there to be read: neither bytes nor the end.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        match &mut self.stream {
            // Without a system call, as long as the kernel has said nothing.
            Stream::Plain(tcp) => {
                matches!(tcp.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // What came may be meant for the TLS itself, such as a ticket for the next session.
            Stream::Tls(_) => {
                self.poll_fill(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut byte)).is_pending()
            }
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.traffic.reset.get() {
            // Should it fail, the stream ends as any other: nothing better can be done.
            let _ = self.stream.tcp().set_zero_linger();
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
        let written = match &self.stream {
            Stream::Plain(tcp) if !self.traffic.is_blocked.get() => send_at_once(tcp, bytes).map(Poll::Ready),
            _ => None,
        };
        let written = written.unwrap_or_else(|| either!(&mut self.stream, poll_write(cx, bytes)));
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
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > FLATTEN {
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
