//! A real HTTP server that answers with what it was asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

/// Answers every request with the request itself, until it is dropped: the method and the target, the headers, a line
/// for each, an empty line, and the body. The answer's headers are `server: echo` and `x-origin`, with its address. A
/// request whose body breaks off is none.
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    broken: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

impl Echo {
    /// Starts one.
    pub fn start() -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, address) = std::sync::mpsc::channel();
        let broken = Arc::<AtomicUsize>::default();
        let (log, count) = (Arc::clone(&asked), Arc::clone(&broken));
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, log, count) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: address.recv().unwrap(), asked, broken, _stop: stop }
    }

    /// Every request so far, as it was answered.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests have come whose body broke off.
    pub fn broken(&self) -> usize {
        self.broken.load(Relaxed)
    }
}

async fn serve(listener: TcpListener, asked: Arc<Mutex<Vec<String>>>, broken: Arc<AtomicUsize>) {
    let address = listener.local_addr().unwrap().to_string();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (asked, broken, address) = (Arc::clone(&asked), Arc::clone(&broken), address.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (asked, broken, address) = (Arc::clone(&asked), Arc::clone(&broken), address.clone());
            async move {
                let text = written(request).await.inspect_err(|_| {
                    broken.fetch_add(1, Relaxed);
                })?;
                asked.lock().unwrap().push(text.clone());
                let response = Response::builder().header("server", "echo").header("x-origin", address);
                Ok::<_, hyper::Error>(response.body(Full::<Bytes>::from(text)).unwrap())
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn written(request: Request<Incoming>) -> hyper::Result<String> {
    let (head, body) = request.into_parts();
    let mut text = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    let body = body.collect().await?.to_bytes();
    Ok(text + "\n" + &String::from_utf8_lossy(&body))
}
