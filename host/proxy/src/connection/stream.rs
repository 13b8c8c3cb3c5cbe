//! One request over HTTP/2 and its answer: a stream of a client's connection.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    mem,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, DATE},
    response::Parts,
};
use http_body::Body;
use tokio::{sync::oneshot, time::sleep};

use super::{
    ClientConnection,
    walk::{begin, finish},
};
use crate::{
    body::ResponseBody,
    client_body::ClientBody,
    date::date,
    headers,
    stream::{BodySender, Sent, StreamIo},
    timer::{Idle, LazyTimer, nanos},
};

/// How often it is looked whether what is left of an answer goes out.
const DRAIN_LOOK: Duration = Duration::from_secs(1);

/// What is said to a client before its answer, until it is said.
#[derive(Debug, Default)]
pub(crate) struct Early(RefCell<Vec<Response<()>>>);

impl Early {
    /// Takes in something to be said (RFC 9110, section 15.2).
    pub(crate) fn say(&self, status: StatusCode, headers: &HeaderMap) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        // What comes before the answer has no length (RFC 9110, section 8.6).
        let passes = |name| !headers::is_of_hop(name) && *name != CONTENT_LENGTH;
        for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
            response.headers_mut().append(name, value.clone());
        }
        self.0.borrow_mut().push(response);
    }

    fn send(&self, respond: &mut SendResponse<Bytes>) {
        // What is not heard does no harm.
        mem::take(&mut *self.0.borrow_mut()).into_iter().for_each(|said| drop(respond.send_informational(said)));
    }
}

/// Answers a request.
pub(super) async fn answer(
    client: Rc<ClientConnection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let early = Rc::<Early>::default();
    let (head, incoming) = request.into_parts();
    if head.method != Method::CONNECT && head.uri.path().is_empty() {
        // Without an authority, the library lets that pass (RFC 9113, section 8.3.1).
        return respond.send_reset(Reason::PROTOCOL_ERROR);
    }
    let (body, tunnel) = if head.method == Method::CONNECT {
        let (sender, receiver) = oneshot::channel();
        (ClientBody::Tunnel(receiver), Some((sender, incoming)))
    } else {
        (ClientBody::http2(incoming, &head.headers, Rc::clone(&early)), None)
    };
    let is_head = head.method == Method::HEAD;
    let timer = Rc::new(LazyTimer::new(client.worker.clock));
    let begun = begin(&client, Request::from_parts(head, body), timer, Some(Rc::clone(&early)));
    let mut work = pin!(finish(begun));
    let response = poll_fn(|cx| {
        let response = work.as_mut().poll(cx).map(Some);
        early.send(&mut respond);
        // A client that takes its request back ends the work for it.
        if response.is_pending() { respond.poll_reset(cx).map(|_| None) } else { response }
    });
    let Some(Ok(response)) = response.await else { return };
    let (mut head, body) = response.into_parts();
    complete(&mut head, &body, client.worker.clock.now());
    let is_open = tunnel.is_some() && head.status.is_success();
    // An answer of the proxy's own may have a text where none may be (RFC 9110, section 6.4.1).
    let has_none = is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let is_whole = (has_none || body.is_end_stream()) && !is_open;
    let stream = match respond.send_response(Response::from_parts(head, ()), is_whole) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "an answer could not be sent");
            return respond.send_reset(Reason::INTERNAL_ERROR);
        }
    };
    if let Some((sender, incoming)) = tunnel.filter(|_| is_open) {
        // If nobody wants it, it ends.
        drop(sender.send(StreamIo::new(incoming, stream)));
    } else if !is_whole {
        let mut passing = Passing::new(&client, body, stream);
        poll_fn(|cx| passing.poll(cx)).await;
        if let Some(stream) = passing.sender.into_waiting() {
            drain(&client, stream).await;
        }
    }
}

/// Looks after what is left of an answer with the library, for which its client has made no room yet.
async fn drain(client: &ClientConnection, mut stream: SendStream<Bytes>) {
    let (clock, timeout) = (client.worker.clock, client.worker.limits.write_timeout);
    let (mut sent, mut since) = (None, clock.now());
    while let Some(pieces) = client.pieces_sent(stream.stream_id().as_u32()) {
        if poll_fn(|cx| Poll::Ready(stream.poll_reset(cx).is_ready())).await {
            return;
        }
        let now = clock.now();
        if sent.replace(pieces) != Some(pieces) {
            since = now;
        } else if now.saturating_sub(since) > nanos(timeout) {
            return stream.send_reset(Reason::CANCEL);
        }
        sleep(DRAIN_LOOK.min(timeout)).await;
    }
}

/// What every answer over HTTP/2 has, and what none may have (RFC 9113, section 8.2.2).
fn complete(head: &mut Parts, body: &ResponseBody, now: u64) {
    headers::clean_of_connection(&mut head.headers);
    if !head.headers.contains_key(DATE) {
        head.headers.insert(DATE, date(now));
    }
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH);
    } else if !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
    {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// A response's body on its way to the client.
struct Passing<'a> {
    client: &'a ClientConnection,
    sender: BodySender<ResponseBody>,
    /// For how long the client has made no room.
    held_up: Option<Idle>,
    timer: LazyTimer,
}

impl<'a> Passing<'a> {
    fn new(client: &'a ClientConnection, body: ResponseBody, stream: SendStream<Bytes>) -> Self {
        let timer = LazyTimer::new(client.worker.clock);
        Self { client, sender: BodySender::new(body, stream), held_up: None, timer }
    }

    /// Ready when the library has all of it, or nobody wants more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.sender.poll(cx) {
            Poll::Ready(Sent::Broken) => self.sender.reset(Reason::INTERNAL_ERROR),
            Poll::Ready(Sent::Whole | Sent::Unwanted) => {}
            Poll::Pending if self.sender.is_held_up() => {
                ready!(self.poll_held_up(cx));
                self.sender.reset(Reason::CANCEL);
            }
            Poll::Pending => {
                self.held_up = None;
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Ready when the client has made no room for too long, whatever it takes of other answers.
    fn poll_held_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (clock, timeout) = (self.client.worker.clock, self.client.worker.limits.write_timeout);
        // The library may have a piece that goes out byte by byte.
        let sent = self.client.pieces_sent(self.sender.id()).unwrap_or_default().into();
        self.held_up.get_or_insert_with(|| Idle::new(timeout, clock.now(), sent)).poll(cx, &self.timer, sent)
    }
}
