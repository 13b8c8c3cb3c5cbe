//! The control loop: waits for files to change, or for orders, and has the plane follow.

mod changes;

use std::path::{Path, PathBuf};

use sluicegate_policy::MAX_COMPILES;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    config::{self, Config, PolicySource},
    plane::{Applied, ApplyError, Plane},
    trust::signature_path,
    watch::{self, Change, FileWatcher, Files, WatchError},
};
use changes::{Changed, Changes};

/// A configuration to put to use, and where to say how it went.
type Order = (Box<Config>, oneshot::Sender<Result<Applied, ApplyError>>);

/// Orders for a running plane.
#[derive(Clone, Debug)]
pub struct PlaneHandle(mpsc::Sender<Order>);

impl PlaneHandle {
    /// Puts another configuration to use. None when the plane has stopped.
    pub async fn apply(&self, config: Config) -> Option<Result<Applied, ApplyError>> {
        let (done, answer) = oneshot::channel();
        self.0.send((Box::new(config), done)).await.ok()?;
        answer.await.ok()
    }
}

/// Runs a plane: follows its configuration file, if it has one, and its policies' files. The future ends with the
/// last handle.
pub fn run(plane: Plane, file: Option<PathBuf>) -> Result<(PlaneHandle, impl Future<Output = ()>), WatchError> {
    let (watcher, changes) = FileWatcher::start(watch::DEFAULT_QUIET)?;
    let (sender, orders) = mpsc::channel(1);
    let (known, waiting, under_way) = (Files::new(), Changes::default(), JoinSet::new());
    let mut follower = Follower { plane, file, watcher, refused: None, known, changes: waiting, under_way };
    follower.watch();
    Ok((PlaneHandle(sender), follower.follow(changes, orders)))
}

struct Follower {
    plane: Plane,
    file: Option<PathBuf>,
    watcher: FileWatcher,
    /// A configuration whose policies did not work: it is tried again when one of their files changes.
    refused: Option<Config>,
    known: Files,
    /// What is to be put to use of other files than the configuration: a policy may take long to compile.
    changes: Changes,
    /// Waits for what has been begun of these; each says which file it was.
    under_way: JoinSet<PathBuf>,
}

impl Follower {
    async fn follow(mut self, mut changes: mpsc::Receiver<Change>, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some((config, done)) = order else { return };
                    let applied = self.plane.apply(*config).await;
                    self.watch();
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(applied);
                }
                change = changes.recv() => match change {
                    Some(change) => self.change(change).await,
                    // The watcher's thread ends only with the watcher.
                    None => return,
                },
                Some(done) = self.under_way.join_next() => {
                    match done {
                        Ok(path) => self.changes.end(&path),
                        // It only waits, and is never broken off.
                        Err(error) => tracing::error!(%error, "a file's change broke"),
                    }
                    self.begin_changes().await;
                }
            }
        }
    }

    async fn change(&mut self, change: Change) {
        match change {
            Change::Content { path, bytes, seen } => {
                self.known.insert(path.clone(), Some(bytes.clone()));
                if Some(&path) == self.file.as_ref() {
                    self.config_changed(&path, &bytes).await;
                } else {
                    self.changes.add(Changed { path: path.clone(), bytes, seen });
                    self.begin_changes().await;
                    if let Some(config) = self.refused.take_if(|config| files(config).any(|file| file == path)) {
                        self.apply(config).await;
                    }
                }
            }
            Change::Unreadable { path, error } => {
                tracing::error!(path = %path.display(), error, "a file can't be read: what it said before goes on");
            }
        }
    }

    /// Begins with all that may begin, by the configuration of now. The actors have heard of it when this is done, so that
    /// whatever comes later comes after it.
    async fn begin_changes(&mut self) {
        while let Some(Changed { path, bytes, seen }) =
            self.changes.begin(MAX_COMPILES, |path| self.plane.is_of_policy(path))
        {
            let answers = self.plane.file_changed(&path, &bytes, seen).await;
            self.under_way.spawn(async move {
                for answer in answers {
                    answer.await;
                }
                path
            });
        }
    }

    async fn config_changed(&mut self, path: &Path, bytes: &[u8]) {
        let builtins: Vec<&str> = sluicegate_builtins::names().collect();
        let parsed = match std::str::from_utf8(bytes) {
            Ok(text) => config::parse(text, path, &builtins).map_err(|errors| errors.to_string()),
            Err(error) => Err(format!("{}: not text: {error}", path.display())),
        };
        match parsed {
            Ok(config) => self.apply(config).await,
            Err(errors) => {
                tracing::error!("configuration refused, the old one goes on:\n{errors}");
                // What it said before that is not wanted any more, even if it could be had.
                self.refused = None;
                self.watch();
            }
        }
    }

    async fn apply(&mut self, config: Config) {
        match self.plane.apply(config.clone()).await {
            Ok(applied) => {
                self.refused = None;
                if applied.is_nothing() {
                    tracing::debug!("the configuration is the same as before");
                } else {
                    let Applied { clusters, routes, listeners, trusted_keys, .. } = applied;
                    tracing::info!(clusters, routes, listeners, trusted_keys, "configuration applied");
                }
                if !applied.needs_restart.is_empty() {
                    let keys = applied.needs_restart.join(", ");
                    tracing::warn!("these changes take effect at the next start only: {keys}");
                }
            }
            Err(error) => {
                tracing::error!("configuration refused, the old one goes on:\n{error}");
                self.refused = Some(config);
            }
        }
        self.watch();
    }

    /// Watches what matters now. Contents that were seen before are not reported again: nor is a policy that serves
    /// already, as it might take back what was done by hand in the meantime.
    fn watch(&mut self) {
        let wanted =
            self.file.iter().cloned().chain(files(self.plane.config())).chain(self.refused.iter().flat_map(files));
        let seen = |path: &PathBuf| {
            self.known.get(path).and_then(Option::as_ref).or_else(|| self.plane.policy_file(path)).cloned()
        };
        let known = wanted.map(|path| (path.clone(), seen(&path))).collect();
        self.known = known;
        self.watcher.watch(self.known.clone());
    }
}

/// The files that a configuration names.
fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    let policies = config.clusters.values().filter_map(|cluster| match &cluster.policy.source {
        PolicySource::File(path) => Some(path),
        PolicySource::Builtin(_) => None,
    });
    let signatures = config.clusters.values().filter(|_| !config.policy.trusted_keys.is_empty()).filter_map(
        |cluster| match &cluster.policy.source {
            PolicySource::File(path) => Some(signature_path(path)),
            PolicySource::Builtin(_) => None,
        },
    );
    let certificates = config.clusters.values().filter_map(|cluster| cluster.tls.as_ref()).flat_map(|tls| tls.files());
    let endpoints =
        config.clusters.values().filter_map(|cluster| cluster.discovery.as_ref()).filter_map(|from| from.file());
    let secured = config.listeners.iter().flat_map(|listener| listener.files()).chain(certificates);
    policies.chain(endpoints).chain(secured).cloned().chain(signatures)
}
