//! Origins whose capacity is known, because they only pretend to work.
//!
//! Each is a queue with so many servers, in the order of arrival, with exponential times of service (M/M/c, if arrivals
//! are by Poisson). When a request comes, it is known at once when it will be done: the earliest server is free then
//! and then, and the service takes so long. The answer waits for that moment. A timer that fires late makes an answer
//! late, and does not change what the origin can do.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::BinaryHeap,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use sluicegate_core::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::oneshot,
    task::LocalSet,
};

use crate::load::now_ns;

/// What an origin is like.
#[derive(Clone, Debug)]
pub(crate) struct OriginSpec {
    /// How many requests it works on at a time.
    pub(crate) servers: usize,
    /// How long that takes, in the mean; 0 answers at once.
    pub(crate) mean_ms: f64,
    /// How far away it is, which takes nothing of what it can do.
    pub(crate) extra_ms: f64,
    /// It answers 500 at once.
    pub(crate) fails: bool,
    /// At its first request it is so many times slower, which wears off over so many seconds.
    pub(crate) cold: Option<(f64, f64)>,
}

impl Default for OriginSpec {
    fn default() -> Self {
        Self { servers: 1, mean_ms: 0.0, extra_ms: 0.0, fails: false, cold: None }
    }
}

impl OriginSpec {
    /// Requests a second that it can answer for ever.
    pub(crate) fn capacity(&self) -> f64 {
        if self.fails { 0.0 } else { self.servers as f64 * 1000.0 / self.mean_ms }
    }
}

/// Some origins, on one thread of their own.
pub(crate) struct Origins {
    pub(crate) addresses: Vec<SocketAddr>,
    served: Vec<Arc<AtomicU64>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Origins {
    /// Starts them.
    pub(crate) fn start(specs: Vec<OriginSpec>) -> Result<Self> {
        let mut listeners = Vec::new();
        for _ in &specs {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
        let addresses = listeners.iter().map(|listener| listener.local_addr()).collect::<Result<_, _>>()?;
        let served: Vec<Arc<AtomicU64>> = specs.iter().map(|_| Arc::default()).collect();
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let counters = served.clone();
        let thread = thread::Builder::new().name("origins".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                for (index, ((listener, spec), served)) in listeners.into_iter().zip(specs).zip(counters).enumerate() {
                    let queue = Rc::new(Queue::new(spec, served, index as u64));
                    tokio::task::spawn_local(accept(listener, queue));
                }
                let _ = stopped.await;
            });
        })?;
        Ok(Self { addresses, served, stop: Some(stop), thread: Some(thread) })
    }

    /// How many requests each has got so far.
    pub(crate) fn served(&self) -> Vec<u64> {
        self.served.iter().map(|served| served.load(Relaxed)).collect()
    }
}

impl Drop for Origins {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Queue {
    spec: OriginSpec,
    served: Arc<AtomicU64>,
    state: RefCell<State>,
}

struct State {
    rng: Rng,
    /// When each server is free, the earliest on top.
    free: BinaryHeap<Reverse<u64>>,
    first: Option<u64>,
}

impl Queue {
    fn new(spec: OriginSpec, served: Arc<AtomicU64>, seed: u64) -> Self {
        let free = (0..spec.servers.max(1)).map(|_| Reverse(0)).collect();
        Self { spec, served, state: RefCell::new(State { rng: Rng::new(seed), free, first: None }) }
    }

    /// When the answer to a request that comes now is due.
    fn admit(&self, now: u64) -> u64 {
        self.served.fetch_add(1, Relaxed);
        let spec = &self.spec;
        if spec.fails {
            return now;
        }
        let mut state = self.state.borrow_mut();
        let extra = (spec.extra_ms * 1e6) as u64;
        if spec.mean_ms == 0.0 {
            return now + extra;
        }
        let age = (now - *state.first.get_or_insert(now)) as f64 / 1e9;
        let slowness = spec.cold.map_or(1.0, |(factor, seconds)| 1.0 + (factor - 1.0) * (1.0 - age / seconds).max(0.0));
        let service = crate::load::exponential(&mut state.rng) * spec.mean_ms * slowness * 1e6;
        let free = state.free.pop().map_or(0, |Reverse(free)| free);
        let done = free.max(now) + service as u64;
        state.free.push(Reverse(done));
        done + extra
    }
}

async fn accept(listener: std::net::TcpListener, queue: Rc<Queue>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let queue = Rc::clone(&queue);
                tokio::task::spawn_local(async move {
                    // A connection that breaks off is the proxy's affair.
                    let _ = serve(stream, &queue).await;
                });
            }
            // No file descriptor is free; some will be.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, queue: &Queue) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut answer) = (Vec::with_capacity(4096), Vec::new());
    loop {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let due = queue.admit(now_ns());
        let size = body_size(&buffer);
        buffer.drain(..end + 4);
        let wait = due.saturating_sub(now_ns());
        if wait > 0 {
            tokio::time::sleep(Duration::from_nanos(wait)).await;
        }
        let status = if queue.spec.fails { "500 Internal Server Error" } else { "200 OK" };
        answer.clear();
        answer.extend_from_slice(format!("HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n").as_bytes());
        answer.resize(answer.len() + size, b'x');
        stream.write_all(&answer).await?;
    }
}

/// A path of `/NUMBER` asks for so many bytes.
fn body_size(head: &[u8]) -> usize {
    let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = std::str::from_utf8(path).unwrap_or_default().split('?').next().unwrap_or_default();
    let number = path.split('/').next_back();
    number.and_then(|number| number.parse().ok()).unwrap_or(128).min(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_its_capacity() {
        let spec = OriginSpec { servers: 4, mean_ms: 10.0, ..OriginSpec::default() };
        assert_eq!(spec.capacity(), 400.0);
        let queue = Queue::new(spec, Arc::default(), 1);
        // 4,000 requests at once keep four servers busy for ten seconds.
        let last = (0..4000).map(|_| queue.admit(1)).max().unwrap();
        assert!((9.0..11.0).contains(&(last as f64 / 1e9)), "{last}");
    }

    #[test]
    fn the_cold_warm_up() {
        let spec = OriginSpec { servers: 1000, mean_ms: 10.0, cold: Some((5.0, 10.0)), ..OriginSpec::default() };
        let queue = Queue::new(spec, Arc::default(), 1);
        let mean = |at: u64| (0..1000).map(|_| queue.admit(at) - at).sum::<u64>() as f64 / 1e9;
        let (cold, half, warm) = (mean(1), mean(500_000_000_000), mean(1_000_000_000_000));
        assert!((45.0..55.0).contains(&cold) && half < 12.0 && warm < 12.0, "{cold} {half} {warm}");
    }

    #[test]
    fn sizes_by_path() {
        assert_eq!(body_size(b"GET /100 HTTP/1.1\r\n"), 100);
        assert_eq!(body_size(b"GET /p2c/100 HTTP/1.1\r\n"), 100);
        assert_eq!(body_size(b"GET /maglev/100?key=5 HTTP/1.1\r\n"), 100);
        assert_eq!(body_size(b"GET / HTTP/1.1\r\n"), 128);
    }
}
