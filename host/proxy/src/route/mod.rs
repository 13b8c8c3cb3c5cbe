//! Which requests go where, and what is made of them on the way.

mod answer;
mod header_changes;
mod key;
mod matching;
mod path_change;
mod pattern;
mod step;
mod table;

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use sluicegate_core::RateLimit;

pub use answer::{FixedResponse, Redirect};
pub use header_changes::HeaderChanges;
pub use key::HashKey;
pub use matching::{HeaderMatch, HostMatch, PathMatch, RouteMatch};
pub use path_change::PathChange;
pub use pattern::{BadPattern, BadTemplate, Pattern, Template};
pub use table::RouteTable;

pub(crate) use step::{Step, WorkerRoute};

/// What becomes of the requests that match.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which requests these are.
    pub matches: RouteMatch,
    /// Where they go.
    pub target: Target,
    /// What of a request is hashed for the policy: the first of these that it has. Nothing when empty.
    pub hash: Vec<HashKey>,
    /// Another path.
    pub path: Option<PathChange>,
    /// Another host.
    pub host: Option<HeaderValue>,
    /// What changes in the request's headers, last of all.
    pub request_headers: HeaderChanges,
    /// What changes in the response's, also in those of the proxy itself.
    pub response_headers: HeaderChanges,
    /// How many requests may come.
    pub rate_limit: Option<RateLimit>,
    /// Who gets a copy of some of them.
    pub mirror: Option<Mirror>,
    /// How long all of a request may take, from its head to the end of the response; for ever when there is none.
    pub timeout: Option<Duration>,
    /// How long a request's body may be.
    pub max_body_bytes: Option<u64>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To one of these clusters, by its share. At least one has a share, and all shares together fit into 32 bits.
    Clusters(Vec<(Arc<str>, u32)>),
    /// Elsewhere, as the client is told.
    Redirect(Redirect),
    /// Nowhere: this is the answer.
    Respond(FixedResponse),
}

/// Who gets copies of requests, in percent. What they answer is thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The cluster.
    pub cluster: Arc<str>,
    /// Of how many requests in a hundred.
    pub percent: u32,
    /// How long the body of a request may be of which there is a copy.
    pub max_body_bytes: usize,
}

impl Mirror {
    /// What most calls of an API fit in; 128 copies, as many as a worker has at a time, then take up 8 MiB.
    pub const MAX_BODY_BYTES: usize = 64 * 1024;
}

impl Route {
    /// A route that does nothing but lead to a cluster.
    pub fn to_cluster(matches: RouteMatch, cluster: impl Into<Arc<str>>) -> Self {
        Self::new(matches, Target::Clusters(vec![(cluster.into(), 1)]))
    }

    /// A route that does nothing else.
    pub fn new(matches: RouteMatch, target: Target) -> Self {
        Self {
            matches,
            target,
            hash: Vec::new(),
            path: None,
            host: None,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            rate_limit: None,
            mirror: None,
            timeout: None,
            max_body_bytes: None,
        }
    }

    /// The names of the clusters that it leads to.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        let clusters = if let Target::Clusters(clusters) = &self.target { &clusters[..] } else { &[] };
        clusters.iter().map(|(name, share)| (name, *share))
    }
}
