//! Clients: one request, or a steady load that remembers everything that went wrong.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Builder};

/// What a load has seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Whole answers with status 200.
    pub good: u64,
    /// Everything else, each in words.
    pub failed: Vec<String>,
    /// Whole answers by body.
    pub bodies: BTreeMap<String, u64>,
}

/// A steady load on kept-alive connections: each sends its next request when the last one is answered.
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins, with plain `GET`s.
    pub fn start(address: SocketAddr, connections: usize) -> Self {
        Self::start_with(address, connections, Method::GET, Bytes::new())
    }

    /// Begins, with requests of some other kind, and a body.
    pub fn start_with(address: SocketAddr, connections: usize, method: Method, body: Bytes) -> Self {
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let (stop_it, tell) = (Arc::clone(&stop), Arc::clone(&tally));
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let tasks: Vec<_> = (0..connections)
                    .map(|_| {
                        let request = (method.clone(), body.clone());
                        tokio::spawn(drive(address, request, Arc::clone(&stop_it), Arc::clone(&tell)))
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        });
        Self { stop, tally, thread: Some(thread) }
    }

    /// What it has seen so far.
    pub fn so_far(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Ends after the requests under way, and says what it has seen.
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.so_far()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends a request: the status, the body, and whether the connection ends with it.
async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(u16, String, bool), String> {
    sender.ready().await.map_err(|error| format!("kept-alive connection: {error}"))?;
    let response = sender.send_request(request).await.map_err(|error| format!("response: {error}"))?;
    let status = response.status().as_u16();
    let ends = response.headers().get("connection").is_some_and(|value| value == "close");
    let body = response.into_body().collect().await.map_err(|error| format!("body: {error}"))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned(), ends))
}

async fn drive(address: SocketAddr, (method, body): (Method, Bytes), stop: Arc<AtomicBool>, tally: Arc<Mutex<Tally>>) {
    let request = || {
        let request = Request::builder().method(&method).uri("/").header("host", "test");
        request.body(Full::new(body.clone())).unwrap()
    };
    let mut sender = None;
    while !stop.load(Relaxed) {
        let answer = match &mut sender {
            Some(sender) => send(sender, request()).await,
            None => match connect(address).await {
                Ok(connected) => {
                    sender = Some(connected);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        let mut tally = tally.lock().unwrap();
        match answer {
            Ok((200, body, ends)) => {
                sender.take_if(|_| ends);
                tally.good += 1;
                *tally.bodies.entry(body).or_default() += 1;
            }
            Ok((status, body, _)) => tally.failed.push(format!("{status}: {body}")),
            Err(error) => {
                sender = None;
                tally.failed.push(error);
            }
        }
    }
}

/// One request on a connection of its own: status and body.
pub fn get(address: SocketAddr, path: &str, host: &str) -> Result<(u16, String), String> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let request = Request::get(path).header("host", host).body(Full::default()).unwrap();
    let answer = runtime.block_on(async { send(&mut connect(address).await?, request).await });
    answer.map(|(status, body, _)| (status, body))
}

/// One request of any kind on a connection of its own.
pub fn ask(address: SocketAddr, request: Request<String>) -> Result<Response<String>, String> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
        let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connected.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| format!("response: {error}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("body: {error}"))?.to_bytes();
        Ok(Response::from_parts(head, String::from_utf8_lossy(&body).into_owned()))
    })
}
