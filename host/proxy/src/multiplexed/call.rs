//! One request and its answer: a stream of a connection, driven by whoever uses it.

use std::{
    future::{Future, pending, poll_fn},
    mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream, client::ResponseFuture};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, EXPECT},
    request::Parts,
};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::Place;
use crate::{
    body::RequestBody,
    stream::{BodySender, Sent, StreamBody, StreamIo},
    upload::Rest,
    upstream::MAX_INFORMATIONAL,
};

/// A request on its way to an endpoint, and then its answer. Dropped before its end, it is taken back.
pub(crate) struct Call {
    /// Until the answer's head is there.
    answer: Option<ResponseFuture>,
    incoming: Option<StreamBody>,
    outgoing: Outgoing,
    /// How often the endpoint has said something before its answer.
    informed: u32,
    place: Place,
}

enum Outgoing {
    /// All of it is with the library, or unwanted.
    Done,
    /// What drives it waits for the answer.
    Body(Upload),
    /// The answer has come first: a client that takes none of it for a while may still be sending.
    OnItsOwn { _rest: Rest },
    /// The library has all of it, and no room yet for all that it has.
    Waiting { _last: Last },
    /// There is no body, but what will be said over the stream once it is open.
    Open(SendStream<Bytes>),
}

struct Upload {
    body: BodySender<RequestBody>,
    /// Until the endpoint asks for the body, or this is over, it waits.
    hold: Option<Pin<Box<Sleep>>>,
}

/// What is left of a body with the library. An endpoint that answers without taking it does not hold it for ever.
struct Last(SendStream<Bytes>);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The stream ended, or its connection.
    Closed(h2::Error),
    /// What came is no answer.
    Bad(&'static str),
}

impl Call {
    /// Sends a request. Its body waits for "100 Continue", but not longer than `hold`. With `is_open`, the stream is to stay
    /// open for another protocol. A connection that takes no requests any more gives the body back.
    pub(crate) fn begin(
        place: Place,
        head: Parts,
        body: RequestBody,
        hold: Option<Duration>,
        is_open: bool,
    ) -> Result<Self, (h2::Error, RequestBody)> {
        let has_body = !body.is_end_stream() && !is_open;
        // A clone, because one that has sent a request which waits for its turn takes no other.
        let mut sender = place.connection.sender.clone();
        let mut request = Request::from_parts(head, ());
        let hold = hold.filter(|_| has_body);
        if hold.is_some() {
            request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
        if !is_open
            && let Some(length) = body.size_hint().exact()
            && (length > 0 || [Method::POST, Method::PUT, Method::PATCH].contains(request.method()))
        {
            // As RFC 9110, section 8.6, has it: not every server behind the endpoint knows HTTP/2's own end.
            request.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        let (answer, stream) = match sender.send_request(request, !has_body && !is_open) {
            Ok(sent) => sent,
            Err(error) => {
                // It may go on for long with the requests that it has: after a farewell, or at the last stream's number.
                if let Poll::Ready(Err(_)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
                    place.connection.is_suspect.set(true);
                }
                return Err((error, body));
            }
        };
        let outgoing = match (has_body, is_open) {
            (_, true) => Outgoing::Open(stream),
            (true, false) => {
                let hold = hold.map(|hold| Box::pin(sleep(hold)));
                Outgoing::Body(Upload { body: BodySender::new(body, stream), hold })
            }
            (false, false) => Outgoing::Done,
        };
        Ok(Self { answer: Some(answer), incoming: None, outgoing, informed: 0, place })
    }

    /// Sends on, and waits for the answer's head. `inform` gets what the endpoint says before that, but for "100 Continue".
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        mut inform: impl FnMut(StatusCode, &HeaderMap),
    ) -> Poll<Result<Response<()>, Broken>> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        while let Poll::Ready(Some(said)) = answer.poll_informational(cx) {
            let said = said.map_err(Broken::Closed)?;
            self.informed += 1;
            match said.status() {
                _ if self.informed > MAX_INFORMATIONAL => {
                    return Poll::Ready(Err(Broken::Bad("too much before the answer")));
                }
                StatusCode::CONTINUE => {
                    if let Outgoing::Body(upload) = &mut self.outgoing {
                        upload.hold = None;
                    }
                }
                StatusCode::SWITCHING_PROTOCOLS => {
                    return Poll::Ready(Err(Broken::Bad("a switch of protocols that HTTP/2 does not have")));
                }
                status => inform(status, said.headers()),
            }
        }
        if let Poll::Ready(answer) = Pin::new(answer).poll(cx) {
            let (head, stream) = answer.map_err(Broken::Closed)?.into_parts();
            self.answer = None;
            self.incoming = Some(StreamBody::new(stream, &head.headers));
            self.place.answered();
            self.let_go();
            return Poll::Ready(Ok(Response::from_parts(head, ())));
        }
        if let Outgoing::Body(upload) = &mut self.outgoing
            && let Poll::Ready(sent) = upload.poll(cx)
        {
            self.outgoing = match mem::replace(&mut self.outgoing, Outgoing::Done) {
                Outgoing::Body(upload) => {
                    upload.into_last().map_or(Outgoing::Done, |_last| Outgoing::Waiting { _last })
                }
                other => other,
            };
            if sent == Sent::Broken {
                return Poll::Ready(Err(Broken::Closed(Reason::CANCEL.into())));
            }
        }
        Poll::Pending
    }

    /// Whether it is for the client to send more, of a body whose length is known. Then the connection's silence says nothing
    /// of it.
    pub(crate) fn waits_for_client(&mut self) -> bool {
        let waits = matches!(&self.outgoing, Outgoing::Body(upload) if upload.hold.is_none() && upload.body.is_owed());
        self.place.is_answered |= waits;
        waits
    }

    /// Lets what is left of the request go out by itself.
    fn let_go(&mut self) {
        self.outgoing = match mem::replace(&mut self.outgoing, Outgoing::Done) {
            Outgoing::Body(mut upload) => {
                // If it breaks off, so does the answer, and says why.
                let rest = async move {
                    let _ = poll_fn(|cx| upload.poll(cx)).await;
                    if let Some(_last) = upload.into_last() {
                        pending::<()>().await;
                    }
                };
                Outgoing::OnItsOwn { _rest: Rest::spawn(rest) }
            }
            other => other,
        };
    }

    /// The next part of the answer's body.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match &mut self.incoming {
            Some(incoming) => incoming.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(StreamBody::is_end_stream)
    }

    /// What is known of how much of the body is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), StreamBody::size_hint)
    }

    /// The stream itself, which was to stay open, and its place.
    pub(crate) fn into_stream(self) -> Option<(StreamIo, Place)> {
        match (self.incoming, self.outgoing) {
            (Some(incoming), Outgoing::Open(outgoing)) => {
                Some((StreamIo::new(incoming.into_stream(), outgoing), self.place))
            }
            _ => None,
        }
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        // If it has gone out meanwhile, that is nothing.
        self.0.send_reset(Reason::CANCEL);
    }
}

impl Upload {
    /// When all of it is with the library: what that may still have of it.
    fn into_last(self) -> Option<Last> {
        self.body.into_waiting().map(Last)
    }

    /// Sends what there is. If it breaks off, the request is taken back.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Sent> {
        if let Some(hold) = &mut self.hold {
            ready!(hold.as_mut().poll(cx));
            self.hold = None;
        }
        let sent = ready!(self.body.poll(cx));
        if sent == Sent::Broken {
            self.body.reset(Reason::CANCEL);
        }
        Poll::Ready(sent)
    }
}
