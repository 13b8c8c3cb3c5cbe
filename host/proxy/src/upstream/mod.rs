//! An HTTP/1.1 connection to an endpoint, driven by whoever uses it.
//!
//! Not hyper's: its client hands requests and bodies over in channels, between a task for the connection and one for
//! the request, and a request that it has begun to send is gone. Here the request that uses a connection polls it: no
//! task to wake, no channel, a request's head stays with whoever may have to send it again, and a client that leaves
//! takes its upstream connection along by dropping it. It took a quarter off what a request costs.
//!
//! An idle connection is polled by nobody; that its endpoint closed it shows when the next request asks.

mod duplex;
mod head;
mod known;
mod names;
mod receiving;
mod sending;

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Frame, SizeHint};
use sluicegate_core::Resource;
use sluicegate_policy::RequestParts;
use tokio_util::io::poll_read_buf;

use crate::{
    body::RequestBody,
    cluster::ClusterSettings,
    connect::{UpstreamTls, connect},
    endpoint::WorkerEndpoint,
    failure::Failure,
    io::Io,
    load::{Opened, place},
};

use receiving::{BadAnswer, Receiving};
use sending::Sending;

pub(crate) use duplex::Duplex;
pub(crate) use known::Known;
pub(crate) use receiving::MAX_HEAD;

/// How much is read at a time while nothing is known of what comes: most answers fit.
const PIECE: usize = 8 * 1024;

/// How much is read at a time of a large body. More is not in the socket's buffer most of the time.
const LARGE_PIECE: usize = 64 * 1024;

/// How often an endpoint may say something before its answer. They are held for a client that reads slowly, and nobody
/// has more than a few to say.
pub(crate) const MAX_INFORMATIONAL: u32 = 32;

/// A connection to an endpoint: in use by one request, or idle.
pub(crate) struct Upstream {
    io: Io,
    /// What came and was not taken yet.
    input: BytesMut,
    /// How much of it has been looked at for the end of a head.
    seen: usize,
    /// The endpoint's.
    known: Rc<RefCell<Known>>,
    sending: Sending,
    receiving: Receiving,
    method: Method,
    /// Whether the answer's head is still to come.
    awaits_head: bool,
    /// Whether the connection is good for another request after this answer.
    keeps_alive: bool,
    /// How much had gone out when the request was begun.
    sent_before: u64,
    /// How often the endpoint has said something before its answer.
    informed: u32,
    /// Whether anything came since the request was begun.
    has_answered: bool,
    /// Whether this side has ended it, so that its end says nothing.
    is_broken_off: bool,
    /// Whether the endpoint was told whom it is for, so that it can be for nobody else.
    is_announced: bool,
    /// How it is secured.
    pub(crate) tls: Option<UpstreamTls>,
    /// Whether it carried a request before.
    pub(crate) reused: bool,
    /// When it became idle.
    pub(crate) idle_since: u64,
    _open: Opened,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended.
    Closed(io::Error),
    /// What came is no answer.
    Bad(BadAnswer),
}

impl Upstream {
    /// A new connection. `ends` are those of which the endpoint is told, where it is; none for one of the proxy's own.
    pub(crate) async fn open(
        endpoint: &WorkerEndpoint,
        settings: &ClusterSettings,
        ends: Option<(SocketAddr, SocketAddr)>,
    ) -> Result<Box<Self>, Failure> {
        let waiting = place(Arc::clone(&endpoint.load), Resource::Pending, settings)?;
        let (stream, open) = connect(endpoint, settings, ends).await?;
        drop(waiting);
        let (io, _) = Io::new(stream);
        Ok(Box::new(Self {
            io,
            input: BytesMut::new(),
            seen: 0,
            known: Rc::clone(&endpoint.known),
            sending: Sending::default(),
            receiving: Receiving::None,
            method: Method::GET,
            awaits_head: false,
            sent_before: 0,
            informed: 0,
            keeps_alive: true,
            has_answered: false,
            is_broken_off: false,
            is_announced: settings.proxy_protocol.is_some(),
            tls: settings.tls.clone(),
            reused: false,
            idle_since: 0,
            _open: open,
        }))
    }

    /// Whether nothing has come on an idle connection: neither its end nor an answer that nobody asked for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.io.is_quiet()
    }

    /// Takes a request, which goes out when the answer is polled for. With `hold`, its body waits so long, or until the
    /// endpoint wants it.
    pub(crate) fn begin(&mut self, head: &RequestParts, body: RequestBody, hold: Option<Duration>) {
        self.sending.begin(head, body, hold);
        self.sent_before = self.io.sent();
        self.method.clone_from(&head.method);
        (self.awaits_head, self.has_answered) = (true, false);
        self.informed = 0;
    }

    /// Whether any of the request has gone out, and whether anything has come back. What has not gone out never will.
    pub(crate) fn give_up(&self) -> (bool, bool) {
        (self.io.stop_sending() > self.sent_before, self.has_answered)
    }

    /// Takes the body back that was given to `begin`, if it has not come to its end.
    pub(crate) fn take_body(&mut self) -> Option<RequestBody> {
        self.sending.abandon()
    }

    /// Sends the request, and waits for the answer's head, which it puts into `answer`. `inform` gets what the endpoint says
    /// before that, but for "100 Continue".
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        answer: &mut Response<()>,
        mut inform: impl FnMut(StatusCode, &HeaderMap),
    ) -> Poll<Result<(), Broken>> {
        loop {
            match self.take_head(answer, &mut inform) {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(bad) => return Poll::Ready(Err(Broken::Bad(bad))),
            }
            if let Poll::Ready(Err(error)) = self.sending.poll(&mut self.io, cx) {
                return Poll::Ready(Err(Broken::Closed(error)));
            }
            match ready!(self.poll_read(cx, PIECE)) {
                Ok(true) => {}
                Ok(false) => {
                    let error = self.sending.take_error().unwrap_or(io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(Broken::Closed(error)));
                }
                Err(error) => return Poll::Ready(Err(Broken::Closed(error))),
            }
        }
    }

    /// Whether the answer's head is here.
    fn take_head(
        &mut self,
        answer: &mut Response<()>,
        inform: &mut impl FnMut(StatusCode, &HeaderMap),
    ) -> Result<bool, BadAnswer> {
        let mut known = self.known.borrow_mut();
        while let Some(head) = receiving::take_head(&mut self.input, &mut self.seen, &mut known)? {
            let is_interim = head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
            self.informed += u32::from(is_interim);
            if self.informed > MAX_INFORMATIONAL {
                return Err(BadAnswer::TooManyInformational);
            }
            if head.status == StatusCode::CONTINUE {
                self.sending.go_on();
            } else if is_interim {
                inform(head.status, &head.headers);
            } else {
                self.awaits_head = false;
                (self.receiving, self.keeps_alive) = receiving::follows(&head, &self.method)?;
                (*answer.status_mut(), *answer.headers_mut()) = (head.status, head.headers);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the answer has come before all of the request has gone out.
    pub(crate) fn is_early(&self) -> bool {
        !self.sending.is_over()
    }

    /// Whether it is for the client to send more.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.sending.waits_for_client()
    }

    /// Sends what is left of the request. If that breaks off, so does the connection: what is here of the answer already may
    /// still be all of it, and nobody waits for the rest.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sent = ready!(self.sending.poll(&mut self.io, cx));
        if sent.is_err() {
            self.is_broken_off = true;
            self.io.break_off();
        }
        Poll::Ready(())
    }

    /// The next part of the answer's body.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(frame) = self.receiving.next(&mut self.input)? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.receiving.is_done() {
                return Poll::Ready(None);
            }
            let piece = match self.receiving {
                Receiving::Sized(left) if left > PIECE as u64 => LARGE_PIECE,
                _ => PIECE,
            };
            if !ready!(self.poll_read(cx, piece))? {
                let ended = matches!(self.receiving, Receiving::UntilClose) && !self.is_broken_off;
                self.receiving = Receiving::None;
                return Poll::Ready(if ended { None } else { Some(Err(io::ErrorKind::UnexpectedEof.into())) });
            }
        }
    }

    /// What is known of how much of the body is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.receiving.size_hint()
    }

    /// All of the body, if it is here and has no trailers.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        match self.receiving {
            Receiving::None => Some(Bytes::new()),
            Receiving::Sized(left) if left <= self.input.len() as u64 => {
                self.receiving = Receiving::None;
                Some(self.input.split_to(left as usize).freeze())
            }
            _ => None,
        }
    }

    /// Whether the answer's body has come to its end.
    pub(crate) fn is_answered(&self) -> bool {
        !self.awaits_head && self.receiving.is_done()
    }

    /// Whether the last request and its answer are through, so that the connection can carry another request.
    pub(crate) fn is_idle(&self) -> bool {
        let is_sent = self.sending.is_done() && self.sending.is_whole();
        self.is_answered() && self.keeps_alive && !self.is_announced && is_sent && self.input.is_empty()
    }

    /// Lets go of memory that only large answers need. To be called when it is idle.
    pub(crate) fn shrink(&mut self) {
        if self.input.capacity() > 2 * PIECE {
            self.input = BytesMut::new();
        }
        self.sending.shrink();
    }

    /// The stream itself, and what came over it already, after a switch of protocols.
    pub(crate) fn into_tunnel(self) -> (Io, Bytes) {
        (self.io, self.input.freeze())
    }

    /// Reads what there is. False at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, piece: usize) -> Poll<io::Result<bool>> {
        if self.input.capacity() - self.input.len() < piece / 4 {
            self.input.reserve(piece);
        }
        let count = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input))?;
        self.has_answered |= count > 0;
        Poll::Ready(Ok(count > 0))
    }
}
