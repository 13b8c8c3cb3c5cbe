//! An HTTP/1.1 connection to an endpoint, driven by whoever uses it.
//!
//! hyper's connection is a future that is usually spawned as a task of its own. Here the request that uses it polls
//! it instead: no task to wake, no hop between two tasks per request, and a client that leaves takes its upstream
//! connection along by dropping it. An idle connection is polled by nobody; that its endpoint closed it shows when
//! the next request polls it, before anything is written, and hyper hands that request back.
//!
//! hyper's channels between a connection and its user wake the other side whenever they move something. Both sides
//! are the same task here, which would be woken in vain several times per request. So the user's side is polled
//! with a waker that does nothing, and the connection's side with a [`Gate`].

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use hyper::client::conn::http1::{Builder, Connection, Parts, SendRequest};
use sluicegate_core::Resource;

use crate::{
    body::RequestBody,
    cluster::ClusterSettings,
    connect::connect,
    endpoint::WorkerEndpoint,
    failure::Failure,
    io::{Io, Traffic},
    load::{Opened, place},
};

/// A connection to an endpoint: in use by one request, or idle.
pub(crate) struct Upstream {
    /// Where to put the next request.
    pub(crate) sender: SendRequest<RequestBody>,
    connection: Connection<Io, RequestBody>,
    /// What hyper polls the connection with: the gate.
    waker: Waker,
    gate: Arc<Gate>,
    /// What was received.
    pub(crate) traffic: Rc<Traffic>,
    /// Whether it carried a request before.
    pub(crate) reused: bool,
    /// When it became idle.
    pub(crate) idle_since: u64,
    _open: Opened,
}

impl Upstream {
    /// A new connection.
    pub(crate) async fn open(endpoint: &WorkerEndpoint, settings: &ClusterSettings) -> Result<Box<Self>, Failure> {
        let waiting = place(Arc::clone(&endpoint.load), Resource::Pending, settings)?;
        let (stream, open) = connect(endpoint, settings).await?;
        drop(waiting);
        let (io, traffic) = Io::new(stream);
        let (sender, connection) = Builder::new().handshake(io).await.map_err(|source| Failure::UpstreamClosed {
            endpoint: Arc::clone(&endpoint.endpoint.name),
            source,
            sent: false,
        })?;
        let gate = Arc::new(Gate::default());
        Ok(Box::new(Self {
            sender,
            connection,
            waker: Arc::clone(&gate).into(),
            gate,
            traffic,
            reused: false,
            idle_since: 0,
            _open: open,
        }))
    }

    /// Moves the connection on. Ready when it is over: then it must be dropped, which is also what lets hyper
    /// return a request that it has not begun to send.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.gate.aim(cx.waker());
        self.gate.open();
        Pin::new(&mut self.connection).poll(&mut Context::from_waker(&self.waker))
    }

    /// The stream itself, and what came over it already, after a switch of protocols.
    pub(crate) fn into_tunnel(self) -> (Io, Bytes) {
        let Parts { io, read_buf, .. } = self.connection.into_parts();
        (io, read_buf)
    }

    /// Whether the last request and its answer are through, so that the connection can carry another request.
    pub(crate) fn is_idle(&self) -> bool {
        // hyper wants a request only when it has read and written the last of the one before.
        self.sender.is_ready()
    }

    /// Lets the connection wake nobody until it is driven again.
    pub(crate) fn hush(&self) {
        self.gate.shut();
    }

    /// Lets the connection wake its user again.
    pub(crate) fn listen(&self) {
        self.gate.open();
    }

    /// Lets go of the last user's task.
    pub(crate) fn forget_user(&self) {
        self.gate.aim(Waker::noop());
    }
}

/// A waker that can be shut, and whose target changes with the connection's user.
struct Gate {
    is_open: AtomicBool,
    target: Mutex<Waker>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { is_open: AtomicBool::new(false), target: Mutex::new(Waker::noop().clone()) }
    }
}

impl Gate {
    fn aim(&self, waker: &Waker) {
        // Wakers must be `Sync`; in fact only this worker ever comes here, so nobody waits.
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        if !target.will_wake(waker) {
            target.clone_from(waker);
        }
    }

    fn open(&self) {
        self.is_open.store(true, Relaxed);
    }

    fn shut(&self) {
        self.is_open.store(false, Relaxed);
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_open.load(Relaxed) {
            self.target.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}
