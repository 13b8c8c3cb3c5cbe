//! A TCP connection as a worker speaks it: under load, what is written in a turn of its event loop goes out at the turn's
//! end.
//!
//! Such a turn serves dozens of requests and answers. If each went out as soon as it is written, the processor would go back
//! and forth between the proxy's code and the kernel's for every one of them, and find little of either in its first cache
//! when it comes back; and whoever it is for would be woken for that one alone. One after the other they cost 4 to 7% less.
//! A worker with little to do gains nothing by that, and sends at once.

#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    mem,
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    task::spawn_local,
};

/// Larger writes do not wait: for them copying is more than a system call.
pub(crate) const SMALL: usize = 8 * 1024;

/// With so many writes a turn is a busy one: what is written from there on waits for its end, and so does what is written in
/// the next.
const BUSY: usize = 24;

/// After so many reads and writes a turn takes long, and what was written first goes out.
const LONG: usize = 64;

/// So much may wait for a turn's end.
const FULL: usize = 64 * 1024;

thread_local! {
    static OUTBOX: RefCell<Outbox> = RefCell::default();
}

/// What waits for the end of a worker's turn.
#[derive(Default)]
struct Outbox {
    /// How many writes there have been since the turn began.
    written: usize,
    /// Whether the turn before was a busy one.
    was_busy: bool,
    /// The pieces, one behind the other.
    bytes: Vec<u8>,
    /// Whose each piece is, and where it ends.
    pieces: Vec<(Rc<Socket>, usize)>,
    /// How many reads and writes there have been since the first piece.
    steps: usize,
}

impl Outbox {
    /// Whether what is written now waits for the turn's end.
    fn is_busy(&self) -> bool {
        self.was_busy || self.written >= BUSY
    }

    /// After each read and write: sends what waits if nothing more should, as the turn takes long.
    fn step(&mut self) {
        if self.pieces.is_empty() {
            return;
        }
        self.steps += 1;
        if self.steps >= LONG || self.bytes.len() >= FULL {
            self.flush();
        }
    }

    /// Sends what waits.
    fn flush(&mut self) {
        let mut start = 0;
        for (socket, end) in self.pieces.drain(..) {
            socket.is_queued.set(false);
            socket.send(&self.bytes[start..end]);
            start = end;
        }
        self.bytes.clear();
        self.steps = 0;
    }
}

/// To be called at the end of a turn, which is when nothing is ready that has not been served.
pub(crate) fn end_turn() {
    OUTBOX.with_borrow_mut(|outbox| {
        outbox.flush();
        match mem::take(&mut outbox.written) {
            // Nothing is known of the next.
            0 => {}
            written => outbox.was_busy = written >= BUSY,
        }
    });
}

/// A connection. When it goes, what was written is sent as far as there is room for it; a shutdown waits for all of it.
#[derive(Debug)]
pub(crate) struct Tcp(Rc<Socket>);

/// What each request needs of it is in one line of the processor's cache.
#[derive(Debug)]
#[repr(C, align(64))]
struct Socket {
    stream: TcpStream,
    /// How many bytes have gone out.
    sent: Cell<u64>,
    state: Cell<State>,
    /// Whether something of it is in the outbox.
    is_queued: Cell<bool>,
    /// What there was no room for.
    rest: RefCell<Vec<u8>>,
    /// Who waits until that has gone out.
    waiting: RefCell<Option<Waker>>,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug)]
enum State {
    /// It goes out, or to the outbox.
    Open,
    /// It waits until the rest has gone out.
    Full,
    /// No more can go out, and why.
    Broken(Errno),
}

impl Tcp {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Rc::new(Socket {
            stream,
            sent: Cell::default(),
            state: Cell::new(State::Open),
            is_queued: Cell::default(),
            rest: RefCell::default(),
            waiting: RefCell::default(),
        }))
    }

    /// The stream itself, which is not to be written to.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.0.stream
    }

    /// How many bytes have gone out so far. What was written, but has not gone out, never will.
    pub(crate) fn stop_sending(&self) -> u64 {
        self.0.break_off(Errno::CANCELED);
        self.0.sent.get()
    }

    /// How many bytes have gone out so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.get()
    }

    /// Ends it in both directions. What was written is sent, and what is here already can still be read.
    pub(crate) fn break_off(&self) {
        self.0.flush();
        self.0.break_off(Errno::PIPE);
    }

    /// Whether nothing is there to be read: neither bytes nor the end. Without a system call, as long as the kernel has
    /// said nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        let tried = self.0.stream.try_read(&mut [0]);
        matches!(tried, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.0.flush();
        if matches!(self.0.state.get(), State::Full) {
            self.0.break_off(Errno::CANCELED);
        }
    }
}

// System calls are made without the C library, where each is a place at which a thread may be cancelled: two locked
// instructions for what nobody does.

impl Socket {
    /// Sends what of it is in the outbox, and with it all else that is.
    fn flush(&self) {
        if self.is_queued.get() {
            OUTBOX.with_borrow_mut(Outbox::flush);
        }
    }

    /// Sends a piece, as far as there is room for it now. A task sends the rest.
    fn send(self: &Rc<Self>, piece: &[u8]) {
        match self.state.get() {
            State::Open => {
                let count = self.send_now(piece);
                if count < piece.len() {
                    self.keep(&piece[count..]);
                }
            }
            // It was not the first piece of this turn.
            State::Full => self.rest.borrow_mut().extend_from_slice(piece),
            State::Broken(_) => {}
        }
    }

    /// Sends what there is room for: nearly always all of it, so the runtime is not asked before. Says how much need not be
    /// sent any more.
    fn send_now(&self, piece: &[u8]) -> usize {
        match rustix::net::send(&self.stream, piece, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => {
                self.sent.set(self.sent.get() + count as u64);
                count
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(errno) => {
                self.break_off(errno);
                piece.len()
            }
        }
    }

    /// Keeps what there was no room for.
    #[cold]
    fn keep(self: &Rc<Self>, rest: &[u8]) {
        self.rest.borrow_mut().extend_from_slice(rest);
        self.state.set(State::Full);
        if Handle::try_current().is_ok() {
            spawn_local(Rc::clone(self).send_rest());
        }
    }

    /// Sends what there was no room for when there is. The end of the connection makes it writable.
    async fn send_rest(self: Rc<Self>) {
        while matches!(self.state.get(), State::Full) {
            if self.stream.writable().await.is_err() {
                // The runtime ends.
                return self.break_off(Errno::CANCELED);
            }
            let mut rest = self.rest.borrow_mut();
            let _ = self.stream.try_io(Interest::WRITABLE, || {
                let count = self.send_now(&rest);
                rest.drain(..count);
                if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
            });
            if rest.is_empty() && matches!(self.state.get(), State::Full) {
                self.state.set(State::Open);
            }
        }
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Ends it in both directions: whoever reads hears of it, too.
    fn break_off(&self, errno: Errno) {
        self.state.set(State::Broken(errno));
        // That it has ended already is as good.
        let _ = SockRef::from(&self.stream).shutdown(Shutdown::Both);
    }

    /// Ready when nothing is left that there was no room for.
    fn poll_rest(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self.state.get() {
            State::Open => Poll::Ready(Ok(())),
            State::Full => {
                self.waiting.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Broken(errno) => Poll::Ready(Err(errno.into())),
        }
    }

    /// Takes a write, which waits for the end of a busy turn.
    fn write(self: &Rc<Self>, slices: &[IoSlice<'_>]) {
        OUTBOX.with_borrow_mut(|outbox| {
            outbox.written += 1;
            let waits = outbox.is_busy();
            if let [only] = slices
                && !waits
            {
                return self.send(only);
            }
            slices.iter().for_each(|slice| outbox.bytes.extend_from_slice(slice));
            if waits {
                self.is_queued.set(true);
                outbox.pieces.push((Rc::clone(self), outbox.bytes.len()));
                outbox.step();
            } else {
                self.send(&outbox.bytes);
                outbox.bytes.clear();
            }
        });
    }

    /// Writes without waiting for the end of the turn. What was written before goes out before.
    #[inline(never)]
    fn poll_large(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.flush();
        ready!(self.poll_rest(cx))?;
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.sent.set(self.sent.get() + *written.as_ref().unwrap_or(&0) as u64);
                    return Poll::Ready(written);
                }
            }
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

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tcp = &self.0.stream;
        loop {
            ready!(tcp.poll_read_ready(cx))?;
            let mut received = None;
            let tried = tcp.try_io(Interest::READABLE, || {
                let count = receive(tcp, buffer)?;
                received = Some(count);
                // Less than there was room for was all that there is: the runtime is to wait for more, which would otherwise
                // take another system call to find out.
                if count > 0 && buffer.remaining() > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            OUTBOX.with_borrow_mut(Outbox::step);
            match tried {
                _ if received.is_some() => return Poll::Ready(Ok(())),
                Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        let length = slices.iter().map(|slice| slice.len()).sum();
        if length > SMALL {
            return socket.poll_large(cx, slices);
        }
        ready!(socket.poll_rest(cx))?;
        socket.write(slices);
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written goes out without being asked to.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_rest(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.flush();
        ready!(self.0.poll_rest(cx))?;
        match SockRef::from(&self.0.stream).shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}
