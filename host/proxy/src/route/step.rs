//! A request takes its route.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header::HOST};
use http_body::Body;
use sluicegate_core::RateLimiter;

use super::{HeaderChanges, Route, RouteTable, Target, key::hash_of, path_change::Changed};
use crate::{
    cluster::Cluster, connection::ClientConnection, failure::Failure, forwarding::scheme_of, handle::ControlError,
    mirror::mirror, request::Inbound, worker::Worker,
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
        let route = unshared(&table.routes()[index]);
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
                let parts = &inbound.head.parts;
                let answer = redirect.answer(&route.matches.path, parts, scheme_of(&parts.headers, client), rules);
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
            parts.headers.all_mut().insert(HOST, host.clone());
        }
        if !route.request_headers.is_empty() {
            route.request_headers.apply(parts.headers.all_mut());
        }
        if let (Some(cluster), Some(share)) = (&self.mirror, &route.mirror)
            && client.worker.rng.borrow_mut().below(100) < share.percent
        {
            mirror(cluster, share.max_body_bytes, inbound, client);
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

/// A copy with memory of its own. Values of headers and bodies count their references: workers that use the same ones
/// would slow each other down.
fn unshared(route: &Route) -> Route {
    let value = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    let name = |name: &HeaderName| HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone());
    let lines =
        |lines: &[(HeaderName, HeaderValue)]| lines.iter().map(|(own, text)| (name(own), value(text))).collect();
    let changes = |changes: &HeaderChanges| HeaderChanges {
        remove: changes.remove.iter().map(name).collect(),
        set: lines(&changes.set),
        add: lines(&changes.add),
    };
    let mut own = Route {
        host: route.host.as_ref().map(value),
        request_headers: changes(&route.request_headers),
        response_headers: changes(&route.response_headers),
        ..route.clone()
    };
    if let Target::Respond(response) = &mut own.target {
        response.body = Bytes::copy_from_slice(&response.body);
        response.content_type = response.content_type.as_ref().map(value);
    }
    own
}

/// Refuses a body that says that it is too long, and has any other cut off where it gets so.
fn limit_body(inbound: &Inbound, max: u64) -> Result<(), Failure> {
    let Some(upload) = inbound.body.upload() else { return Ok(()) };
    if inbound.body.size_hint().lower() > max {
        return Err(Failure::BodyTooLarge { max });
    }
    upload.left.set(Some(max));
    Ok(())
}
