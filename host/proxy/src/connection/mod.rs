//! A client's connection: what comes before its first request, the libraries' server sides, and what the worker keeps
//! of it.

mod announced;
mod checked;
mod greeting;
mod guarded;
mod heads;
mod http1;
mod http2;
mod stream;
mod walk;

use std::{
    cell::{Cell, OnceCell, RefCell},
    fmt,
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::HeaderValue;
use sluicegate_policy::OwnLines;
use sluicegate_wire::{framing::Phase, http2 as http2_frames, path::PathRules};

use crate::{forwarding::own_lines, io::Traffic, listener::Listener, timer::LazyTimer, tunnel::Tunnel, worker::Worker};

use greeting::Greeting;

pub(crate) use checked::Refused;
pub(crate) use heads::{HeadBytes, Held};
pub(crate) use stream::Early;
pub(crate) use walk::run;

/// After how long without a request a connection gives its memory back. Clients that use theirs are back sooner.
const REST_AFTER: Duration = Duration::from_secs(2);

/// For how long a client that sends no more is taken to wait for its answer: tools that end their side with the request do,
/// for one that comes soon, and the others have left.
const ENDED: Duration = Duration::from_millis(500);

/// A client's connection, as its requests and the worker see it.
pub(crate) struct ClientConnection {
    pub(crate) worker: Rc<Worker>,
    /// Where it came in.
    pub(crate) listener: Rc<Listener>,
    /// The client's end.
    pub(crate) address: SocketAddr,
    /// This end.
    pub(crate) local: SocketAddr,
    /// Whether what it says of others is believed.
    pub(crate) is_trusted: bool,
    /// What the endpoints are told of the client, where it is not told in `Forwarded`.
    pub(crate) own_lines: Arc<OwnLines>,
    /// How the client came here: `http` or `https`.
    pub(crate) scheme: HeaderValue,
    /// How its paths are brought into one form, if they are.
    pub(crate) path_rules: Option<PathRules>,
    /// Who the client is, by its certificate.
    pub(crate) identity: Option<HeaderValue>,
    pub(crate) traffic: Rc<Traffic>,
    /// For the deadline of the request that is under way, where there is one at a time.
    timer: Rc<LazyTimer>,
    /// How many requests have come, where they come one after the other.
    begun: Cell<u64>,
    /// The heads of the requests that wait for their answers, where there can be many, together.
    pub(crate) heads: Rc<HeadBytes>,
    /// If none is, since when the next one is waited for.
    pub(crate) quiet_since: Cell<u64>,
    /// Its frames, where there are any (HTTP/2).
    frames: OnceCell<Rc<RefCell<http2_frames::Connection>>>,
    /// Since when its client has been seen to be slow, if it is.
    slow_since: Cell<Option<u64>>,
    /// Whether it is to rest as soon as it can.
    is_to_rest: Cell<bool>,
    /// Whether its requests are turned away, because it is one connection too many.
    pub(crate) is_excess: bool,
    /// What the connection becomes after a switch of protocols.
    pub(crate) tunnel: RefCell<Option<Box<Tunnel>>>,
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
    fn new(
        worker: &Rc<Worker>,
        listener: &Rc<Listener>,
        (address, local): (SocketAddr, SocketAddr),
        greeting: &Greeting,
        traffic: Rc<Traffic>,
    ) -> Self {
        let ip = address.ip().to_canonical();
        let scheme = HeaderValue::from_static(if greeting.is_tls { "https" } else { "http" });
        Self {
            address,
            local,
            is_trusted: listener.settings.forwarding.trusts(ip),
            own_lines: own_lines(ip, &scheme, greeting.identity.as_ref()),
            scheme,
            path_rules: listener.settings.path_rules,
            identity: greeting.identity.clone(),
            traffic,
            timer: Rc::new(LazyTimer::new(worker.clock)),
            begun: Cell::new(0),
            heads: Rc::default(),
            quiet_since: Cell::new(worker.clock.now()),
            frames: OnceCell::new(),
            slow_since: Cell::new(None),
            is_to_rest: Cell::new(false),
            is_excess: greeting.is_excess,
            tunnel: RefCell::default(),
            ending: Cell::new(Ending::None),
            waker: RefCell::new(None),
            worker: Rc::clone(worker),
            listener: Rc::clone(listener),
        }
    }

    /// What stands in for this connection, with nothing behind it, for a copy of a request.
    pub(crate) fn stand_in(&self) -> Self {
        Self {
            worker: Rc::clone(&self.worker),
            listener: Rc::clone(&self.listener),
            own_lines: Arc::clone(&self.own_lines),
            scheme: self.scheme.clone(),
            identity: self.identity.clone(),
            traffic: Rc::default(),
            timer: Rc::new(LazyTimer::new(self.worker.clock)),
            begun: Cell::new(0),
            heads: Rc::default(),
            quiet_since: Cell::new(0),
            frames: OnceCell::new(),
            slow_since: Cell::new(None),
            is_to_rest: Cell::new(false),
            tunnel: RefCell::default(),
            ending: Cell::new(Ending::None),
            waker: RefCell::new(None),
            ..*self
        }
    }

    /// Both ends, as an endpoint is told of them: `client` is who a request comes from. Of one behind other proxies no
    /// port is known.
    pub(crate) fn ends(&self, client: IpAddr) -> (SocketAddr, SocketAddr) {
        let is_peer = client == self.address.ip().to_canonical();
        (if is_peer { self.address } else { SocketAddr::new(client, 0) }, self.local)
    }

    /// Whether it speaks HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.frames.get().is_some()
    }

    /// Ends the connection when the request that is under way is done, or at once if there is none.
    pub(crate) fn close(&self) {
        self.end(Ending::Graceful);
    }

    /// Ends the connection whatever it is doing.
    pub(crate) fn cut(&self) {
        self.end(Ending::Now);
    }

    /// Whether its client has kept this side waiting for too long. To be asked once a second.
    pub(crate) fn is_slow(&self, now: u64) -> bool {
        let limits = &self.worker.limits;
        if let Some(frames) = self.frames.get() {
            frames.borrow_mut().second_passed();
        }
        let sent_some = self.traffic.sent_some.take();
        let is_begun = self.traffic.active.get() == 0 && self.traffic.phase.get() == Some(Phase::Head);
        let timeout = if is_begun {
            limits.head_timeout
        } else if self.traffic.is_blocked.get() && !sent_some {
            limits.write_timeout
        } else if self.traffic.active.get() > 0 && self.traffic.has_ended.get() && !sent_some {
            ENDED
        } else {
            self.slow_since.set(None);
            // The last response may still be on its way to a client that reads it slowly.
            if sent_some {
                self.quiet_since.set(now);
            }
            return self.traffic.active.get() == 0 && is_past(self.quiet_since.get(), limits.idle_timeout, now);
        };
        let since = self.slow_since.get().unwrap_or(now);
        self.slow_since.set(Some(since));
        is_past(since, timeout, now)
    }

    /// How many pieces of an answer have gone out on a stream (HTTP/2). None when there is no more to go.
    fn pieces_sent(&self, stream: u32) -> Option<u32> {
        self.frames.get()?.borrow().pieces_sent(stream)
    }

    /// Lets a connection without requests give its memory back. To be asked every now and then.
    pub(crate) fn rest(&self, now: u64) {
        if self.is_quiet() && is_past(self.quiet_since.get(), REST_AFTER, now) && !self.is_to_rest.replace(true) {
            self.wake();
        }
    }

    /// Whether it is between two HTTP/1.1 requests, with nothing on its way.
    fn is_quiet(&self) -> bool {
        self.traffic.active.get() == 0 && self.traffic.phase.get() == Some(Phase::Idle) && self.traffic.is_flushed.get()
    }

    /// Runs a connection until it ends, or somebody wants it to, or it can rest: says whether it is that.
    async fn watch<S: Served>(&self, mut connection: Pin<&mut S>) -> Result<bool, S::Error> {
        let mut is_told = false;
        poll_fn(|cx| {
            match self.ending.get() {
                Ending::None => {
                    self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
                }
                Ending::Graceful if !is_told => {
                    is_told = true;
                    connection.as_mut().wind_down();
                }
                Ending::Graceful => {}
                Ending::Now => return Poll::Ready(Ok(false)),
            }
            match connection.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(ended.map(|()| false)),
                Poll::Pending if self.is_to_rest.take() && self.is_quiet() => Poll::Ready(Ok(true)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Whether the connection has to end now; if not, `cx` hears of it when it has to.
    pub(crate) fn is_cut(&self, cx: &Context<'_>) -> bool {
        self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        self.ending.get() == Ending::Now
    }

    /// Whether the connection has to end; if not, `cx` hears of it when it has to.
    fn is_ending(&self, cx: &Context<'_>) -> bool {
        self.is_cut(cx) || self.ending.get() != Ending::None
    }

    fn end(&self, ending: Ending) {
        self.ending.set(ending);
        self.wake();
    }

    fn wake(&self) {
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

fn is_past(since: u64, timeout: Duration, now: u64) -> bool {
    u128::from(now.saturating_sub(since)) > timeout.as_nanos()
}

/// A library's side of a connection, whatever the version.
trait Served: Future<Output = Result<(), Self::Error>> {
    type Error;

    /// Lets requests that are under way finish, and takes no more.
    fn wind_down(self: Pin<&mut Self>);
}
