//! Where a connection really comes from, as the proxy in front of this one says (the PROXY protocol).

use std::{io, net::SocketAddr};

use sluicegate_wire::proxy_protocol::{self, MAX_BYTES, Malformed, Origin, Parsed};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::greeting::Patience;

/// Why a connection from a trusted proxy is not served. It may not go on without: the specification forbids to guess.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAnnounced {
    #[error("it does not begin with a PROXY header, which this listener wants from there")]
    Missing,
    #[error("its PROXY header is malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes the header that a connection begins with. The client's address; none when the proxy speaks for itself.
pub(super) async fn origin(stream: &mut TcpStream) -> Result<Option<SocketAddr>, NotAnnounced> {
    let mut start = vec![0; 256];
    let mut patience = Patience::default();
    loop {
        let count = stream.peek(&mut start).await?;
        let header = match proxy_protocol::parse(&start[..count])? {
            Parsed::Header(header) => header,
            Parsed::Other => return Err(NotAnnounced::Missing),
            Parsed::More if count == 0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Parsed::More => {
                if count == start.len() && start.len() < MAX_BYTES {
                    start.resize((start.len() * 4).min(MAX_BYTES), 0);
                } else {
                    // Peeking would not wait for the rest.
                    patience.wait(count).await;
                }
                continue;
            }
        };
        let (length, origin) = (header.length, header.origin);
        // The bytes after the header are the client's own.
        stream.read_exact(&mut start[..length]).await?;
        return Ok(match origin {
            Origin::Client { source, .. } => Some(source),
            Origin::Local | Origin::Unknown => None,
        });
    }
}
