//! One question to one endpoint, on a connection of its own.

use std::{error::Error, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{CONNECTION, CONTENT_TYPE, HOST, TE, USER_AGENT},
    uri::{Authority, PathAndQuery},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use sluicegate_proxy::{UpstreamProtocol, is_of_this_side};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::Way;
use crate::config::Question;

const GRPC_CHECK: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A gRPC health response has two bytes in its message; this leaves room for what may be added to it.
const MAX_GRPC_RESPONSE: usize = 1024;

/// Whoever reads the endpoint's access log should know what this was.
const AGENT: &str = concat!("sluicegate/", env!("CARGO_PKG_VERSION"), " (health check)");

/// A response, and the tasks that drive its connection while somebody reads it.
type Answer = (Response<Incoming>, JoinSet<()>);

impl Way {
    /// Asks; an error says what is wrong. False if this side has not what it takes, which says nothing.
    pub(super) async fn ask(&self, address: SocketAddr) -> Result<bool, String> {
        let mut stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) if is_of_this_side(&error) => {
                tracing::warn!(%address, %error, "a health check could not be made");
                return Ok(false);
            }
            Err(error) => return Err(format!("can't connect to {address}: {error}")),
        };
        let greeted = stream.write_all(&self.greeting).await;
        greeted.map_err(|error| format!("can't send to {address}: {error}"))?;
        let (method, path, host) = match &self.check.question {
            Question::Tcp => return Ok(true),
            Question::Http { path, host, .. } => (Method::GET, path.clone(), host),
            Question::Grpc { host, .. } => (Method::POST, GRPC_CHECK, host),
        };
        let request = self.request(method, path, host.as_ref(), address).map_err(|error| error.to_string())?;
        let answer = match &self.tls {
            None => self.send(stream, request).await?,
            Some((config, name)) => {
                let name = name.clone().unwrap_or_else(|| ServerName::IpAddress(address.ip().into()));
                let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
                let stream = connected.map_err(|error| format!("no TLS with {address}: {error}"))?;
                if self.protocol == UpstreamProtocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(format!("{address} does not agree to HTTP/2"));
                }
                self.send(stream, request).await?
            }
        };
        self.judge(answer).await.map(|()| true)
    }

    fn request(
        &self,
        method: Method,
        path: PathAndQuery,
        host: Option<&Authority>,
        address: SocketAddr,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let host = host.map_or_else(|| address.to_string(), Authority::to_string);
        let request = Request::builder().method(method).header(USER_AGENT, AGENT);
        let mut request = match self.protocol {
            UpstreamProtocol::Http1 => request.uri(path.as_str()).header(HOST, host).header(CONNECTION, "close"),
            UpstreamProtocol::Http2 => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                request.uri(Uri::builder().scheme(scheme).authority(host).path_and_query(path).build()?)
            }
        };
        let mut body = Bytes::new();
        if let Question::Grpc { service, .. } = &self.check.question {
            request = request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
            body = grpc_question(service);
        }
        request.body(Full::new(body))
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, String> {
        let io = TokioIo::new(stream);
        let mut driver = JoinSet::new();
        let answered = match self.protocol {
            UpstreamProtocol::Http1 => match http1::handshake(io).await {
                Ok((mut sender, connection)) => {
                    // How it ends shows in the response.
                    driver.spawn(async { drop(connection.await) });
                    sender.send_request(request).await
                }
                Err(error) => Err(error),
            },
            UpstreamProtocol::Http2 => match http2::handshake(TokioExecutor::new(), io).await {
                Ok((mut sender, connection)) => {
                    driver.spawn(async { drop(connection.await) });
                    sender.send_request(request).await
                }
                Err(error) => Err(error),
            },
        };
        answered.map(|response| (response, driver)).map_err(|error| format!("no answer: {}", with_source(&error)))
    }

    async fn judge(&self, (response, _driver): Answer) -> Result<(), String> {
        let status = response.status().as_u16();
        match &self.check.question {
            Question::Http { expect, .. } if expect.iter().any(|range| range.contains(&status)) => Ok(()),
            Question::Grpc { .. } if status == 200 => {
                let (head, body) = response.into_parts();
                let body = Limited::new(body, MAX_GRPC_RESPONSE).collect().await;
                let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
                let trailers = body.trailers().cloned().unwrap_or_default();
                grpc_verdict(&head.headers, &trailers, &body.to_bytes())
            }
            _ => Err(format!("status {status}")),
        }
    }
}

/// `HealthCheckRequest` (grpc/health/v1/health.proto), as a message of a gRPC stream.
fn grpc_question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, a string; its length is a varint.
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let length = (message.len() as u32).to_be_bytes();
    [&[0], &length[..], &message].concat().into()
}

/// What a gRPC server says of itself: its status in the trailers, or in the headers when there is nothing else.
fn grpc_verdict(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let status = trailers.get(GRPC_STATUS).or_else(|| headers.get(GRPC_STATUS)).map(HeaderValue::as_bytes);
    match status {
        Some(b"0") => {}
        Some(b"5") => return Err("the health service does not know this service".into()),
        Some(b"12") => return Err("there is no health service (grpc.health.v1.Health)".into()),
        Some(status) => return Err(format!("gRPC status {}", String::from_utf8_lossy(status))),
        None => return Err("no gRPC status".into()),
    }
    // Uncompressed, five bytes before the message, whose field 1 is the status; 0 is not sent.
    match body.get(5..) {
        Some([0x08, 1, ..]) if body[0] == 0 => Ok(()),
        Some([0x08, 2, ..]) => Err("NOT_SERVING".into()),
        _ => Err("the health service does not say SERVING".into()),
    }
}

/// hyper says what it was doing; the reason is beneath.
fn with_source(error: &hyper::Error) -> String {
    match error
        .source()
        .map(|source| source.downcast_ref::<io::Error>().map_or_else(|| source.to_string(), ToString::to_string))
    {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_message_with_the_service() {
        assert_eq!(*grpc_question(""), [0, 0, 0, 0, 0]);
        assert_eq!(*grpc_question("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = grpc_question(&"x".repeat(300));
        assert_eq!((long.len(), &long[..8]), (308, &[0, 0, 0, 1, 47, 0x0a, 0xac, 0x02][..]));
    }

    #[test]
    fn only_serving_is_good() {
        let check = |headers: &[&str], trailers: &[&str], body: &[u8], good: bool| {
            let map = |values: &[&str]| {
                values.iter().map(|value| (GRPC_STATUS, HeaderValue::from_str(value).unwrap())).collect::<HeaderMap>()
            };
            let verdict = grpc_verdict(&map(headers), &map(trailers), body);
            assert_eq!(verdict.is_ok(), good, "{headers:?} {trailers:?} {body:?}: {verdict:?}");
        };
        check(&[], &["0"], &[0, 0, 0, 0, 2, 8, 1], true);
        check(&[], &["0"], &[0, 0, 0, 0, 2, 8, 2], false);
        check(&[], &["0"], &[0, 0, 0, 0, 0], false);
        check(&[], &["0"], &[1, 0, 0, 0, 2, 8, 1], false);
        check(&[], &["0"], &[], false);
        check(&[], &[], &[0, 0, 0, 0, 2, 8, 1], false);
        check(&["5"], &[], &[], false);
        check(&["0"], &["12"], &[0, 0, 0, 0, 2, 8, 1], false);
    }
}
