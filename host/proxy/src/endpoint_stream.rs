//! The endpoint's side of a tunnel: a connection, or one stream of one.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{io::Io, multiplexed::Place, stream::StreamIo};

/// What an endpoint is spoken to over after a switch of protocols.
pub(crate) enum EndpointStream {
    Connection(Io),
    /// A stream, and its place on its connection (RFC 8441).
    Stream {
        io: Box<StreamIo>,
        _place: Place,
    },
}

/// Whether anything moves over it, for who looks on while somebody else has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moved(Rc<Cell<bool>>);

impl Moved {
    /// Whether anything has moved since this was last asked.
    pub(crate) fn take(&self) -> bool {
        self.0.take()
    }
}

/// A stream that says when something moves.
pub(crate) struct Watched {
    stream: EndpointStream,
    pub(crate) moved: Moved,
}

impl Watched {
    pub(crate) fn new(stream: EndpointStream) -> Self {
        Self { stream, moved: Moved::default() }
    }
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($watched:expr, $method:ident($($argument:expr),*)) => {
        match &mut $watched.stream {
            EndpointStream::Connection(stream) => Pin::new(stream).$method($($argument),*),
            EndpointStream::Stream { io, .. } => Pin::new(&mut **io).$method($($argument),*),
        }
    };
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(either!(self, poll_read(cx, buffer)))?;
        self.moved.0.set(true);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(either!(self, poll_write(cx, bytes)))?;
        self.moved.0.set(true);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }
}
