//! Endpoints that are found rather than listed: in a file that is watched, or by asking DNS.
//!
//! What is found goes to the cluster's actor, as a list from the configuration would. Whatever fails, an unreadable
//! file, a server that does not answer, an empty answer, leaves the endpoints as they are; and what fails for one kind of
//! address, IPv4 or IPv6, leaves those of that kind.

mod names;
mod resolver;

use std::{collections::BTreeMap, sync::Arc};

use sluicegate_core::EndpointSpec;

use crate::config::{self, Config, Discovery};

pub(crate) use names::Names;

/// Endpoints by cluster.
pub(crate) type Found = BTreeMap<Arc<str>, Vec<EndpointSpec>>;

/// What the files say that a configuration names; everything that is wrong with them is said at once.
pub(crate) fn read_files(config: &Config) -> Result<Found, Vec<String>> {
    let (mut found, mut errors) = (Found::new(), Vec::new());
    for (name, cluster) in &config.clusters {
        if let Some(Discovery::File(path)) = &cluster.discovery {
            match config::load_endpoints(path) {
                Ok(endpoints) => drop(found.insert(Arc::clone(name), endpoints)),
                Err(error) => errors.push(format!("cluster.{name}.endpoints: {error}")),
            }
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}
