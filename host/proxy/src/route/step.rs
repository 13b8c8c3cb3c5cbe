//! A request takes its route.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CONTENT_LENGTH, HOST},
};
use sluicegate_core::RateLimiter;

use super::{Route, RouteTable, Target, key::hash_of, path_change::Changed};
use crate::{
    cluster::Cluster, connection::ClientConnection, failure::Failure, handle::ControlError, mirror::mirror,
    request::Inbound, worker::Worker,
};

/// A route, as one worker uses it.
#[derive(Debug)]
pub(crate) struct WorkerRoute {
    pub(crate) route: Route,
    limiter: Option<Arc<RateLimiter>>,
    /// Where requests go, by shares.
    clusters: Vec<(Rc<Cluster>, u32)>,
    mirror: Option<Rc<Cluster>>,
}

/// What is next for a request.
#[derive(Debug)]
pub(crate) enum Step {
    /// One of this cluster's endpoints answers it.
    Forward(Rc<Cluster>),
    /// The route answers it.
    Answer(Response<Bytes>),
}

/// A route that makes of a path what can't be one.
const BAD_PATH: Failure = Failure::BadRequest("its route makes no path of this one");

impl WorkerRoute {
    /// The route at `index`, with the clusters that `find` knows.
    pub(crate) fn new(
        table: &RouteTable,
        index: usize,
        find: impl Fn(&Arc<str>) -> Result<Rc<Cluster>, ControlError>,
    ) -> Result<Rc<Self>, ControlError> {
        let route = table.routes()[index].clone();
        let clusters = route.clusters().map(|(name, share)| Ok((find(name)?, share))).collect::<Result<_, _>>()?;
        let mirror = route.mirror.as_ref().map(|mirror| find(&mirror.cluster)).transpose()?;
        Ok(Rc::new(Self { limiter: table.limiter(index).cloned(), clusters, mirror, route }))
    }

    /// Whether requests, or copies of them, go to this cluster.
    pub(crate) fn leads_to(&self, cluster: &Rc<Cluster>) -> bool {
        self.clusters.iter().map(|(own, _)| own).chain(&self.mirror).any(|own| Rc::ptr_eq(own, cluster))
    }

    /// Makes of a request what the route wants it to be, and says where it goes.
    pub(crate) fn take(&self, inbound: &mut Inbound, client: &ClientConnection, now: u64) -> Result<Step, Failure> {
        let route = &self.route;
        if let (Some(limit), Some(limiter)) = (&route.rate_limit, &self.limiter) {
            limiter.try_pass(limit, now).map_err(|wait_ns| Failure::RateLimited { wait_ns })?;
        }
        let rules = client.path_rules.as_ref();
        match &route.target {
            Target::Clusters(_) => {}
            Target::Redirect(redirect) => {
                let answer = redirect.answer(&route.matches.path, &inbound.head.parts, &client.scheme, rules);
                return answer.map(Step::Answer).ok_or(BAD_PATH);
            }
            Target::Respond(response) => return Ok(Step::Answer(response.answer())),
        }
        if let Some(max) = route.max_body_bytes {
            limit_body(inbound, max)?;
        }
        if !route.hash.is_empty() {
            inbound.hash = hash_of(&route.hash, &inbound.head);
        }
        let parts = &mut inbound.head.parts;
        if let Some(path) = &route.path {
            match path.apply(&route.matches.path, &parts.uri, rules) {
                Changed::Same => {}
                Changed::To(target) => parts.uri = target.into(),
                Changed::Bad => return Err(BAD_PATH),
            }
        }
        if let Some(host) = &route.host {
            parts.headers.insert(HOST, host.clone());
        }
        if !route.request_headers.is_empty() {
            route.request_headers.apply(&mut parts.headers);
        }
        if let (Some(cluster), Some(share)) = (&self.mirror, &route.mirror)
            && client.worker.rng.borrow_mut().below(100) < share.percent
        {
            mirror(cluster, inbound, client);
        }
        Ok(Step::Forward(Rc::clone(self.cluster(&client.worker))))
    }

    /// One of the clusters, each as often as its share is of all of them.
    fn cluster(&self, worker: &Worker) -> &Rc<Cluster> {
        if let [(only, _)] = &self.clusters[..] {
            return only;
        }
        let mut at = worker.rng.borrow_mut().below(self.clusters.iter().map(|(_, share)| share).sum());
        let mut clusters = self.clusters.iter();
        loop {
            // The shares add up to more than `at`, so there is a next one.
            let (cluster, share) = clusters.next().expect("shares that add up");
            match at.checked_sub(*share) {
                None => return cluster,
                Some(left) => at = left,
            }
        }
    }
}

fn limit_body(inbound: &mut Inbound, max: u64) -> Result<(), Failure> {
    let length = inbound.head.parts.headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > max => Err(Failure::BodyTooLarge { max }),
        _ => Ok(()),
    }
}
