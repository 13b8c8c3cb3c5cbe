//! An answer that began before all of its request was sent.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::Upstream;
use crate::upload::Rest;

/// A connection whose request goes out by itself: a client that takes none of the answer for a while may still be
/// sending.
pub(crate) struct Duplex {
    upstream: Rc<RefCell<Box<Upstream>>>,
    /// What is left of the request, as long as anybody wants the answer.
    _rest: Rest,
}

impl Duplex {
    pub(crate) fn new(upstream: Box<Upstream>) -> Self {
        let upstream = Rc::new(RefCell::new(upstream));
        let sending = Rc::clone(&upstream);
        let rest = async move { poll_fn(|cx| sending.borrow_mut().poll_rest(cx)).await };
        Self { upstream, _rest: Rest::spawn(rest) }
    }

    /// The next part of the answer's body.
    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.upstream.borrow_mut().poll_frame(cx)
    }

    /// Whether the answer's body has come to its end.
    pub(crate) fn is_answered(&self) -> bool {
        self.upstream.borrow().is_answered()
    }

    /// What is known of how much of the body is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.upstream.borrow().size_hint()
    }

    /// The connection, if all of the request has gone out.
    pub(crate) fn into_upstream(self) -> Option<Box<Upstream>> {
        Rc::into_inner(self.upstream).map(RefCell::into_inner)
    }
}
