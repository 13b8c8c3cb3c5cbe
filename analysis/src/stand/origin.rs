//! Origins whose capacity is known, because they only pretend to work.
//!
//! Each is a queue with so many servers, in the order of arrival, with exponential times of service (M/M/c, if arrivals
//! are by Poisson). When a request comes, it is known at once when it will be done: the earliest server is free then
//! and then, and the service takes so long. The answer waits for that moment. A timer that fires late makes an answer
//! late, and does not change what the origin can do.
//!
//! Its answers say how busy it is (ORCA), and so do those to `/probe`, which come at once and are no work. Their heads are
//! those of NGINX for a text, and below `/many/` those for a file that may be kept: twice as many lines. `/echo` answers
//! with the head of its request.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::BinaryHeap,
    io::Write as _,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use sluicegate_core::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::LocalSet,
};

use crate::load::{self, Outcome, Plan, now_ns};

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
    /// What the thread does beside.
    work: Option<mpsc::UnboundedSender<Work>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A run of the load generator, and who waits for it.
struct Work {
    plan: Plan,
    outcome: std::sync::mpsc::Sender<Result<Outcome>>,
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
        let (work, mut to_do) = mpsc::unbounded_channel::<Work>();
        let runtime = load::runtime()?;
        let counters = served.clone();
        let thread = thread::Builder::new().name("origins".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                for (index, ((listener, spec), served)) in listeners.into_iter().zip(specs).zip(counters).enumerate() {
                    let queue = Rc::new(Queue::new(spec, served, index as u64));
                    tokio::task::spawn_local(accept(listener, queue));
                }
                while let Some(Work { plan, outcome }) = to_do.recv().await {
                    // Nobody waits any more when the report was broken off.
                    let _ = outcome.send(load::run(plan).await);
                }
            });
        })?;
        Ok(Self { addresses, served, work: Some(work), thread: Some(thread) })
    }

    /// Does a run on their own thread. Where they share a processor with the generator anyway, this spares the changes
    /// between two threads, which make both late.
    pub(crate) fn run(&self, plan: Plan) -> Result<Outcome> {
        let (outcome, result) = std::sync::mpsc::channel();
        let sent = self.work.as_ref().is_some_and(|work| work.send(Work { plan, outcome }).is_ok());
        anyhow::ensure!(sent, "the origins have ended");
        result.recv().context("the origins have ended")?
    }

    /// How many requests each has got so far.
    pub(crate) fn served(&self) -> Vec<u64> {
        self.served.iter().map(|served| served.load(Relaxed)).collect()
    }
}

impl Drop for Origins {
    fn drop(&mut self) {
        drop(self.work.take());
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
    /// When what is under way will be done, the earliest on top.
    under_way: BinaryHeap<Reverse<u64>>,
    lately: Lately,
    /// The second that it was when the date was last written.
    date: (u64, String),
}

/// What it says of itself: means in which a request counts for a twentieth.
#[derive(Clone, Copy)]
struct Lately {
    last: u64,
    gap_s: f64,
    utilization: f64,
    latency_us: f64,
}

const WEIGHT: f64 = 0.05;

impl Queue {
    fn new(spec: OriginSpec, served: Arc<AtomicU64>, seed: u64) -> Self {
        let free = (0..spec.servers.max(1)).map(|_| Reverse(0)).collect();
        Self { spec, served, state: RefCell::new(State::new(seed, free)) }
    }

    /// When the answer to a request that comes now is due.
    fn admit(&self, now: u64) -> u64 {
        self.served.fetch_add(1, Relaxed);
        let spec = &self.spec;
        let mut state = self.state.borrow_mut();
        if spec.fails {
            state.note(now, now, 0.0);
            return now;
        }
        let extra = (spec.extra_ms * 1e6) as u64;
        if spec.mean_ms == 0.0 {
            return now + extra;
        }
        let age = (now - *state.first.get_or_insert(now)) as f64 / 1e9;
        let slowness = spec.cold.map_or(1.0, |(factor, seconds)| 1.0 + (factor - 1.0) * (1.0 - age / seconds).max(0.0));
        let service = load::exponential(&mut state.rng) * spec.mean_ms * slowness * 1e6;
        let busy = state.free.iter().filter(|Reverse(free)| *free > now).count();
        let free = state.free.pop().map_or(0, |Reverse(free)| free);
        let done = free.max(now) + service as u64;
        state.free.push(Reverse(done));
        state.note(now, done, busy as f64 / spec.servers as f64);
        done + extra
    }

    /// Now, as servers say it: written once a second.
    fn date(&self, now: u64) -> String {
        const SECOND: u64 = 1_000_000_000;
        let (second, date) = &mut self.state.borrow_mut().date;
        if date.is_empty() || *second != now / SECOND {
            (*second, *date) = (now / SECOND, httpdate::fmt_http_date(SystemTime::now()));
        }
        date.clone()
    }

    /// What it says of its load.
    fn report(&self, now: u64) -> String {
        let mut state = self.state.borrow_mut();
        let under_way = state.under_way(now);
        let Lately { gap_s, utilization, latency_us, .. } = state.lately;
        let rate = if gap_s > 0.0 { 1.0 / gap_s } else { 0.0 };
        let errors = if self.spec.fails { rate } else { 0.0 };
        format!(
            "endpoint-load-metrics: TEXT application_utilization={utilization:.3}, rps_fractional={rate:.1}, eps={errors:.1}, \
             named_metrics.queue_depth={under_way}, named_metrics.latency_us={latency_us:.0}\r\n"
        )
    }
}

impl State {
    fn new(seed: u64, free: BinaryHeap<Reverse<u64>>) -> Self {
        let lately = Lately { last: 0, gap_s: 0.0, utilization: 0.0, latency_us: 0.0 };
        let date = (0, String::new());
        Self { rng: Rng::new(seed), free, first: None, under_way: BinaryHeap::new(), lately, date }
    }

    /// Takes in a request.
    fn note(&mut self, now: u64, done: u64, utilization: f64) {
        let Lately { last, gap_s, .. } = self.lately;
        let toward = |mean: f64, value: f64| if last == 0 { value } else { mean + WEIGHT * (value - mean) };
        self.lately = Lately {
            last: now,
            gap_s: if last == 0 { 0.0 } else { toward(gap_s, now.saturating_sub(last) as f64 / 1e9) },
            utilization: toward(self.lately.utilization, utilization),
            latency_us: toward(self.lately.latency_us, (done - now) as f64 / 1e3),
        };
        self.under_way.push(Reverse(done));
        self.under_way(now);
    }

    /// How many requests are under way.
    fn under_way(&mut self, now: u64) -> usize {
        while self.under_way.peek().is_some_and(|Reverse(done)| *done <= now) {
            self.under_way.pop();
        }
        self.under_way.len()
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
        let is_probe = buffer.starts_with(b"GET /probe ");
        let due = if is_probe { 0 } else { queue.admit(now_ns()) };
        let echo = buffer.starts_with(b"GET /echo ").then(|| buffer[..end].to_vec());
        let size = match &echo {
            Some(head) => head.len(),
            None if is_probe => 0,
            None => body_size(&buffer),
        };
        let more = if buffer.starts_with(b"GET /many/") { MORE_LINES } else { "" };
        buffer.drain(..end + 4);
        let wait = due.saturating_sub(now_ns());
        if wait > 0 {
            tokio::time::sleep(Duration::from_nanos(wait)).await;
        }
        let status = if queue.spec.fails && !is_probe { "500 Internal Server Error" } else { "200 OK" };
        // What answers at once has nothing to say of its load, and is there to be as quick as it can be.
        let report = if queue.spec.mean_ms > 0.0 { queue.report(now_ns()) } else { String::new() };
        answer.clear();
        let date = queue.date(now_ns());
        // Writing to a vector can't fail.
        let _ = write!(
            answer,
            "HTTP/1.1 {status}\r\nServer: origin/1.0\r\nDate: {date}\r\nContent-Type: text/plain\r\n\
             Content-Length: {size}\r\nConnection: keep-alive\r\n{more}{report}\r\n"
        );
        match echo {
            Some(head) => answer.extend_from_slice(&head),
            None => answer.resize(answer.len() + size, b'x'),
        }
        stream.write_all(&answer).await?;
    }
}

/// What servers say of files, too.
const MORE_LINES: &str = "Last-Modified: Sat, 28 Nov 2026 00:00:00 GMT\r\nETag: \"6b0a9e14-80\"\r\nAccept-Ranges: bytes\r\n\
    Cache-Control: public, max-age=3600\r\nVary: Accept-Encoding\r\n";

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
    fn it_says_how_busy_it_is() {
        let spec = OriginSpec { servers: 4, mean_ms: 10.0, ..OriginSpec::default() };
        let queue = Queue::new(spec, Arc::default(), 1);
        // Half of what it can do, a request every 5 ms.
        for number in 1..=4000 {
            queue.admit(number * 5_000_000);
        }
        let report = queue.report(4000 * 5_000_000);
        let value = |name: &str| -> f64 {
            let rest = report.split(&format!("{name}=")).nth(1).unwrap();
            rest.split([',', '\r']).next().unwrap().parse().unwrap()
        };
        assert!((190.0..210.0).contains(&value("rps_fractional")), "{report}");
        assert!((0.3..0.7).contains(&value("application_utilization")), "{report}");
        assert!((5_000.0..25_000.0).contains(&value("latency_us")), "{report}");
        assert!((0.0..5.0).contains(&value("eps")) && value("queue_depth") < 10.0, "{report}");
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
    fn an_echo_is_the_request() {
        use std::io::{Read, Write};
        let origins = Origins::start(vec![OriginSpec::default()]).unwrap();
        let mut stream = std::net::TcpStream::connect(origins.addresses[0]).unwrap();
        let head = "GET /echo HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1";
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with("10.0.0.1") {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "{answer}");
            answer.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        assert!(answer.contains(&format!("Content-Length: {}\r\n", head.len())), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{head}")), "{answer}");
    }

    #[test]
    fn sizes_by_path() {
        assert_eq!(body_size(b"GET /100 HTTP/1.1\r\n"), 100);
        assert_eq!(body_size(b"GET /p2c/100 HTTP/1.1\r\n"), 100);
        assert_eq!(body_size(b"GET /maglev/100?key=5 HTTP/1.1\r\n"), 100);
        assert_eq!(body_size(b"GET / HTTP/1.1\r\n"), 128);
    }
}
