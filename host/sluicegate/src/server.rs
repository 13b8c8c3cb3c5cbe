//! A whole proxy in this process: telemetry, engine, workers, control plane and admin listener, wired together.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluicegate_admin::Telemetry;
use sluicegate_control::{
    Board, Plane, PlaneHandle, PlaneOptions,
    config::{Config, ModuleCache, PolicyLimits},
    tls,
};
use sluicegate_policy::{Clock, Engine, Limits};
use sluicegate_proxy::{ListenerSettings, OpenSocket, WorkerOptions, Workers, spawn_workers_on};
use tokio::sync::watch;

use crate::{
    admin_listener::{AdminListener, Bound},
    allocator,
    upgrade::{self, Door, Sockets},
};

/// A proxy that serves.
pub(crate) struct Server {
    workers: Workers,
    /// What is going on.
    pub(crate) board: Arc<Board>,
    /// What has been counted.
    pub(crate) telemetry: Telemetry,
    /// Takes another configuration.
    pub(crate) plane: PlaneHandle,
    /// The clusters whose endpoints' names could not be resolved at the start.
    pub(crate) unresolved: Vec<Arc<str>>,
    drain_timeout: watch::Receiver<Duration>,
    /// The admin listener, until it answers.
    bound: Option<Bound>,
    admin: Option<AdminListener>,
}

impl Server {
    /// Starts a proxy on the current runtime.
    pub(crate) async fn start(config: Config) -> Result<Self> {
        let mut server = Self::prepare(config, None, Sockets::default()).await?;
        server.open().await?;
        Ok(server)
    }

    /// A proxy that accepts nobody yet. With `file`, it follows the changes of that configuration file. With `inherited`
    /// sockets, it listens where another process did.
    pub(crate) async fn prepare(config: Config, file: Option<PathBuf>, inherited: Sockets) -> Result<Self> {
        let telemetry = Telemetry::new();
        telemetry.install_global()?;
        sluicegate_policy::describe_metrics();
        sluicegate_proxy::describe();
        sluicegate_control::describe_metrics();
        raise_file_limit();
        let clock = Clock::start();
        let engine = Engine::new(limits(&config.policy), cache_dir(&config.policy.cache))
            .map_err(|error| anyhow::anyhow!("the WebAssembly engine can't start: {error:#}"))?;
        // The admin address is bound before anything serves: a mistake in it should not cost a request.
        let admin = match &config.admin {
            Some(admin) => Some(Bound::listen(admin, inherited.admin, !inherited.listeners.is_empty()).await?),
            None => None,
        };
        let workers = start_workers(&config, inherited.listeners, clock, &telemetry)?;
        let options = PlaneOptions {
            engine,
            clock,
            workers: workers.handles().to_vec(),
            seed: RandomState::new().hash_one("policies"),
        };
        let plane = Plane::start(options, config).await?;
        let (board, drain_timeout, unresolved) = (Arc::clone(plane.board()), plane.drain_timeout(), plane.unresolved());
        let (plane, follow) = sluicegate_control::run(plane, file)?;
        tokio::spawn(follow);
        tokio::spawn(allocator::give_back());
        Ok(Self { workers, board, telemetry, plane, unresolved, drain_timeout, bound: admin, admin: None })
    }

    /// Begins to accept connections.
    pub(crate) async fn open(&mut self) -> Result<()> {
        self.workers.start().await?;
        self.board.serving();
        // Not earlier: it may be the address of a process that is ready, and this one would say that it is starting.
        self.admin = self.bound.take().map(|bound| bound.serve(&self.telemetry, &self.board)).transpose()?;
        Ok(())
    }

    /// How long requests may take to finish when it stops.
    pub(crate) fn drain_timeout(&self) -> Duration {
        *self.drain_timeout.borrow()
    }

    /// Where clients connect to.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.workers.addresses()
    }

    /// Where the operator's requests are answered, if anywhere.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.address)
    }

    /// The same for a Unix socket.
    pub(crate) fn admin_socket(&self) -> Option<&Path> {
        self.admin.as_ref().and_then(|admin| admin.socket.as_deref())
    }

    /// Serves until another process does so, from the same sockets.
    pub(crate) async fn hand_over(&self, door: Option<&Door>) {
        upgrade::hand_over(door, self.workers.sockets(), self.admin.as_ref().and_then(|admin| admin.shared.as_ref()))
            .await;
    }

    /// Lets requests finish, as in a drain, when another process serves from the same sockets.
    pub(crate) async fn retire(self) -> usize {
        let timeout = self.drain_timeout();
        self.board.draining();
        // The other one answers for both.
        drop(self.admin);
        self.workers.retire(timeout).await
    }

    /// Stops accepting, lets requests finish for as long as they may take, and returns how many connections were cut off.
    pub(crate) async fn drain(self) -> usize {
        let timeout = self.drain_timeout();
        self.board.draining();
        // The admin listener answers "draining" meanwhile; it goes last.
        let cut = self.workers.drain(timeout).await;
        drop(self.admin);
        cut
    }
}

fn start_workers(config: &Config, inherited: Vec<OpenSocket>, clock: Clock, telemetry: &Telemetry) -> Result<Workers> {
    let count = match config.runtime.workers {
        Some(count) => count,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let listeners = config.listeners.iter().enumerate().map(|(index, listener)| {
        let tls = tls::for_listener(listener).map_err(|error| anyhow::anyhow!("listener[{index}].tls: {error}"))?;
        Ok(ListenerSettings {
            address: listener.address,
            http2: listener.http2,
            proxy_protocol: listener.proxy_protocol.clone(),
            forwarding: listener.forwarding.clone(),
            path_rules: listener.path_rules,
            tls,
        })
    });
    let listeners = listeners.collect::<Result<Vec<_>>>()?;
    let telemetry = telemetry.clone();
    let options = WorkerOptions {
        clock,
        access_log: config.log.access,
        limits: Arc::new(config.limits.clone()),
        thread_start: Arc::new(move |_| {
            // The recorder lives as long as the thread, which lives as long as the process: leaking it lets the
            // guard borrow it.
            let shard = Box::leak(Box::new(telemetry.shard()));
            Box::new(metrics::set_default_local_recorder(shard))
        }),
    };
    Ok(spawn_workers_on(count as u32, &listeners, inherited, &options)?)
}

/// The engine's limits, as configured.
pub(crate) fn limits(policy: &PolicyLimits) -> Limits {
    Limits {
        pick_timeout: policy.pick_timeout,
        setup_timeout: policy.setup_timeout,
        memory_bytes: (policy.memory_mib as usize) << 20,
        ..Limits::default()
    }
}

/// Where compiled policies are kept: what systemd says, or the user's cache folder.
fn cache_dir(cache: &ModuleCache) -> Option<PathBuf> {
    match cache {
        ModuleCache::Off => None,
        ModuleCache::Directory(dir) => Some(dir.clone()),
        ModuleCache::Default => {
            let var = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            var("CACHE_DIRECTORY")
                .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("sluicegate")))
                .or_else(|| var("HOME").map(|dir| dir.join(".cache/sluicegate")))
        }
    }
}

/// Takes as many descriptors as the system lets this user have.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

/// Says so if there are not two descriptors for each client that may come: its own, and one to an endpoint.
pub(crate) fn check_file_limit(connections: usize) {
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|files| *files < 2 * connections as u64) {
        tracing::warn!(
            files,
            connections,
            "this process may open fewer files than twice its limits.connections: raise the one (LimitNOFILE in systemd, \
             ulimit -n in a shell) or lower the other, or there will be connections that can't be made"
        );
    }
}
