//! A request's walk, from the connection that it comes over to its answer.

use std::{convert::Infallible, error::Error, net::SocketAddr, rc::Rc};

use http::{Request, Response};
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
    record::Record,
    request::{Inbound, admit},
    respond::{answer, respond},
    route::Step,
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
        (Stream::Plain(stream), Greeting::default())
    } else {
        // In a box, because it would make the future of every connection larger, for as long as that lives.
        match timeout(worker.limits.handshake_timeout, Box::pin(greet(&listener, stream, address))).await {
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
        http2::serve(client, io).await.map_err(Into::into)
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
        return Begun::Answered(Box::new(respond(&Failure::TooManyConnections, record)));
    }
    let turn = client.begun.replace(client.begun.get() + 1);
    if let Some(refused) = client.traffic.refused.get().filter(|refused| refused.after == turn) {
        return Begun::Answered(Box::new(respond(&Failure::Malformed(refused.violation), record)));
    }
    let mut inbound = match admit(request, client) {
        Ok(inbound) => inbound,
        Err(failure) => return Begun::Answered(Box::new(respond(&failure, record))),
    };
    record.identify(&inbound.head);
    if let Some(response) = max_forwards::count(&mut inbound.head.parts) {
        return Begun::Answered(Box::new(answer(response, record)));
    }
    let Some(route) = client.worker.route(&inbound.head.parts) else {
        return Begun::Answered(Box::new(respond(&Failure::NoRoute, record)));
    };
    record.route = Some(Rc::clone(&route));
    let mut response = match route.take(&mut inbound, client, record.began) {
        Ok(Step::Forward(cluster)) => {
            record.cluster = Some(Rc::clone(&cluster));
            return Begun::Forward(cluster, inbound, record);
        }
        // That would say that the WebSocket is open (RFC 8441, section 5).
        Ok(Step::Answer(response)) if inbound.websocket.is_some() && response.status().is_success() => {
            respond(&Failure::NotSupported("WebSocket on a route that answers by itself"), record)
        }
        Ok(Step::Answer(response)) => answer(response, record),
        Err(failure) => respond(&failure, record),
    };
    route.route.response_headers.apply(response.headers_mut());
    Begun::Answered(Box::new(response))
}

/// The rest of it.
pub(super) async fn finish(begun: Begun) -> Result<Response<ResponseBody>, Infallible> {
    match begun {
        Begun::Forward(cluster, inbound, record) => {
            let changing = record.route.as_ref().filter(|route| !route.route.response_headers.is_empty()).cloned();
            let mut response = exchange(cluster, inbound, record).await;
            if let Some(route) = changing {
                route.route.response_headers.apply(response.headers_mut());
            }
            Ok(response)
        }
        Begun::Answered(response) => Ok(*response),
    }
}
