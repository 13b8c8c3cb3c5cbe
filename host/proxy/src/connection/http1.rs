//! HTTP/1.1 from a client.

use std::{future::poll_fn, pin::Pin, rc::Rc, task::Poll};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::http1::{Builder, Connection, Parts},
    service::HttpService,
};

use super::{
    ClientConnection, Ending, Served,
    checked::Checked,
    walk::{begin, finish},
};
use crate::{body::ResponseBody, client_body::ClientBody, io::Io, rare::rare};

/// How many headers hyper reads by itself. To be told a number costs it an allocation per request.
const HEADERS: usize = 100;

/// Serves a client's requests, one after the other.
pub(super) async fn serve(client: Rc<ClientConnection>, io: Io) -> hyper::Result<()> {
    let mut checked = Checked::new(io, Rc::clone(&client.traffic), client.worker.limits.head);
    // In a box, which an idle connection gives back together with hyper's buffers: that is nearly all that it has.
    while let Some(idle) = Box::pin(serve_some(&client, checked)).await? {
        // So that nobody asks for it again meanwhile.
        client.is_to_rest.set(true);
        poll_fn(|cx| if client.is_ending(cx) { Poll::Ready(Ok(())) } else { idle.poll_readable(cx) }).await.ok();
        if client.ending.get() != Ending::None {
            break;
        }
        client.is_to_rest.set(false);
        checked = idle;
    }
    Ok(())
}

/// Serves requests until the connection is over, or can rest.
async fn serve_some(client: &Rc<ClientConnection>, checked: Checked) -> hyper::Result<Option<Checked>> {
    let service = {
        let client = Rc::clone(client);
        // Whatever need not wait is done before the future is made: hyper moves the future, and a small one is cheap.
        hyper::service::service_fn(move |request: Request<Incoming>| {
            finish(begin(&client, request.map(ClientBody::Http1), Rc::clone(&client.timer), None))
        })
    };
    // The worker's sweep watches for clients that are slow to send a head: cheaper than a timer per request.
    let mut builder = Builder::new();
    builder.header_read_timeout(None);
    // It need not read on to see that the client has left: `checked` does, for less.
    builder.half_close(checked.shows_its_end());
    if client.worker.limits.head.header_count > HEADERS {
        builder.max_headers(client.worker.limits.head.header_count);
    }
    let mut connection = builder.serve_connection(checked, service);
    let served = client.watch(Pin::new(&mut connection)).await;
    // Taken out whatever happened: it holds the client, which holds it.
    let tunnel = client.tunnel.take();
    let can_rest = served?;
    let Parts { io, read_buf, .. } = connection.into_parts();
    if can_rest {
        // There is nothing that hyper has not taken in; if there were, nobody could tell what it belongs to.
        return Ok(read_buf.is_empty().then_some(io));
    }
    if let (Some(tunnel), Some((io, held))) = (tunnel, io.into_tunnel()) {
        rare(tunnel.run(io, &[&read_buf, &held[..]].concat())).await;
    }
    Ok(None)
}

impl<S> Served for Connection<Checked, S>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Error = hyper::Error;

    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
