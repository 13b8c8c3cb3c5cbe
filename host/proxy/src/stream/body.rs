//! A body as it comes over a stream.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, EXPECT},
};
use http_body::{Frame, SizeHint};
use sluicegate_wire::framing::is_forbidden_trailer;

use crate::connection::Early;

/// A body over HTTP/2.
#[derive(Debug)]
pub(crate) struct StreamBody {
    stream: RecvStream,
    /// How much is still to come, where the sender has said how much it is. The library holds it to that.
    left: Option<u64>,
    /// Where the client that waits to be asked for it is asked.
    unasked: Option<Rc<Early>>,
}

impl StreamBody {
    /// What comes behind a head with these headers.
    pub(crate) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let said = || headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let left = if stream.is_end_stream() { Some(0) } else { said() };
        Self { stream, left, unasked: None }
    }

    /// What a client sends behind a head with these headers, if it waits to be asked for it, when it is asked `early`.
    pub(crate) fn from_client(stream: RecvStream, headers: &HeaderMap, early: Rc<Early>) -> Self {
        let unasked = headers.contains_key(EXPECT).then_some(early);
        Self { unasked, ..Self::new(stream, headers) }
    }

    /// A stream that its sender takes back is no body that has come to its end, whatever the reason that is given.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
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

    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }

    /// What comes, for who takes it for something other than a body.
    pub(crate) fn into_stream(self) -> RecvStream {
        self.stream
    }
}
