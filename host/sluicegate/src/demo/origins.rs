//! Origins to balance over: small HTTP servers in this process, which differ in speed.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use sluicegate_core::Rng;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

/// How long each origin takes to answer. The last is the one that a good policy stays away from: `round-robin` gives
/// it a sixth of the requests, which decide the p99. `p2c` gives it as many as keep a few in flight there, and it is
/// that slow so that these are less than 1% of all, and the p99 is a fast origin's.
const SERVICE_MS: [u32; 6] = [2, 2, 3, 3, 4, SLOW_MS];
const SLOW_MS: u32 = 500;

/// How long to wait after a failure to accept: most likely the process is out of descriptors, and some come back soon.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A server that answers everything, each time after about the same delay, however much it has to do.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// What it is like, for the table.
    pub(super) nature: String,
    /// Whether it is the one to stay away from.
    pub(super) is_slow: bool,
}

/// Starts all origins, on one thread that lives as long as the process.
pub(super) fn start() -> Result<Vec<Origin>> {
    let mut origins = Vec::new();
    let mut listeners = Vec::new();
    for service_ms in SERVICE_MS {
        let listener = bind().context("can't listen on 127.0.0.1 for the demo's origins")?;
        let is_slow = service_ms == SLOW_MS;
        let nature = format!("{} {service_ms} ms", if is_slow { "SLOW" } else { "fast" });
        origins.push(Origin { address: listener.local_addr()?, nature, is_slow });
        listeners.push((listener, service_ms));
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("origins".into()).spawn(move || {
        runtime.block_on(async {
            for (listener, service_ms) in listeners {
                match TcpListener::from_std(listener) {
                    Ok(listener) => drop(tokio::spawn(accept(listener, service_ms))),
                    Err(error) => tracing::error!(%error, "an origin of the demo can't listen"),
                }
            }
            std::future::pending::<()>().await;
        });
    })?;
    Ok(origins)
}

fn bind() -> io::Result<StdListener> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept(listener: TcpListener, service_ms: u32) {
    let served = Arc::new(AtomicU64::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, service_ms, Arc::clone(&served)))),
            Err(_) => tokio::time::sleep(BACK_OFF).await,
        }
    }
}

async fn serve(stream: TcpStream, service_ms: u32, served: Arc<AtomicU64>) {
    // A small answer should not wait for an acknowledgement; that it does is not worth an error.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |_| {
        let delay = delay(service_ms, served.fetch_add(1, Relaxed));
        async move {
            tokio::time::sleep(delay).await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"Hello from an origin of the demo.\n"))))
        }
    });
    // The proxy may leave whenever it likes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The delay of one answer: an eighth more or less than usual, the same in every run.
fn delay(service_ms: u32, number: u64) -> Duration {
    let usual_us = service_ms * 1000;
    let spread = usual_us / 4;
    Duration::from_micros(u64::from(usual_us - spread / 2 + Rng::new(number).below(spread)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_close_to_the_usual() {
        for number in 0..1000 {
            assert!((Duration::from_micros(175_000)..Duration::from_micros(225_000)).contains(&delay(200, number)));
        }
        assert_ne!(delay(200, 1), delay(200, 2));
    }
}
