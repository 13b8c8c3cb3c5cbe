//! HTTP/1.1: a connection carries one request at a time.
//!
//! No more than a written line and a read buffer, because whatever the generator spends it takes from what it measures.

use std::rc::Rc;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    Plan,
    response::{Progress, Reader},
    run::{End, Shared},
};

/// All connections of a plan.
pub(super) async fn connect(plan: &Plan) -> Result<Vec<TcpStream>> {
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(open(plan).await.with_context(|| format!("no connection to {}", plan.target.address))?);
    }
    Ok(connections)
}

async fn open(plan: &Plan) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(plan.target.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes requests until the run is over. A connection that has ended is made again for the next request.
pub(super) async fn drive(shared: Rc<Shared>, stream: TcpStream) {
    let target = &shared.plan.target;
    let mut stream = Some(stream);
    let mut buffer = vec![0; 64 << 10];
    while let Some(job) = shared.next().await {
        if shared.patience(job).is_zero() {
            // It has waited too long for a connection, which is none of this connection's fault.
            shared.ended(job, &End::Error("timeout"));
            continue;
        }
        shared.sent(job);
        let path = target.path_at(job.due - shared.start, shared.plan.seed);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", target.host);
        let exchange = async {
            let open = match stream.take() {
                Some(open) => open,
                None => open(&shared.plan).await.map_err(|_| "connect")?,
            };
            exchange(open, request.as_bytes(), &mut buffer).await
        };
        let end = match timeout(shared.patience(job), exchange).await {
            Ok(Ok((status, kept))) => {
                stream = kept;
                End::Status(status)
            }
            Ok(Err(kind)) => End::Error(kind),
            Err(_) => End::Error("timeout"),
        };
        shared.ended(job, &end);
    }
}

/// The status, and the connection if it can be used again.
async fn exchange(
    mut stream: TcpStream,
    request: &[u8],
    buffer: &mut [u8],
) -> Result<(u16, Option<TcpStream>), &'static str> {
    stream.write_all(request).await.map_err(|_| "send")?;
    let mut reader = Reader::default();
    loop {
        let count = stream.read(buffer).await.map_err(|_| "reset")?;
        let progress = match count {
            0 => reader.end().ok_or("closed without an answer")?,
            _ => reader.take(&buffer[..count])?,
        };
        if let Progress::Done { status, keeps } = progress {
            return Ok((status, keeps.then_some(stream)));
        }
    }
}
