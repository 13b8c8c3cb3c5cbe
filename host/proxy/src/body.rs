//! Bodies on their way through, in both directions: frame by frame, so that a slow receiver slows its sender.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use sluicegate_core::Outcome;

use crate::{attempt::Attempt, multiplexed::Stream, record::Record, upstream::Upstream};

/// How a client's body is getting on.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// Frames passed on.
    pub(crate) frames: Cell<u64>,
    /// Whether the client broke it off, or it was cut off.
    pub(crate) broke: Cell<bool>,
    /// How many more bytes may come, where that is limited.
    pub(crate) left: Cell<Option<u64>>,
    /// Whether more came.
    pub(crate) is_too_long: Cell<bool>,
}

impl Upload {
    /// Takes in a frame. Whether it may be passed on.
    fn passes(&self, frame: &Frame<Bytes>) -> bool {
        self.frames.set(self.frames.get() + 1);
        let (Some(left), Some(data)) = (self.left.get(), frame.data_ref()) else { return true };
        self.left.set(left.checked_sub(data.len() as u64));
        self.is_too_long.set(self.left.get().is_none());
        !self.is_too_long.get()
    }
}

/// Why a request's body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error(transparent)]
    Client(#[from] hyper::Error),
    #[error("the body is longer than its route allows")]
    TooLong,
}

/// For how long the rest of a body is taken from a client after nobody wants it any more. An endpoint may answer
/// before it has all of a body; a client that still sends would see its connection reset, and perhaps never the
/// answer (RFC 9112, section 9.6). As NGINX's `lingering_time`.
const LINGER: Duration = Duration::from_secs(30);

/// A body from a client.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Streaming { incoming: Lingering, upload: Rc<Upload> },
}

/// A client's body, which is read to its end even when it is dropped before that.
#[derive(Debug)]
pub(crate) struct Lingering(Option<Incoming>);

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(incoming) = self.0.take().filter(|incoming| !incoming.is_end_stream()) else {
            return;
        };
        // Not when the worker itself is going.
        if std::thread::panicking() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        tokio::task::spawn_local(tokio::time::timeout(LINGER, async move {
            let mut incoming = incoming;
            // To its end, or to where it breaks off.
            while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {}
        }));
    }
}

impl RequestBody {
    pub(crate) fn streaming(incoming: Incoming) -> Self {
        Self::Streaming { incoming: Lingering(Some(incoming)), upload: Rc::default() }
    }

    pub(crate) fn upload(&self) -> Option<Rc<Upload>> {
        match self {
            Self::Empty => None,
            Self::Streaming { upload, .. } => Some(Rc::clone(upload)),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Self::Streaming { incoming: lingering, upload } = &mut *self else { return Poll::Ready(None) };
        let Some(incoming) = &mut lingering.0 else { return Poll::Ready(None) };
        let frame = Pin::new(incoming).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if !upload.passes(frame) {
                    upload.broke.set(true);
                    // The rest is still taken from the client, for a while.
                    return Poll::Ready(Some(Err(UploadError::TooLong)));
                }
            }
            Poll::Ready(Some(Err(_))) => upload.broke.set(true),
            Poll::Ready(None) | Poll::Pending => {}
        }
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            lingering.0 = None;
        }
        frame.map_err(UploadError::from)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { incoming, .. } => incoming.0.as_ref().is_none_or(Incoming::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { incoming, .. } => incoming.0.as_ref().map_or_else(SizeHint::default, Incoming::size_hint),
        }
    }
}

/// A body for a client.
pub(crate) struct ResponseBody(Kind);

enum Kind {
    Text(Option<Bytes>),
    Relay(Relay),
}

/// What an endpoint's answer comes over.
pub(crate) enum Source {
    /// Nothing any more: all of it is here.
    None,
    /// An HTTP/1.1 connection, which whoever wants the answer has to drive.
    Driven(Box<Upstream>),
    /// An HTTP/1.1 connection that carries another protocol from here on.
    Switched(Box<Upstream>),
    /// A place on an HTTP/2 connection, held until the answer is through.
    Stream { _place: Stream },
}

/// An endpoint's body, with all that ends when it ends.
struct Relay {
    incoming: Incoming,
    /// What it comes over, until that has nothing more to do with it.
    source: Source,
    /// Whether the connection was driven since the last frame was taken.
    is_driven: bool,
    attempt: Option<Attempt>,
    record: Record,
}

impl ResponseBody {
    /// The proxy's own words. Without any, the head is the end.
    pub(crate) fn text(text: Bytes) -> Self {
        Self(Kind::Text((!text.is_empty()).then_some(text)))
    }

    /// A body that comes from `source`, which was just driven if it has to be.
    pub(crate) fn relay(incoming: Incoming, source: Source, attempt: Option<Attempt>, record: Record) -> Self {
        let mut relay = Relay { incoming, source, is_driven: true, attempt, record };
        if relay.incoming.is_end_stream() {
            relay.finish(Outcome::Answered);
        }
        Self(Kind::Relay(relay))
    }
}

impl Relay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.source {
            Source::Driven(_) => self.drive(cx),
            Source::Switched(_) | Source::Stream { .. } | Source::None => Pin::new(&mut self.incoming).poll_frame(cx),
        };
        match &frame {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                self.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.finish(Outcome::Answered);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "an endpoint's body broke off");
                self.record.broke_off();
                self.finish(Outcome::Broken);
            }
            Poll::Ready(None) => self.finish(Outcome::Answered),
        }
        frame
    }

    /// The next frame from an HTTP/1.1 connection.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Source::Driven(upstream) = &mut self.source {
            if !std::mem::take(&mut self.is_driven) && upstream.drive(cx).is_ready() {
                // Dropping it is what tells `incoming` whether this was the end of the body or its death.
                self.source = Source::None;
            } else {
                upstream.hush();
            }
        }
        // Only a driven connection can bring more, so there is nothing to be woken for here.
        let frame = Pin::new(&mut self.incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
        if frame.is_pending() {
            match &self.source {
                Source::Driven(upstream) => upstream.listen(),
                // It can't be: a body without a connection has all its frames. If it is, better no end than a hang.
                _ => cx.waker().wake_by_ref(),
            }
        }
        frame
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempt.take() {
            if let Source::Driven(upstream) = std::mem::replace(&mut self.source, Source::None) {
                attempt.release(upstream);
            }
            attempt.finish(outcome);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Relay(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Text(text) => text.is_none(),
            Kind::Relay(relay) => relay.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Relay(relay) => relay.incoming.size_hint(),
        }
    }
}
