//! A client's connection: hyper's server side, and what the worker keeps of it.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::net::TcpStream;

use crate::{
    cluster::Cluster,
    exchange::exchange,
    failure::Failure,
    io::{Io, Traffic},
    record::Record,
    request::{Inbound, admit},
    respond::respond,
    timer::LazyTimer,
    worker::Worker,
};

/// A client's connection, as its requests and the worker see it.
pub(crate) struct ClientConnection {
    pub(crate) worker: Rc<Worker>,
    /// The client's end.
    pub(crate) address: SocketAddr,
    /// This end.
    pub(crate) local: SocketAddr,
    /// The client's address, ready to be forwarded.
    pub(crate) forwarded_for: HeaderValue,
    pub(crate) traffic: Rc<Traffic>,
    /// For the deadline of the request that is under way.
    pub(crate) timer: LazyTimer,
    /// Whether a request is under way.
    pub(crate) is_busy: Cell<bool>,
    /// If not, since when the next one is waited for.
    pub(crate) quiet_since: Cell<u64>,
    ending: Cell<Ending>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    None,
    Graceful,
    Now,
}

impl ClientConnection {
    fn new(worker: &Rc<Worker>, address: SocketAddr, local: SocketAddr, traffic: Rc<Traffic>) -> Self {
        let text = Bytes::from(address.ip().to_canonical().to_string());
        Self {
            address,
            local,
            // An address has no characters that a header can't have.
            forwarded_for: HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static("unknown")),
            traffic,
            timer: LazyTimer::new(worker.clock),
            is_busy: Cell::new(false),
            quiet_since: Cell::new(worker.clock.now()),
            ending: Cell::new(Ending::None),
            waker: RefCell::new(None),
            worker: Rc::clone(worker),
        }
    }

    /// Ends the connection when the request that is under way is done, or at once if there is none.
    pub(crate) fn close(&self) {
        self.end(Ending::Graceful);
    }

    /// Ends the connection whatever it is doing.
    pub(crate) fn cut(&self) {
        self.end(Ending::Now);
    }

    fn end(&self, ending: Ending) {
        self.ending.set(ending);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl fmt::Debug for ClientConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Serves a client until one of both ends the connection.
pub(crate) async fn run(worker: Rc<Worker>, stream: TcpStream, address: SocketAddr) {
    // Without it a response in two pieces could wait for the client's acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let (io, traffic) = Io::new(stream);
    let client = Rc::new(ClientConnection::new(&worker, address, local, traffic));
    let _registration = worker.register(&client);
    let service = {
        let client = Rc::clone(&client);
        // Whatever need not wait is done before the future is made: hyper moves the future, and a small one is cheap.
        service_fn(move |request| {
            let begun = begin(&client, request);
            async move {
                Ok::<_, Infallible>(match begun {
                    Ok((cluster, inbound, record)) => exchange(cluster, inbound, record).await,
                    Err((failure, record)) => respond(&failure, record),
                })
            }
        })
    };
    // The worker's sweep watches for clients that are slow to send a head: cheaper than a timer per request.
    let mut connection = pin!(http1::Builder::new().header_read_timeout(None).serve_connection(io, service));
    let mut is_told = false;
    let result = poll_fn(|cx| {
        match client.ending.get() {
            Ending::None => {
                client.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
            }
            Ending::Graceful if !is_told => {
                is_told = true;
                connection.as_mut().graceful_shutdown();
            }
            Ending::Graceful => {}
            Ending::Now => return Poll::Ready(Ok(())),
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(client = %address, %error, "a client's connection broke");
    }
}

type Begun = Result<(Rc<Cluster>, Box<Inbound>, Record), (Failure, Record)>;

/// The part of a request's walk that waits for nobody.
fn begin(client: &Rc<ClientConnection>, request: Request<Incoming>) -> Begun {
    let mut record = Record::begin(Rc::clone(client), client.worker.clock.now(), &request);
    let inbound = match admit(request, client) {
        Ok(inbound) => inbound,
        Err(failure) => return Err((failure, record)),
    };
    match client.worker.route(inbound.host(), inbound.head.parts.uri.path()) {
        Some(cluster) => {
            record.cluster = Some(Rc::clone(&cluster));
            Ok((cluster, inbound, record))
        }
        None => Err((Failure::NoRoute, record)),
    }
}
