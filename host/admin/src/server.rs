//! The admin listener: metrics, readiness, status and the policies' API over HTTP/1.
//!
//! It runs beside the control side, never on a worker. Rendering a large scrape takes milliseconds
//! in which its thread does nothing else.

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{Api, Guard, Telemetry, api, prometheus};

/// How many connections are served at once; the next ones wait to be accepted. A handful of scrapers and probes needs
/// a few, and what a flood of them could take from the proxy stays small.
pub const MAX_CONNECTIONS: usize = 64;

/// How long a client may take for a request's head, or leave its connection idle. Longer than the 15 seconds that
/// usually lie between two scrapes, so that scrapers can keep their connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may last, so that clients which read nothing cannot hold all connections forever.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);

/// How long the answer under way may still take when its connection has to end.
const GRACE: Duration = Duration::from_secs(5);

/// The pauses after failed accepts double from the first to the last of these. Such failures (too many open files)
/// pass when connections end, so trying at once would only burn a core.
const ACCEPT_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const METRICS: HeaderValue = HeaderValue::from_static(prometheus::CONTENT_TYPE);

const INDEX: &str = "\
sluicegate admin

/metrics  metrics, in Prometheus' text format
/ready    200 when the proxy takes traffic, else 503 and why not
/status   the state of clusters, endpoints and policies, as JSON

/policies                         the clusters' policies, as JSON
/policies/CLUSTER                 one of them, and its candidate on trial
/policies/CLUSTER/history         what became of it, and why
/policies/CLUSTER/swap            POST, as all of these: another policy
/policies/CLUSTER/shadow          a candidate beside it, whose picks are not used
/policies/CLUSTER/canary          a candidate for a share of the requests
/policies/CLUSTER/promote         the candidate serves
/policies/CLUSTER/rollback        the candidate goes, or a former policy is back

`sluicegate policy --help` says more.
";

/// What the listener asks the rest of the proxy. The answers should come at once: nothing else happens meanwhile.
pub trait Status: Send + Sync + 'static {
    /// Whether the proxy takes traffic; if not, the reason.
    fn ready(&self) -> Result<(), String>;

    /// The state of everything, for people and scripts.
    fn status(&self) -> serde_json::Value;

    /// Called before metrics are rendered, to set gauges that are only worth computing when somebody looks.
    fn before_scrape(&self) {}
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// An address.
    Tcp(TcpListener),
    /// A file.
    Unix(UnixListener),
}

/// Who answers.
#[derive(Clone)]
pub struct Desk {
    /// For `/metrics`.
    pub telemetry: Telemetry,
    /// For `/ready` and `/status`.
    pub status: Arc<dyn Status>,
    /// For `/policies`.
    pub api: Arc<dyn Api>,
    /// Whom.
    pub guard: Arc<Guard>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Serves until `shutdown` is done, then lets the answers under way finish, for up to five seconds. Never ends because
/// of an error.
pub async fn serve(listener: Listener, desk: Desk, shutdown: impl Future<Output = ()>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(());
    let accepting = async {
        loop {
            // The semaphore is never closed, so there is always a permit to wait for.
            let permit = Arc::clone(&connections).acquire_owned().await;
            let stream = accept(&listener).await;
            let (desk, stopped) = (desk.clone(), stopped.clone());
            tokio::spawn(async move {
                serve_connection(stream, desk, stopped).await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = accepting => {}
    }
    drop(listener);
    drop(stop);
    // All permits are back when all connections have ended, which each does within its grace.
    let _ = connections.acquire_many(MAX_CONNECTIONS as u32).await;
}

async fn accept(listener: &Listener) -> Box<dyn Stream> {
    let (mut pause, longest) = ACCEPT_PAUSES;
    loop {
        let accepted = match listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Stream>),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Stream>),
        };
        match accepted {
            Ok(stream) => return stream,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, ?pause, "the admin listener cannot accept connections");
                sleep(pause).await;
                pause = longest.min(pause * 2);
            }
        }
    }
}

/// Whether an accept failed because its connection was gone before it could be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_connection(stream: Box<dyn Stream>, desk: Desk, mut stopped: watch::Receiver<()>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = desk.clone();
        async move {
            let (parts, body) = request.into_parts();
            Ok::<_, Infallible>(match parts.uri.path().split('/').nth(1) {
                Some("policies") => respond_json(answer(&parts, body, &desk).await),
                _ => respond(&parts, &desk),
            })
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        // Either the sender is gone or the time is up.
        _ = timeout(MAX_CONNECTION_AGE, stopped.changed()) => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an admin connection broke");
    }
}

/// A call of the API.
async fn answer(parts: &Parts, body: Incoming, desk: &Desk) -> api::Answer {
    desk.guard.check(parts)?;
    desk.api.call(api::read(parts, body).await?).await
}

fn respond_json(answer: api::Answer) -> Response<Full<Bytes>> {
    let problem = match answer {
        Ok(value) => return response(StatusCode::OK, JSON, format!("{value:#}\n")),
        Err(problem) => problem,
    };
    let mut response = response(problem.status, JSON, format!("{:#}\n", problem.to_json()));
    let more = match problem.status {
        StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
        StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, "GET, POST")),
        _ => None,
    };
    if let Some((name, value)) = more {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn respond(parts: &Parts, desk: &Desk) -> Response<Full<Bytes>> {
    let Desk { telemetry, status, guard, .. } = desk;
    let path = parts.uri.path();
    if !["/", "/metrics", "/ready", "/status"].contains(&path) {
        return response(StatusCode::NOT_FOUND, TEXT, "not found\n");
    }
    // Of an answer to HEAD, hyper sends the head only.
    if ![Method::GET, Method::HEAD].contains(&parts.method) {
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    // Scrapers and probes come under any name, and their answers say nothing of how policies are configured.
    if path == "/status"
        && let Err(problem) = guard.check(parts)
    {
        return respond_json(Err(problem));
    }
    match path {
        "/metrics" => {
            status.before_scrape();
            response(StatusCode::OK, METRICS, telemetry.render())
        }
        "/ready" => match status.ready() {
            Ok(()) => response(StatusCode::OK, TEXT, "ready\n"),
            Err(reason) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        "/status" => response(StatusCode::OK, JSON, format!("{:#}\n", status.status())),
        _ => response(StatusCode::OK, TEXT, INDEX),
    }
}

fn response(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
