//! A client's body that is kept while it is sent, so that it can be sent again.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::upload::{Lingering, Upload, UploadError};

/// The body, with what was read of it so far. Each attempt has a [`Reader`].
#[derive(Debug)]
pub(crate) struct Kept {
    state: RefCell<State>,
    pub(crate) upload: Rc<Upload>,
}

#[derive(Debug)]
struct State {
    rest: Lingering,
    /// What was read, if nothing of it was dropped. It is copied: what is read in small pieces may hold much larger buffers.
    bytes: Option<BytesMut>,
    trailers: Option<HeaderMap>,
    /// How much is kept at most.
    limit: usize,
    /// How many readers there were. Only the last one gets anything.
    readers: u32,
}

/// The body from its beginning.
#[derive(Debug)]
pub(crate) struct Reader {
    kept: Rc<Kept>,
    number: u32,
    /// What it has had of what is kept.
    position: usize,
    had_trailers: bool,
}

impl Kept {
    pub(crate) fn new(rest: Lingering, upload: Rc<Upload>, limit: usize) -> Rc<Self> {
        let state = State { rest, bytes: Some(BytesMut::new()), trailers: None, limit, readers: 0 };
        Rc::new(Self { state: RefCell::new(state), upload })
    }

    /// Whether nothing of it was dropped, so that all of it can be sent once more.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.borrow().bytes.is_some() && !self.upload.broke.get()
    }

    /// Whether all of it is kept: what was read, and nothing is left to read.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_whole() && self.state.borrow().rest.is_end_stream()
    }

    /// The body for another attempt; earlier ones get no more of it.
    pub(crate) fn reader(self: &Rc<Self>) -> Reader {
        let mut state = self.state.borrow_mut();
        state.readers += 1;
        Reader { kept: Rc::clone(self), number: state.readers, position: 0, had_trailers: false }
    }
}

impl State {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        if let (Some(data), Some(bytes)) = (frame.data_ref(), &mut self.bytes) {
            if bytes.len() + data.len() > self.limit {
                self.bytes = None;
            } else {
                bytes.extend_from_slice(data);
            }
        }
    }
}

impl Reader {
    pub(crate) fn kept(&self) -> &Rc<Kept> {
        &self.kept
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let state = &mut *self.kept.state.borrow_mut();
        // Of a body that is all here, everybody gets all.
        if state.readers != self.number && (state.bytes.is_none() || !state.rest.is_end_stream()) {
            // Neither an end, which could be taken for the body's, nor more. Whoever waits here was given up.
            return Poll::Pending;
        }
        if let Some(bytes) = state.bytes.as_ref().filter(|bytes| bytes.len() > self.position) {
            let data = Bytes::copy_from_slice(&bytes[self.position..]);
            self.position = bytes.len();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = state.trailers.as_ref().filter(|_| !self.had_trailers) {
            self.had_trailers = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
        }
        let frame = state.rest.poll_frame(cx, &self.kept.upload);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            state.keep(frame);
            self.position += frame.data_ref().map_or(0, Bytes::len);
            self.had_trailers |= frame.is_trailers();
        }
        frame
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.kept.state.borrow();
        let has_more = self.left(&state) > 0 || (state.trailers.is_some() && !self.had_trailers);
        !has_more && state.rest.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let state = self.kept.state.borrow();
        let (rest, left) = (state.rest.size_hint(), self.left(&state) as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(left.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(left.saturating_add(upper));
        }
        hint
    }

    /// How much of what is kept is still to come.
    fn left(&self, state: &State) -> usize {
        state.bytes.as_ref().map_or(0, |bytes| bytes.len().saturating_sub(self.position))
    }
}
