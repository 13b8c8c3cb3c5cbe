//! What comes before a client's first request: the PROXY protocol, TLS, and the choice of a version.

use std::{net::SocketAddr, time::Duration};

use http::HeaderValue;
use tokio::{net::TcpStream, time::sleep};

use crate::{identity, io::Stream, listener::Listener, tcp::Tcp};

/// What a client that speaks HTTP/2 without having asked begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is known of a client before its first request.
#[derive(Default)]
pub(super) struct Greeting {
    pub(super) is_tls: bool,
    pub(super) is_http2: bool,
    pub(super) identity: Option<HeaderValue>,
    /// Whether it is one too many.
    pub(super) is_excess: bool,
    /// Where the connection comes from, if the one who made it says that it is not from there.
    pub(super) origin: Option<SocketAddr>,
}

/// Finds out what the client speaks, and who it is.
pub(super) async fn greet(
    listener: &Listener,
    mut stream: TcpStream,
    address: SocketAddr,
) -> Option<(Stream, Greeting)> {
    let mut origin = None;
    if listener.is_announced(address) {
        match super::announced::origin(&mut stream).await {
            Ok(announced) => origin = announced,
            Err(error) => {
                tracing::warn!(peer = %address, %error, "a connection is not served");
                return None;
            }
        }
    }
    let Some(tls) = listener.tls() else {
        let is_http2 = listener.settings.http2 && starts_with_preface(&stream).await;
        return Some((Stream::Plain(Tcp::new(stream)), Greeting { is_http2, origin, ..Greeting::default() }));
    };
    match tls.accept(Tcp::new(stream)).await {
        Ok(stream) => {
            let session = stream.get_ref().1;
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let identity = session.peer_certificates().and_then(|chain| identity::of(chain.first()?));
            Some((
                Stream::Tls(Box::new(stream.into())),
                Greeting { is_tls: true, is_http2, identity, origin, ..Greeting::default() },
            ))
        }
        Err(error) => {
            tracing::debug!(client = %address, %error, "a TLS handshake failed");
            None
        }
    }
}

/// Looks at the first bytes without taking them.
async fn starts_with_preface(stream: &TcpStream) -> bool {
    let mut start = [0; PREFACE.len()];
    let mut patience = Patience::default();
    loop {
        let Ok(count @ 1..) = stream.peek(&mut start).await else { return false };
        if start[..count] != PREFACE[..count] {
            return false;
        }
        if count == PREFACE.len() {
            return true;
        }
        // Part of it: peeking would not wait for the rest.
        patience.wait(count).await;
    }
}

/// Waits for more of what is only looked at.
#[derive(Default)]
pub(super) struct Patience {
    seen: usize,
    times: u32,
}

impl Patience {
    /// A millisecond, and longer each time when no more has come than the `count` bytes of last time.
    pub(super) async fn wait(&mut self, count: usize) {
        self.times = if count == self.seen { self.times + 1 } else { 0 };
        self.seen = count;
        sleep(Duration::from_millis(1 << self.times.min(7))).await;
    }
}
