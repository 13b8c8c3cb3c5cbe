//! A request's walk, from the connection that it comes over to its answer.

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::{net::TcpStream, time::timeout};

use super::{
    ClientConnection, Early,
    greeting::{Greeting, greet},
    http1, http2,
};
use crate::{
    body::ResponseBody,
    client_body::ClientBody,
    cluster::Cluster,
    exchange::exchange,
    failure::Failure,
    io::{Io, Stream},
    limits::Admission,
    listener::Listener,
    max_forwards,
    rare::rare,
    record::Record,
    request::{Inbound, admit},
    respond::{answer, respond},
    route::{Step, WorkerRoute},
    tcp::Tcp,
    timer::LazyTimer,
    worker::Worker,
};

/// Serves a client until one of both ends the connection.
pub(crate) async fn run(
    worker: Rc<Worker>,
    listener: Rc<Listener>,
    mut admission: Admission,
    stream: TcpStream,
    address: SocketAddr,
) {
    let _presence = worker.enter();
    // Without it a response in two pieces could wait for the client's acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let (stream, mut greeting) = if listener.is_plain() {
        (Stream::Plain(Tcp::new(stream)), Greeting::default())
    } else {
        match timeout(worker.limits.handshake_timeout, rare(greet(&listener, stream, address))).await {
            Ok(Some(greeted)) => greeted,
            Ok(None) | Err(_) => return worker.metrics.handshakes_failed.increment(1),
        }
    };
    let (io, traffic) = Io::new(stream);
    let address = greeting.origin.unwrap_or(address);
    admission.of_client(address.ip());
    greeting.is_excess = admission.is_excess;
    let client = Rc::new(ClientConnection::new(&worker, &listener, (address, local), &greeting, traffic));
    let _registration = worker.register(&client);
    let result: Result<(), Box<dyn Error>> = if greeting.is_http2 {
        rare(http2::serve(client, io)).await.map_err(Into::into)
    } else {
        http1::serve(client, io).await.map_err(Into::into)
    };
    if let Err(error) = result {
        tracing::debug!(client = %address, %error, "a client's connection broke");
    }
}

/// A request behind the part of its walk that waits for nobody.
pub(super) enum Begun {
    /// An endpoint of this cluster answers it.
    Forward(Rc<Cluster>, Box<Inbound>, Record),
    /// It has its answer.
    Answered(Box<Response<ResponseBody>>),
}

/// The part of a request's walk that waits for nobody.
pub(super) fn begin(
    client: &Rc<ClientConnection>,
    request: Request<ClientBody>,
    timer: Rc<LazyTimer>,
    early: Option<Rc<Early>>,
) -> Begun {
    let mut record = Record::begin(Rc::clone(client), client.worker.clock.now(), &request, timer, early);
    if client.is_excess {
        return refuse(&Failure::TooManyConnections, record);
    }
    let turn = client.begun.replace(client.begun.get() + 1);
    if let Some(refused) = client.traffic.refused.get().filter(|refused| refused.after == turn) {
        return refuse(&Failure::Malformed(refused.violation), record);
    }
    let mut inbound = match admit(request, client) {
        Ok(inbound) => inbound,
        Err(failure) => return refuse(&failure, record),
    };
    record.identify(&inbound.head);
    if let Some(response) = max_forwards::count(&mut inbound.head.parts) {
        return Begun::Answered(Box::new(answer(response, record)));
    }
    let Some(route) = client.worker.route(&inbound.head.parts) else {
        return refuse(&Failure::NoRoute, record);
    };
    record.route = Some(Rc::clone(&route));
    match route.take(&mut inbound, client, record.began) {
        Ok(Step::Forward(cluster)) => {
            record.cluster = Some(Rc::clone(&cluster));
            Begun::Forward(cluster, inbound, record)
        }
        Ok(Step::Answer(answer)) => answer_itself(Ok(answer), &route, &inbound, record),
        Err(failure) => answer_itself(Err(failure), &route, &inbound, record),
    }
}

/// What is wrong with the request is its answer.
#[cold]
fn refuse(failure: &Failure, record: Record) -> Begun {
    Begun::Answered(Box::new(respond(failure, record)))
}

/// The route has an answer of its own, or refuses the request.
#[inline(never)]
fn answer_itself(
    own: Result<Response<Bytes>, Failure>,
    route: &WorkerRoute,
    inbound: &Inbound,
    record: Record,
) -> Begun {
    let mut response = match own {
        // That would say that the WebSocket is open (RFC 8441, section 5).
        Ok(response) if inbound.websocket.is_some() && response.status().is_success() => {
            respond(&Failure::NotSupported("WebSocket on a route that answers by itself"), record)
        }
        Ok(response) => answer(response, record),
        Err(failure) => respond(&failure, record),
    };
    route.route.response_headers.apply(response.headers_mut());
    Begun::Answered(Box::new(response))
}

/// The rest of it.
pub(super) fn finish(begun: Begun) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    match begun {
        Begun::Forward(cluster, inbound, record) => {
            let changing = record.route.as_ref().filter(|route| !route.route.response_headers.is_empty()).cloned();
            Rest { exchange: Some(exchange(cluster, inbound, record)), changing, answered: None }
        }
        Begun::Answered(response) => Rest { exchange: None, changing: None, answered: Some(response) },
    }
}

pin_project! {
    /// An `async fn` would keep what it is given beside what becomes of it, and is moved whole with every request.
    struct Rest<F> {
        #[pin]
        exchange: Option<F>,
        // The route, if it changes the headers of responses.
        changing: Option<Rc<WorkerRoute>>,
        answered: Option<Box<Response<ResponseBody>>>,
    }
}

impl<F: Future<Output = Response<ResponseBody>>> Future for Rest<F> {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let rest = self.project();
        let Some(exchange) = rest.exchange.as_pin_mut() else {
            let response = rest.answered.take().expect("a future is not polled behind its end");
            return Poll::Ready(Ok(*response));
        };
        let Some(route) = rest.changing else { return exchange.poll(cx).map(Ok) };
        let mut response = ready!(exchange.poll(cx));
        route.route.response_headers.apply(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}
