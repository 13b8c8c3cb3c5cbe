//! HTTP/2 without TLS: each connection has as many takers of requests as it may have streams.

use std::{cell::RefCell, rc::Rc};

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{Request, Uri};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use super::{
    Plan, Protocol,
    run::{End, Shared},
};

/// Where a response's pieces may come from before the client has said that it takes more.
const WINDOW: u32 = 1 << 20;

/// All connections of a plan.
pub(super) async fn connect(plan: &Plan) -> Result<Vec<SendRequest<Bytes>>> {
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(open(plan).await.with_context(|| format!("no HTTP/2 connection to {}", plan.target.address))?);
    }
    Ok(connections)
}

async fn open(plan: &Plan) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(plan.target.address).await?;
    stream.set_nodelay(true)?;
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(8 * WINDOW).enable_push(false);
    let (sender, connection) = builder.handshake(stream).await?;
    // Ends when the last sender is gone.
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// The takers of a connection.
pub(super) fn drive(shared: &Rc<Shared>, connection: SendRequest<Bytes>) -> Vec<JoinHandle<()>> {
    let Protocol::Http2 { streams } = shared.plan.protocol else { return Vec::new() };
    let connection = Rc::new(RefCell::new(Some(connection)));
    let taker = |_| tokio::task::spawn_local(take(Rc::clone(shared), Rc::clone(&connection)));
    (0..streams).map(taker).collect()
}

async fn take(shared: Rc<Shared>, connection: Rc<RefCell<Option<SendRequest<Bytes>>>>) {
    let target = &shared.plan.target;
    while let Some(job) = shared.next().await {
        if shared.patience(job).is_zero() {
            // It has waited too long for a stream, which is none of this connection's fault.
            shared.ended(job, &End::Error("timeout"));
            continue;
        }
        shared.sent(job);
        let path = target.path_at(job.due - shared.start, shared.plan.seed);
        let uri: Uri = format!("http://{}{path}", target.host).parse().unwrap_or_default();
        let exchange = async {
            let open_one = connection.borrow().clone();
            let sender = match open_one {
                Some(sender) => sender,
                None => open(&shared.plan).await.map_err(|_| "connect")?,
            };
            *connection.borrow_mut() = Some(sender.clone());
            exchange(sender, uri).await
        };
        let end = match timeout(shared.patience(job), exchange).await {
            Ok(Ok(status)) => End::Status(status),
            Ok(Err(kind)) => {
                // The next one makes a new connection; whoever is still on this one keeps it.
                if kind != "reset" {
                    *connection.borrow_mut() = None;
                }
                End::Error(kind)
            }
            Err(_) => End::Error("timeout"),
        };
        shared.ended(job, &end);
    }
}

async fn exchange(sender: SendRequest<Bytes>, uri: Uri) -> Result<u16, &'static str> {
    let mut sender = sender.ready().await.map_err(|_| "closed")?;
    let request = Request::get(uri).body(()).map_err(|_| "protocol")?;
    let (response, _) = sender.send_request(request, true).map_err(|_| "send")?;
    let response = response.await.map_err(kind)?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(kind)?;
        let _ = body.flow_control().release_capacity(piece.len());
    }
    Ok(status)
}

fn kind(error: h2::Error) -> &'static str {
    if error.is_reset() { "reset" } else { "closed" }
}
