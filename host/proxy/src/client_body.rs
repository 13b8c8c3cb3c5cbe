//! What a client sends behind a request's head, whichever version of HTTP it speaks.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use crate::{
    connection::Early,
    stream::{StreamBody, StreamIo},
    upload::UploadError,
};

/// A body as it comes from a client.
#[derive(Debug)]
pub(crate) enum ClientBody {
    Empty,
    Http1(Incoming),
    Http2(Box<StreamBody>),
    /// Behind a CONNECT there is no body, but a stream, once the client has its answer.
    Tunnel(oneshot::Receiver<StreamIo>),
}

impl ClientBody {
    /// A body over HTTP/2, of a request with these headers.
    pub(crate) fn http2(stream: RecvStream, headers: &HeaderMap, early: Rc<Early>) -> Self {
        if stream.is_end_stream() {
            return Self::Empty;
        }
        Self::Http2(Box::new(StreamBody::from_client(stream, headers, early)))
    }

    /// The next frame.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self {
            Self::Empty | Self::Tunnel(_) => Poll::Ready(None),
            Self::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => body.poll_frame(cx).map_err(Into::into),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Tunnel(_) => true,
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
