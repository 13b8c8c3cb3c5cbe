//! The admin listener: metrics, readiness and status over HTTP/1.
//!
//! It only reads, and it runs beside the control side, never on a worker. Rendering a large scrape takes milliseconds
//! in which its thread does nothing else.

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{Telemetry, prometheus};

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

/// Serves until `shutdown` is done, then lets the answers under way finish, for up to five seconds. Never ends because
/// of an error.
pub async fn serve(
    listener: TcpListener,
    telemetry: Telemetry,
    status: Arc<dyn Status>,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(());
    let accepting = async {
        loop {
            // The semaphore is never closed, so there is always a permit to wait for.
            let permit = Arc::clone(&connections).acquire_owned().await;
            let stream = accept(&listener).await;
            let (telemetry, status, stopped) = (telemetry.clone(), Arc::clone(&status), stopped.clone());
            tokio::spawn(async move {
                serve_connection(stream, telemetry, status, stopped).await;
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

async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut pause, longest) = ACCEPT_PAUSES;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
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

async fn serve_connection(
    stream: TcpStream,
    telemetry: Telemetry,
    status: Arc<dyn Status>,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(move |request: Request<_>| {
        let response = respond(&request, &telemetry, &*status);
        async move { Ok::<_, Infallible>(response) }
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

fn respond<B>(request: &Request<B>, telemetry: &Telemetry, status: &dyn Status) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !["/", "/metrics", "/ready", "/status"].contains(&path) {
        return response(StatusCode::NOT_FOUND, TEXT, "not found\n");
    }
    // Of an answer to HEAD, hyper sends the head only.
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
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
