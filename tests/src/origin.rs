//! A real HTTP server that says who it is.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

use crate::eventually;

/// Answers every request with its own address, until it is dropped.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    served: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
}

impl Origin {
    /// Starts one that answers after `delay`.
    pub fn start(delay: Duration) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(address, delay)
    }

    /// The same at a certain address, as soon as that is free.
    pub fn start_at(address: SocketAddr, delay: Duration) -> Self {
        eventually("the address is free", || Self::try_start_at(address, delay))
    }

    /// The same at an address, if that is to be had.
    pub fn try_start_at(address: SocketAddr, delay: Duration) -> Option<Self> {
        let listener = std::net::TcpListener::bind(address).ok()?;
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel::<()>();
        let counter = Arc::clone(&served);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, delay, counter) => {}
                    _ = stopped => {}
                }
            });
        });
        Some(Self { address, served, stop: Some(stop) })
    }

    /// Several of them.
    pub fn several(count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::start(Duration::ZERO)).collect()
    }

    /// How many requests it has answered.
    pub fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

async fn serve(listener: TcpListener, delay: Duration, served: Arc<AtomicU64>) {
    let address = listener.local_addr().unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let served = Arc::clone(&served);
        let answer = service_fn(move |request: Request<Incoming>| {
            let served = Arc::clone(&served);
            async move {
                let _ = request.into_body().collect().await;
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                served.fetch_add(1, Relaxed);
                Ok::<_, Infallible>(Response::new(Full::<hyper::body::Bytes>::from(address.to_string())))
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}
