//! Bodies on their way through, in both directions: frame by frame, so that a slow receiver slows its sender.

use std::{
    error::Error,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sluicegate_core::Outcome;

use crate::{
    attempt::Attempt,
    client_body::ClientBody,
    endpoint_stream::EndpointStream,
    kept::{Kept, Reader},
    mirror::Copying,
    multiplexed::Call,
    record::Record,
    upload::{Lingering, Upload, UploadError},
    upstream::{Duplex, Upstream},
    watch::Watch,
};

/// A body from a client.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Streaming {
        incoming: Lingering,
        upload: Rc<Upload>,
    },
    /// It can be sent again.
    Kept(Reader),
    /// All of it, if it was not sent yet.
    Whole(Bytes),
}

impl RequestBody {
    /// A client's body. With `is_unasked`, the client sends it only when it is asked to ("100 Continue").
    pub(crate) fn streaming(incoming: ClientBody, is_unasked: bool) -> Self {
        Self::Streaming { incoming: Lingering::new(incoming, is_unasked), upload: Rc::default() }
    }

    /// Keeps up to `limit` bytes of it while it is sent, so that it can be sent again. None when there is no body.
    pub(crate) fn keep(&mut self, limit: usize) -> Option<Rc<Kept>> {
        match mem::replace(self, Self::Empty) {
            Self::Streaming { incoming, upload } => {
                let kept = Kept::new(incoming, upload, limit);
                *self = Self::Kept(kept.reader());
                Some(kept)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// Lets it be copied as it passes. The copy comes back where there is nothing to wait for.
    pub(crate) fn copy_to(&mut self, copying: Copying) -> Option<Copying> {
        match self {
            Self::Streaming { incoming, .. } => {
                incoming.copy_to(copying);
                None
            }
            _ => Some(copying),
        }
    }

    pub(crate) fn upload(&self) -> Option<Rc<Upload>> {
        match self {
            Self::Empty | Self::Whole(_) => None,
            Self::Streaming { upload, .. } => Some(Rc::clone(upload)),
            Self::Kept(reader) => Some(Rc::clone(&reader.kept().upload)),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Streaming { incoming, upload } => incoming.poll_frame(cx, upload),
            Self::Kept(reader) => reader.poll_frame(cx),
            Self::Whole(data) if data.is_empty() => Poll::Ready(None),
            Self::Whole(data) => Poll::Ready(Some(Ok(Frame::data(mem::take(data))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { incoming, .. } => incoming.is_end_stream(),
            Self::Kept(reader) => reader.is_end_stream(),
            Self::Whole(data) => data.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { incoming, .. } => incoming.size_hint(),
            Self::Kept(reader) => reader.size_hint(),
            Self::Whole(data) => SizeHint::with_exact(data.len() as u64),
        }
    }
}

/// A body for a client.
pub(crate) struct ResponseBody(Kind);

enum Kind {
    Text(Option<Bytes>),
    /// An endpoint's that is here already, as most are. What else it takes to stream one would make every response larger,
    /// and a response is moved many times on its way through hyper.
    Whole(Option<Bytes>, Record),
    Streamed(Box<Relay>),
}

/// Why a body broke off.
pub(crate) type BodyError = Box<dyn Error + Send + Sync>;

type PolledFrame = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// Where the body of an endpoint's answer comes from.
pub(crate) enum Source {
    /// All of it is here already.
    Here(Option<Bytes>),
    /// An HTTP/1.1 connection.
    Http1(Box<Upstream>),
    /// The same while it still takes the request.
    Early(Duplex),
    /// An HTTP/1.1 connection that carries another protocol from here on.
    Switched(Box<Upstream>),
    /// The same over HTTP/2: a stream that carries it.
    Opened(Box<EndpointStream>),
    /// A stream of an HTTP/2 connection.
    Http2(Box<Call>),
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        match self {
            Self::Here(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Self::Http1(upstream) => upstream.poll_frame(cx).map_err(Into::into),
            Self::Early(duplex) => duplex.poll_frame(cx).map_err(Into::into),
            Self::Switched(_) | Self::Opened(_) => Poll::Ready(None),
            Self::Http2(call) => call.poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Here(data) => data.is_none(),
            Self::Http1(upstream) => upstream.is_answered(),
            Self::Early(duplex) => duplex.is_answered(),
            Self::Switched(_) | Self::Opened(_) => true,
            Self::Http2(call) => call.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Here(data) => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Self::Http1(upstream) => upstream.size_hint(),
            Self::Early(duplex) => duplex.size_hint(),
            Self::Switched(_) | Self::Opened(_) => SizeHint::with_exact(0),
            Self::Http2(call) => call.size_hint(),
        }
    }
}

/// An endpoint's body, with all that ends when it ends.
struct Relay {
    source: Source,
    /// Until its last part is taken.
    attempt: Option<Attempt>,
    record: Record,
    watch: Watch,
}

impl ResponseBody {
    /// The proxy's own words. Without any, the head is the end.
    pub(crate) fn text(text: Bytes) -> Self {
        Self(Kind::Text((!text.is_empty()).then_some(text)))
    }

    /// A body that comes from an endpoint.
    pub(crate) fn relay(mut source: Source, attempt: Attempt, record: Record) -> Self {
        if let Source::Http1(mut upstream) = source {
            // Most answers fit into one read: then the connection is free before the client has got anything.
            if let Some(whole) = upstream.take_whole() {
                attempt.finish_whole(upstream);
                return Self(Kind::Whole((!whole.is_empty()).then_some(whole), record));
            }
            source = match upstream.is_early() {
                true => Source::Early(Duplex::new(upstream)),
                false => Source::Http1(upstream),
            };
        }
        let mut relay = Box::new(Relay { source, attempt: Some(attempt), record, watch: Watch::default() });
        if relay.source.is_end_stream() {
            relay.finish(Outcome::Answered);
        }
        Self(Kind::Streamed(relay))
    }
}

impl Relay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        ready!(self.record.poll_wanted(cx));
        let frame = self.source.poll_frame(cx);
        match &frame {
            Poll::Pending => {
                if let Poll::Ready(failure) = self.watch.poll(cx, &self.record) {
                    self.record.cut_off(&failure);
                    self.source = Source::Here(None);
                    self.finish(failure.outcome());
                    return Poll::Ready(Some(Err(failure.into())));
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(failed) = frame.trailers_ref().and_then(|said| self.record.grpc_failed(said))
                    && let Some(attempt) = &mut self.attempt
                {
                    attempt.counts_as(failed);
                }
                self.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if let (Some(trailers), Some(attempt)) = (frame.trailers_ref(), &self.attempt) {
                    attempt.heard(trailers);
                }
                if frame.is_trailers() || self.source.is_end_stream() {
                    self.finish(Outcome::Answered);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "an endpoint's body broke off");
                self.record.broke_off();
                let is_clients = self.record.upload.as_ref().is_some_and(|upload| upload.broke.get());
                self.finish(if is_clients { Outcome::Cancelled } else { Outcome::Broken });
            }
            Poll::Ready(None) => self.finish(Outcome::Answered),
        }
        frame
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempt.take() {
            let upstream = match mem::replace(&mut self.source, Source::Here(None)) {
                Source::Http1(upstream) => Some(upstream),
                Source::Early(duplex) => duplex.into_upstream(),
                _ => None,
            };
            if let Some(upstream) = upstream {
                attempt.release(upstream);
            }
            attempt.finish(outcome);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        match &mut self.0 {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Whole(data, record) => {
                ready!(record.poll_wanted(cx));
                let data = data.take();
                record.bytes += data.as_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(data.map(|data| Ok(Frame::data(data))))
            }
            Kind::Streamed(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Text(text) | Kind::Whole(text, _) => text.is_none(),
            Kind::Streamed(relay) => relay.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) | Kind::Whole(text, _) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Streamed(relay) => relay.source.size_hint(),
        }
    }
}
