//! A body on its way out over a stream: the next piece is asked for only when the peer has room for it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};

/// A body, and the stream that it goes out on.
pub(crate) struct BodySender<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// Whether the peer takes more.
    has_room: bool,
    /// Whether the library has all of it, and no room yet for all that it has.
    is_waiting: bool,
}

/// How a body came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The library has all of it.
    Whole,
    /// The peer takes no more.
    Unwanted,
    /// It broke off. The peer does not know yet.
    Broken,
}

impl<B: Body<Data = Bytes> + Unpin> BodySender<B> {
    pub(crate) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, has_room: false, is_waiting: false }
    }

    /// Ready when the library has all of it, or nobody wants more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Sent> {
        loop {
            if !self.has_room && !ready!(self.poll_room(cx)) || self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Sent::Unwanted);
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let is_last = self.body.is_end_stream();
            let sent = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.is_empty() && !is_last => continue,
                Some(Ok(Ok(data))) => {
                    self.has_room = false;
                    if is_last {
                        self.stream.reserve_capacity(data.len());
                        self.is_waiting = self.stream.capacity() < data.len();
                    }
                    self.stream.send_data(data, is_last).map(|()| is_last)
                }
                Some(Ok(Err(frame))) => {
                    self.stream.send_trailers(frame.into_trailers().unwrap_or_default()).map(|()| true)
                }
                Some(Err(_)) => return Poll::Ready(Sent::Broken),
                None => self.stream.send_data(Bytes::new(), true).map(|()| true),
            };
            match sent {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Sent::Whole),
                Err(_) => return Poll::Ready(Sent::Unwanted),
            }
        }
    }

    /// Whether more is to come of a body whose length is known, and there is room for it.
    pub(crate) fn is_owed(&self) -> bool {
        self.has_room && self.body.size_hint().exact().is_some_and(|length| length > 0)
    }

    /// Whether it is the peer that is waited for.
    pub(crate) fn is_held_up(&self) -> bool {
        !self.has_room
    }

    pub(crate) fn id(&self) -> u32 {
        self.stream.stream_id().as_u32()
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// The stream, if something is left with the library for which there is no room yet.
    pub(crate) fn into_waiting(self) -> Option<SendStream<Bytes>> {
        self.is_waiting.then_some(self.stream)
    }

    /// Ready when the peer takes more, or will take none any more: whether it takes more. The next piece is asked for
    /// only then.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                _ => return Poll::Ready(false),
            }
        }
        self.has_room = true;
        Poll::Ready(true)
    }
}
