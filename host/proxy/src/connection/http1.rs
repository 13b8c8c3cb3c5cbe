//! HTTP/1.1 from a client.

use std::{pin::Pin, rc::Rc};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::http1::{Builder, Connection, Parts},
    service::HttpService,
};

use super::{ClientConnection, Served, begin, checked::Checked, finish};
use crate::{body::ResponseBody, io::Io};

/// How many headers hyper reads by itself. To be told a number costs it an allocation per request.
const HEADERS: usize = 100;

/// Serves a client's requests, one after the other.
pub(super) async fn serve(client: Rc<ClientConnection>, io: Io) -> hyper::Result<()> {
    let service = {
        let client = Rc::clone(&client);
        // Whatever need not wait is done before the future is made: hyper moves the future, and a small one is cheap.
        hyper::service::service_fn(move |request: Request<Incoming>| {
            finish(begin(&client, request, Rc::clone(&client.timer)))
        })
    };
    let checked = Checked::new(io, Rc::clone(&client.traffic), client.worker.limits.head);
    // The worker's sweep watches for clients that are slow to send a head: cheaper than a timer per request.
    let mut builder = Builder::new();
    builder.header_read_timeout(None);
    if client.worker.limits.head.header_count > HEADERS {
        builder.max_headers(client.worker.limits.head.header_count);
    }
    let mut connection = builder.serve_connection(checked, service);
    let served = client.watch(Pin::new(&mut connection)).await;
    // Taken out whatever happened: it holds the client, which holds it.
    let tunnel = client.tunnel.take();
    served?;
    if let (Some(tunnel), Parts { io, read_buf, .. }) = (tunnel, connection.into_parts())
        && let Some((io, held)) = io.into_tunnel()
    {
        tunnel.run(io, &[&read_buf, &held[..]].concat()).await;
    }
    Ok(())
}

impl<S> Served for Connection<Checked, S>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
