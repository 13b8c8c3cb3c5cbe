//! What the plane does when a file has other bytes than before.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use tokio::task::spawn_blocking;

use super::{Plane, cause};
use crate::{
    config::{self, Cluster, PolicySource},
    policies,
    tls::Secured,
    trust,
};

/// What is still to come of something that is under way already. How it ends is logged where it happens.
pub(crate) type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Lets an answer come that nobody looks at.
fn later(answer: impl Future<Output: Send> + Send + 'static) -> Answer {
    Box::pin(async move { drop(answer.await) })
}

impl Plane {
    /// Whether it takes a policy's code to follow a change of this file.
    pub(crate) fn is_of_policy(&self, path: &Path) -> bool {
        self.config.clusters.values().any(|cluster| match &cluster.policy.source {
            PolicySource::File(file) => file == path || trust::signature_path(file) == path,
            PolicySource::Builtin(_) => false,
        })
    }

    /// Takes in that a file has other bytes now. When this is done, whoever uses it has been told; what they make of it may
    /// take as long as a compile.
    pub(crate) async fn file_changed(&self, path: &PathBuf, bytes: &Arc<[u8]>, since: Instant) -> Vec<Answer> {
        let mut answers = self.policy_file_changed(path, bytes, since);
        answers.extend(self.signature_changed(path, since).await);
        answers.extend(self.tls_file_changed(path).await);
        answers.extend(self.endpoints_file_changed(path, bytes));
        answers
    }

    /// Takes in that a file which certificates or keys are read from has other bytes now. What does not work is
    /// logged, and what was there before goes on: a key may follow its certificate in a moment.
    async fn tls_file_changed(&self, path: &PathBuf) -> Option<Answer> {
        let listeners = self.config.listeners.iter().any(|listener| listener.files().any(|file| file == path));
        let secures = |cluster: &Cluster| cluster.tls.iter().any(|tls| tls.files().any(|file| file == path));
        let clusters: Vec<_> = self.config.clusters.iter().filter(|(_, cluster)| secures(cluster)).collect();
        if !listeners && clusters.is_empty() {
            return None;
        }
        let secured = match Secured::load(&self.config) {
            Ok(secured) => secured,
            Err(errors) => {
                let errors = errors.join("\n");
                tracing::error!(path = %path.display(), "certificates refused, the old ones go on: {errors}");
                return None;
            }
        };
        let mut changed = if listeners { self.set_listeners(&secured).await } else { Ok(()) };
        let set = |(name, cluster): (&Arc<str>, &Cluster)| {
            Some(self.clusters.get(name)?.set_settings(secured.settings(name, cluster)))
        };
        let answers: Vec<_> = clusters.into_iter().filter_map(set).collect();
        let path = path.clone();
        Some(later(async move {
            for answer in answers {
                changed = changed.and(answer.await);
            }
            match changed {
                Ok(()) => tracing::info!(path = %path.display(), "certificates in use"),
                Err(error) => tracing::error!(path = %path.display(), %error, "certificates could not be put to use"),
            }
        }))
    }

    /// Takes in that a file with endpoints has other bytes now. What does not work is logged, and those that were there
    /// before go on.
    fn endpoints_file_changed(&self, path: &Path, bytes: &[u8]) -> Vec<Answer> {
        let is_ours = |cluster: &Cluster| {
            cluster.discovery.as_ref().is_some_and(|from| from.file().is_some_and(|file| file == path))
        };
        let clusters: Vec<_> = self.config.clusters.iter().filter(|(_, cluster)| is_ours(cluster)).collect();
        if clusters.is_empty() {
            return Vec::new();
        }
        match config::parse_endpoints(&String::from_utf8_lossy(bytes), path) {
            Ok(endpoints) => {
                let handles = clusters.iter().filter_map(|(name, _)| self.clusters.get(*name));
                // It fails only when the workers are gone.
                handles.map(|handle| later(handle.set_endpoints(endpoints.clone()))).collect()
            }
            Err(errors) => {
                tracing::error!("endpoints refused, the old ones go on:\n{errors}");
                Vec::new()
            }
        }
    }

    /// Takes in that a policy's file has other bytes now: every cluster that uses it swaps.
    fn policy_file_changed(&self, path: &Path, bytes: &Arc<[u8]>, since: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (name, cluster) in &self.config.clusters {
            if cluster.policy.source == PolicySource::File(path.to_owned())
                && let Some(handle) = self.clusters.get(name)
            {
                let plugin = policies::with_bytes(&cluster.policy, Arc::clone(bytes), &self.trust.borrow());
                let name = policies::name(&cluster.policy);
                answers.push(later(handle.set_policy(name, plugin, Some(since), cause("its file changed"))));
            }
        }
        answers
    }

    /// Takes in that the signature of a policy's file is another one: a policy that was refused may be welcome now.
    async fn signature_changed(&self, path: &Path, since: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (name, cluster) in &self.config.clusters {
            let PolicySource::File(file) = &cluster.policy.source else { continue };
            let Some(handle) = self.clusters.get(name).filter(|_| trust::signature_path(file) == path) else {
                continue;
            };
            let (spec, limit) = (cluster.policy.clone(), self.means.engine.limits().module_bytes);
            let trust = self.trust.borrow().clone();
            match spawn_blocking(move || policies::fetch_checked(&spec, limit, &trust)).await {
                Ok(Ok(plugin)) => {
                    let why = cause("its signature changed");
                    answers.push(later(handle.set_policy(plugin.name.clone(), Ok(plugin), Some(since), why)));
                }
                Ok(Err(policies::FetchError::Refused(refusal))) => {
                    let (name, why) = (policies::name(&cluster.policy), cause("its signature changed"));
                    answers.push(later(handle.set_policy(name, Err(refusal), Some(since), why)));
                }
                Ok(Err(policies::FetchError::Unread(error))) => tracing::error!("a policy can't be read: {error}"),
                Err(error) => tracing::error!("a policy can't be read: {error}"),
            }
        }
        answers
    }
}
