//! What the plane does when a file has other bytes than before.

use std::{
    path::{Path, PathBuf},
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

impl Plane {
    /// Takes in that a file which certificates or keys are read from has other bytes now. What does not work is
    /// logged, and what was there before goes on: a key may follow its certificate in a moment.
    pub(crate) async fn tls_file_changed(&self, path: &PathBuf) {
        let listeners = self.config.listeners.iter().any(|listener| listener.files().any(|file| file == path));
        let secures = |cluster: &Cluster| cluster.tls.iter().any(|tls| tls.files().any(|file| file == path));
        let clusters: Vec<_> = self.config.clusters.iter().filter(|(_, cluster)| secures(cluster)).collect();
        if !listeners && clusters.is_empty() {
            return;
        }
        let secured = match Secured::load(&self.config) {
            Ok(secured) => secured,
            Err(errors) => {
                let errors = errors.join("\n");
                tracing::error!(path = %path.display(), "certificates refused, the old ones go on: {errors}");
                return;
            }
        };
        let mut changed = if listeners { self.set_listeners(&secured).await } else { Ok(()) };
        for (name, cluster) in clusters {
            if let Some(handle) = self.clusters.get(name) {
                changed = changed.and(handle.set_settings(secured.settings(name, cluster)).await);
            }
        }
        match changed {
            Ok(()) => tracing::info!(path = %path.display(), "certificates in use"),
            Err(error) => tracing::error!(path = %path.display(), %error, "certificates could not be put to use"),
        }
    }

    /// Takes in that a file with endpoints has other bytes now. What does not work is logged, and those that were there
    /// before go on.
    pub(crate) async fn endpoints_file_changed(&self, path: &Path, bytes: &[u8]) {
        let is_ours = |cluster: &Cluster| {
            cluster.discovery.as_ref().is_some_and(|from| from.file().is_some_and(|file| file == path))
        };
        let clusters: Vec<_> = self.config.clusters.iter().filter(|(_, cluster)| is_ours(cluster)).collect();
        if clusters.is_empty() {
            return;
        }
        match config::parse_endpoints(&String::from_utf8_lossy(bytes), path) {
            Ok(endpoints) => {
                for handle in clusters.iter().filter_map(|(name, _)| self.clusters.get(*name)) {
                    // It fails only when the workers are gone.
                    let _ = handle.set_endpoints(endpoints.clone()).await;
                }
            }
            Err(errors) => tracing::error!("endpoints refused, the old ones go on:\n{errors}"),
        }
    }

    /// Takes in that a policy's file has other bytes now: every cluster that uses it swaps.
    pub(crate) async fn policy_file_changed(&self, path: &Path, bytes: &Arc<[u8]>, since: Instant) {
        for (name, cluster) in &self.config.clusters {
            if cluster.policy.source == PolicySource::File(path.to_owned())
                && let Some(handle) = self.clusters.get(name)
            {
                // How it ends is logged where it happens.
                let plugin = policies::with_bytes(&cluster.policy, Arc::clone(bytes), &self.trust.borrow());
                let name = policies::name(&cluster.policy);
                let _ = handle.set_policy(name, plugin, Some(since), cause("its file changed")).await;
            }
        }
    }

    /// Takes in that the signature of a policy's file is another one: a policy that was refused may be welcome now.
    pub(crate) async fn signature_changed(&self, path: &Path, since: Instant) {
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
                    let _ = handle.set_policy(plugin.name.clone(), Ok(plugin), Some(since), why).await;
                }
                Ok(Err(policies::FetchError::Refused(refusal))) => {
                    let (name, why) = (policies::name(&cluster.policy), cause("its signature changed"));
                    let _ = handle.set_policy(name, Err(refusal), Some(since), why).await;
                }
                Ok(Err(policies::FetchError::Unread(error))) => tracing::error!("a policy can't be read: {error}"),
                Err(error) => tracing::error!("a policy can't be read: {error}"),
            }
        }
    }
}
