//! Copies of requests, for another cluster to try itself on. Nothing that becomes of a copy matters to the request.
//!
//! A body is copied while it passes, and the copy sent when all of it is here: so the slower of two endpoints does not
//! set the pace. What is longer than the route allows is not copied, and what breaks off is not either.

use std::{future::poll_fn, pin::Pin, rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use http_body::Body;
use tokio::time::timeout;

use crate::{
    body::RequestBody, cluster::Cluster, connection::ClientConnection, exchange::exchange, record::Record,
    request::Inbound,
};

/// Copies under way on a worker, those whose bodies are still to come included. A cluster that hangs fills these and no
/// more; the memory that they take is some hundred kilobytes, and their bodies.
const MAX_UNDER_WAY: usize = 128;

/// How long a copy may take, with its answer. Nobody waits for it, but it has a place that others could have.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Tells a copy from a request that somebody made. `Host` stays as it is, so that the same names are served.
const MIRRORED: HeaderName = HeaderName::from_static("x-sluicegate-mirror");

/// A copy of a request.
#[derive(Debug)]
pub(crate) struct Copying {
    cluster: Rc<Cluster>,
    copy: Box<Inbound>,
    /// A connection of its own, as far as anybody can see: what becomes of the copy must not show on the client's.
    client: Rc<ClientConnection>,
    /// What came of the body. It is copied: what is read in small pieces may hold much larger buffers.
    bytes: BytesMut,
    limit: usize,
    place: Rc<()>,
}

/// Sends a copy of a request to a cluster, when all of its body has passed; with a body of up to `limit` bytes.
#[cold]
#[inline(never)]
pub(crate) fn mirror(cluster: &Rc<Cluster>, limit: usize, inbound: &mut Inbound, client: &ClientConnection) {
    let worker = &client.worker;
    if inbound.is_upgrade {
        return;
    }
    if Rc::strong_count(&worker.mirrors) > MAX_UNDER_WAY || inbound.body.size_hint().lower() > limit as u64 {
        worker.metrics.mirrors_dropped.increment(1);
        return;
    }
    let mut copy = Box::new(inbound.copy());
    copy.head.parts.headers.all_mut().insert(MIRRORED, HeaderValue::from_static("1"));
    let client = Rc::new(client.stand_in());
    let place = Rc::clone(&worker.mirrors);
    let copying = Copying { cluster: Rc::clone(cluster), copy, client, bytes: BytesMut::new(), limit, place };
    if let Some(copying) = inbound.body.copy_to(copying) {
        copying.send();
    }
}

impl Copying {
    /// Takes a piece of the body. False if it gets too long: then there is no copy.
    pub(crate) fn take(&mut self, data: &Bytes) -> bool {
        let fits = self.bytes.len() + data.len() <= self.limit;
        if fits {
            self.bytes.extend_from_slice(data);
        } else {
            self.client.worker.metrics.mirrors_dropped.increment(1);
        }
        fits
    }

    /// All of the body is here. Trailers are not copied.
    pub(crate) fn send(self) {
        let Self { cluster, mut copy, client, bytes, place, .. } = self;
        copy.give(RequestBody::Whole(bytes.freeze()));
        let record = Record::of_copy(client, &cluster);
        tokio::task::spawn_local(async move {
            let _place = place;
            let whole = async {
                let mut body = exchange(cluster, copy, record).await.into_body();
                while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
            };
            // If it takes too long, it ends here.
            let _ = timeout(TIMEOUT, whole).await;
        });
    }
}
