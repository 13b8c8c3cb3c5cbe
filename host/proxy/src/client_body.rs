//! What a client sends behind a request's head, whichever version of HTTP it speaks.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, EXPECT},
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use sluicegate_wire::framing::is_forbidden_trailer;
use tokio::sync::oneshot;

use crate::{client_stream::ClientStream, connection::Early, upload::UploadError};

/// A body as it comes from a client.
#[derive(Debug)]
pub(crate) enum ClientBody {
    Empty,
    Http1(Incoming),
    Http2(Box<StreamBody>),
    /// Behind a CONNECT there is no body, but a stream, once the client has its answer.
    Tunnel(oneshot::Receiver<ClientStream>),
}

/// A body over HTTP/2.
#[derive(Debug)]
pub(crate) struct StreamBody {
    stream: RecvStream,
    /// How much is still to come, where the client has said how much it is. The library holds the client to it.
    left: Option<u64>,
    /// Where the client that waits to be asked for it is asked.
    unasked: Option<Rc<Early>>,
}

impl ClientBody {
    /// A body over HTTP/2, of a request with these headers.
    pub(crate) fn http2(stream: RecvStream, headers: &HeaderMap, early: Rc<Early>) -> Self {
        if stream.is_end_stream() {
            return Self::Empty;
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let unasked = headers.contains_key(EXPECT).then_some(early);
        Self::Http2(Box::new(StreamBody { stream, left: length, unasked }))
    }

    /// The next frame.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self {
            Self::Empty | Self::Tunnel(_) => Poll::Ready(None),
            Self::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => body.poll_frame(cx),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Tunnel(_) => true,
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(body) => body.stream.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(body) => body.left.map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl StreamBody {
    /// A stream that its client takes back is no body that has come to its end, whatever the reason that is given.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(early) = self.unasked.take() {
            early.say(StatusCode::CONTINUE, &HeaderMap::new());
        }
        while let Some(data) = ready!(self.stream.poll_data(cx)).transpose()? {
            // Whoever asked for it takes it. That there is so much of it was just said.
            let _ = self.stream.flow_control().release_capacity(data.len());
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        let Some(mut trailers) = ready!(self.stream.poll_trailers(cx))? else { return Poll::Ready(None) };
        let forbidden: Vec<_> = trailers.keys().filter(|name| is_forbidden_trailer(name.as_ref())).cloned().collect();
        forbidden.iter().for_each(|name| drop(trailers.remove(name)));
        Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))))
    }
}
