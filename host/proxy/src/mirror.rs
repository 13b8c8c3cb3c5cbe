//! Copies of requests, for another cluster to try itself on. Nothing that becomes of a copy matters to the request.
//!
//! Only requests without a body are copied: a body would have to be held until both endpoints have taken it, and the
//! slower one would set the pace.

use std::{future::poll_fn, pin::Pin, rc::Rc, time::Duration};

use http::{HeaderName, HeaderValue};
use http_body::Body;
use tokio::time::timeout;

use crate::{
    body::RequestBody, cluster::Cluster, connection::ClientConnection, exchange::exchange, record::Record,
    request::Inbound,
};

/// Copies under way on a worker. A cluster that hangs fills these and no more; the memory that they take is some
/// hundred kilobytes.
const MAX_UNDER_WAY: usize = 128;

/// How long a copy may take, with its answer. Nobody waits for it, but it has a place that others could have.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Tells a copy from a request that somebody made. `Host` stays as it is, so that the same names are served.
const MIRRORED: HeaderName = HeaderName::from_static("x-sluicegate-mirror");

/// Sends a copy of a request to a cluster, if it can be copied.
pub(crate) fn mirror(cluster: &Rc<Cluster>, inbound: &Inbound, client: &ClientConnection) {
    let worker = &client.worker;
    if !matches!(inbound.body, RequestBody::Empty) || inbound.is_upgrade {
        return;
    }
    if Rc::strong_count(&worker.mirrors) > MAX_UNDER_WAY {
        worker.metrics.mirrors_dropped.increment(1);
        return;
    }
    let place = Rc::clone(&worker.mirrors);
    let (cluster, copy) = (Rc::clone(cluster), Box::new(copy_of(inbound)));
    // A connection of its own, as far as anybody can see: what becomes of it must not show on the client's.
    let record = Record::of_copy(Rc::new(client.stand_in()), &cluster);
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

fn copy_of(inbound: &Inbound) -> Inbound {
    let mut copy = inbound.copy();
    copy.head.parts.headers.insert(MIRRORED, HeaderValue::from_static("1"));
    copy
}
