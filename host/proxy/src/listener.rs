//! Listening sockets, one per worker and address.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use rustls::ServerConfig;
use sluicegate_wire::{forwarded::Cidr, path::PathRules};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{connection, forwarding::Forwarding, worker::Worker};

/// Where clients connect to, and how they are spoken to.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// The address. Port 0 leaves the choice to the system.
    pub address: SocketAddr,
    /// Without TLS: whether clients may begin with HTTP/2. With TLS, its `alpn_protocols` decide.
    pub http2: bool,
    /// Who may say, and has to say, whom a connection comes from (the PROXY protocol, version 1 or 2).
    pub proxy_protocol: Vec<Cidr>,
    /// What is believed of those who connect, and what the endpoints are told.
    pub forwarding: Forwarding,
    /// How paths are brought into one form; they stay as they come when there are none.
    pub path_rules: Option<PathRules>,
    /// Certificates and the like; none for plain TCP.
    pub tls: Option<Arc<ServerConfig>>,
}

impl ListenerSettings {
    /// Plain HTTP/1.1 at this address.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            http2: false,
            proxy_protocol: Vec::new(),
            forwarding: Forwarding::default(),
            path_rules: Some(PathRules::default()),
            tls: None,
        }
    }
}

/// One worker's side of a listener.
pub(crate) struct Listener {
    pub(crate) settings: ListenerSettings,
    tls: RefCell<Option<TlsAcceptor>>,
}

impl Listener {
    pub(crate) fn new(settings: ListenerSettings) -> Self {
        Self { tls: RefCell::new(settings.tls.clone().map(TlsAcceptor::from)), settings }
    }

    /// Whether clients speak HTTP/1.1 from the first byte on.
    pub(crate) fn is_plain(&self) -> bool {
        self.settings.tls.is_none() && !self.settings.http2 && self.settings.proxy_protocol.is_empty()
    }

    /// Whether a connection from there begins with whom it really comes from.
    pub(crate) fn is_announced(&self, peer: SocketAddr) -> bool {
        self.settings.proxy_protocol.iter().any(|network| network.contains(peer.ip()))
    }

    /// What new connections are secured with.
    pub(crate) fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.borrow().clone()
    }

    /// Secures new connections with something else, such as renewed certificates.
    pub(crate) fn set_tls(&self, config: Arc<ServerConfig>) {
        *self.tls.borrow_mut() = Some(config.into());
    }
}

/// How many connections the kernel holds for a worker that is busy. The kernel's own limit may be lower.
const BACKLOG: i32 = 4096;

/// How long to wait after a failure to accept, doubled from the first to the last: out of file descriptors, most
/// likely, and some will be free again soon. The connections wait in the backlog meanwhile.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// A socket of its own at an address that the other workers share. Nobody can connect before it listens.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners, as in most servers' configurations.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Begins to listen.
pub(crate) fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections until the worker drains; then those that are waiting already, and no more.
pub(crate) async fn run(worker: Rc<Worker>, listener: Rc<Listener>, socket: TcpListener) {
    let mut drained = pin!(worker.drains.notified());
    drained.as_mut().enable();
    let mut back_off = BACK_OFF.0;
    while !worker.is_draining.get() {
        let accepted = poll_fn(|cx| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => drained.as_mut().poll(cx).map(|()| None),
        })
        .await;
        match accepted {
            Some(Ok((stream, address))) => {
                back_off = BACK_OFF.0;
                serve(&worker, &listener, stream, address);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF.1);
            }
            None => break,
        }
    }
    // Whatever the kernel has completed is a client that was promised an answer.
    poll_fn(|cx| {
        while let Poll::Ready(Ok((stream, address))) = socket.poll_accept(cx) {
            serve(&worker, &listener, stream, address);
        }
        Poll::Ready(())
    })
    .await;
}

fn serve(worker: &Rc<Worker>, listener: &Rc<Listener>, stream: TcpStream, address: SocketAddr) {
    match worker.admissions.enter() {
        Some(admission) => {
            let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
            tokio::task::spawn_local(connection::run(worker, listener, admission, stream, address));
        }
        None => worker.metrics.refused.increment(1),
    }
}
