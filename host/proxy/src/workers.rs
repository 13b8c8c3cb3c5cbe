//! All workers: their threads and their sockets.

use std::{any::Any, fmt, io, net::SocketAddr, rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use sluicegate_policy::Clock;
use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::mpsc,
};

use crate::{
    handle::{Command, ControlError, WorkerHandle},
    limits::{Admissions, ClientLimits},
    listener::ListenerSettings,
    sockets::{OpenSocket, WorkerSockets, open_all},
    tcp,
    worker::{DRAIN_GRACE, Worker},
};

/// Called on each worker's thread before anything else, with the worker's number. What it returns is kept until the
/// thread ends.
pub type ThreadStart = Arc<dyn Fn(u32) -> Box<dyn Any> + Send + Sync>;

/// What all workers have in common.
#[derive(Clone)]
pub struct WorkerOptions {
    /// The data path's clock.
    pub clock: Clock,
    /// Whether every request is logged, as `sluicegate::access`.
    pub access_log: bool,
    /// What clients may take up, all workers together.
    pub limits: Arc<ClientLimits>,
    /// Sets up a worker's thread, for example its metrics recorder.
    pub thread_start: ThreadStart,
}

impl fmt::Debug for WorkerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerOptions").field("access_log", &self.access_log).finish_non_exhaustive()
    }
}

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The address can't be had.
    #[error("can't bind {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no thread, or no event queue.
    #[error("can't start worker {worker}: {source}")]
    Thread {
        /// The worker.
        worker: u32,
        /// What the system says.
        source: io::Error,
    },
}

/// Why connections are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A bound socket can't listen.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A worker has stopped.
    #[error(transparent)]
    Worker(#[from] ControlError),
}

/// The workers. Dropping this, and all handles, ends them at once.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    shared: Vec<OpenSocket>,
}

/// Binds all `listeners` for each of `count` workers, then starts their threads. Nothing is accepted, nor queued by
/// the kernel, before [`Workers::start`].
pub fn spawn_workers(
    count: u32,
    listeners: &[ListenerSettings],
    options: &WorkerOptions,
) -> Result<Workers, SpawnError> {
    spawn_workers_on(count, listeners, Vec::new(), options)
}

/// The same with sockets that another process had opened, where they fit the `listeners`: those may have connections
/// in their queues already.
pub fn spawn_workers_on(
    count: u32,
    listeners: &[ListenerSettings],
    inherited: Vec<OpenSocket>,
    options: &WorkerOptions,
) -> Result<Workers, SpawnError> {
    let opened = open_all(count, listeners, inherited)?;
    let mut workers =
        Workers { handles: Vec::new(), threads: Vec::new(), addresses: opened.addresses, shared: opened.shared };
    let admissions = Arc::new(Admissions::new(Arc::clone(&options.limits)));
    for (worker, sockets) in (0..).zip(opened.workers) {
        let admissions = Arc::clone(&admissions);
        let (handle, thread) = spawn(worker, sockets, options.clone(), admissions)
            .map_err(|source| SpawnError::Thread { worker, source })?;
        workers.handles.push(handle);
        workers.threads.push(thread);
    }
    Ok(workers)
}

impl Workers {
    /// One for each worker.
    pub fn handles(&self) -> &[WorkerHandle] {
        &self.handles
    }

    /// Where they listen, in the order asked for, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Their sockets, for another process that takes over from this one.
    pub fn sockets(&self) -> &[OpenSocket] {
        &self.shared
    }

    /// Begins to accept connections: once there are clusters and routes for them.
    pub async fn start(&self) -> Result<(), StartError> {
        for handle in &self.handles {
            let listening = handle.ask(Command::Start).await?;
            listening.map_err(|(address, source)| StartError::Listen { address, source })?;
        }
        Ok(())
    }

    /// Drains all workers at once and waits for their threads to end. Returns how many connections were cut off.
    pub async fn drain(self, timeout: Duration) -> usize {
        self.drain_with(timeout, DRAIN_GRACE).await
    }

    /// Drains workers whose sockets another process has taken over. Nobody waits for this one to end, so idle
    /// connections are left open for half of the time: most clients send another request until then, and hear with the
    /// answer that the connection ends.
    pub async fn retire(self, timeout: Duration) -> usize {
        self.drain_with(timeout, timeout).await
    }

    async fn drain_with(self, timeout: Duration, grace: Duration) -> usize {
        // The workers' own are the last ones then: with them, nobody listens any more.
        drop(self.shared);
        // All are told before the first is waited for.
        let drains: Vec<_> = self
            .handles
            .iter()
            .filter_map(|handle| {
                let (done, cut) = tokio::sync::oneshot::channel();
                handle.commands.send(Command::Drain(timeout, grace, done)).ok().map(|()| cut)
            })
            .collect();
        let mut cut = 0;
        for drain in drains {
            cut += drain.await.unwrap_or(0);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker's thread had panicked");
            }
        }
        cut
    }
}

fn spawn(
    worker: u32,
    sockets: WorkerSockets,
    options: WorkerOptions,
    admissions: Arc<Admissions>,
) -> io::Result<(WorkerHandle, JoinHandle<()>)> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
        let mut builder = Builder::new_current_thread();
        match builder.enable_all().on_thread_park(tcp::end_turn).build_local(LocalOptions::default()) {
            Ok(runtime) => {
                // Nobody hears it only if the spawning thread is gone, and then the commands end, too.
                let _ = ready.send(Ok(()));
                run(runtime, worker, sockets, inbox, (&options, admissions));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok((WorkerHandle { worker, commands }, thread))
}

fn run(
    runtime: LocalRuntime,
    number: u32,
    sockets: WorkerSockets,
    inbox: mpsc::UnboundedReceiver<Command>,
    (options, admissions): (&WorkerOptions, Arc<Admissions>),
) {
    let _kept = (options.thread_start)(number);
    let worker = Worker::new(options, admissions);
    let ended = runtime.block_on(Rc::clone(&worker).run(sockets, inbox));
    // This is what cuts off the connections that are left; the clusters' own connections go after them.
    drop(runtime);
    worker.close();
    if let Some((done, cut)) = ended {
        let _ = done.send(cut);
    }
}
