//! WebSocket where one side speaks HTTP/2 (RFC 8441): one stream in place of a connection. Towards the side that speaks
//! HTTP/1.1, this proxy is the other side of its handshake (RFC 6455, section 4).

use std::mem;

use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRAILER,
        UPGRADE,
    },
    request, response,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sluicegate_core::Rng;
use sluicegate_policy::{RequestHeaders, RequestParts};
use tokio::sync::oneshot;

use crate::{
    client_body::ClientBody, failure::Failure, request::Inbound, stream::StreamIo, timer::LazyTimer, tunnel::Tunnel,
};

/// What a server puts behind the key (RFC 6455, section 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client asks for, until it has its answer.
#[derive(Debug)]
pub(crate) struct WebSocket {
    key: String,
    /// Where the stream comes from, once the client has its answer.
    stream: oneshot::Receiver<StreamIo>,
}

impl WebSocket {
    /// Makes the GET of HTTP/1.1 out of a CONNECT, which has to be one for a WebSocket.
    #[cold]
    #[inline(never)]
    pub(crate) fn begin(
        parts: &mut request::Parts,
        body: &mut ClientBody,
        rng: &mut Rng,
    ) -> Result<Box<Self>, Failure> {
        let protocol = parts.extensions.remove::<Protocol>().ok_or(Failure::NotSupported("CONNECT"))?;
        let ClientBody::Tunnel(stream) = mem::replace(body, ClientBody::Empty) else {
            return Err(Failure::NotSupported("CONNECT"));
        };
        if !protocol.as_str().eq_ignore_ascii_case("websocket") {
            return Err(Failure::NotSupported("CONNECT with a protocol other than websocket"));
        }
        parts.method = Method::GET;
        // What they say is of a body, and there is none: to an endpoint that believed a length, the next request would be it.
        for name in [CONTENT_LENGTH, EXPECT, TRAILER] {
            parts.headers.remove(name);
        }
        let nonce = [rng.next_u64(), rng.next_u64()].map(u64::to_ne_bytes);
        Ok(Box::new(Self { key: base64(nonce.as_flattened()), stream }))
    }

    /// Puts the key into a request. Returns what the request asks to go on in.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&self.key).ok()?);
        Some(HeaderValue::from_static("websocket"))
    }

    /// Whether a switch of protocols is to WebSocket, and answers this request.
    pub(crate) fn is_accepted(&self, headers: &HeaderMap) -> bool {
        let is_websocket = headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        is_websocket && headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|said| *said == *accept(&self.key))
    }

    /// Says in HTTP/2's way that the endpoint has switched, and carries what follows in a task of its own.
    #[cold]
    #[inline(never)]
    pub(crate) fn open(self, head: &mut response::Parts, mut tunnel: Box<Tunnel>) {
        head.status = StatusCode::OK;
        for name in [CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, UPGRADE] {
            head.headers.remove(name);
        }
        let record = &mut tunnel.record;
        record.answered(head.status);
        // The request's own timer wakes the request's task.
        record.timer = LazyTimer::new(record.client.worker.clock).into();
        tokio::task::spawn_local(async move {
            // If the client is gone already, the tunnel goes, too.
            if let Ok(stream) = self.stream.await {
                tunnel.run(stream, &[]).await;
            }
        });
    }
}

/// Checks the client's side of a handshake over HTTP/1.1, where this proxy is the other (RFC 6455, section 4.2.1).
pub(crate) fn check(head: &RequestParts) -> Result<(), Failure> {
    let value = |name| head.headers.get(&name).map_or(&b""[..], HeaderValue::as_bytes).trim_ascii();
    let has_key = matches!(value(SEC_WEBSOCKET_KEY), [digits @ .., b'=', b'='] if digits.len() == 22
        && digits.iter().all(|digit| digit.is_ascii_alphanumeric() || matches!(digit, b'+' | b'/')));
    match head.method == Method::GET && has_key && value(SEC_WEBSOCKET_VERSION) == b"13" {
        true => Ok(()),
        false => Err(Failure::BadRequest("a WebSocket takes a GET, a key of 16 bytes and version 13")),
    }
}

/// Makes the CONNECT of HTTP/2 out of a request that asks for a WebSocket over HTTP/1.1, or once did (RFC 8441, section
/// 5). Its authority and path are in their places.
pub(crate) fn connect(head: &mut request::Parts) {
    head.method = Method::CONNECT;
    head.extensions.insert(Protocol::from_static("websocket"));
    head.headers.remove(SEC_WEBSOCKET_KEY);
}

/// Whether a request asks for a WebSocket, whichever way.
pub(crate) fn is_asked_for(inbound: &Inbound) -> bool {
    let upgrade = inbound.head.parts.headers.get(&UPGRADE).filter(|_| inbound.is_upgrade);
    inbound.websocket.is_some() || upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Says in HTTP/1.1's way that an endpoint has opened a WebSocket, to a request with these headers.
pub(crate) fn switch(asked: &RequestHeaders, answer: &mut Response<()>) {
    let key = asked.get(&SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    // There is nothing in it that a header can't have.
    headers.extend(HeaderValue::try_from(accept(key)).map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
}

/// What shows that a server has understood a key.
fn accept(key: &str) -> String {
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, [key, MAGIC].concat().as_bytes()).as_ref())
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(*chunk.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
            text.push(if at > chunk.len() { '=' } else { digit });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_has_all_its_parts() {
        let check = |method: &str, key: &str, version: &str| {
            let request = http::Request::builder().method(method).header("sec-websocket-key", key);
            let request = request.header("sec-websocket-version", version).body(()).unwrap();
            super::check(&request.into_parts().0.into()).is_ok()
        };
        assert!(check("GET", "dGhlIHNhbXBsZSBub25jZQ==", "13"));
        assert!(!check("POST", "dGhlIHNhbXBsZSBub25jZQ==", "13"));
        assert!(!check("GET", "dGhlIHNhbXBsZSBub25jZQ==", "8"));
        for key in ["", "==", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZ,=="] {
            assert!(!check("GET", key, "13"), "{key}");
        }
    }

    #[test]
    fn the_rfcs_examples_come_out() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
