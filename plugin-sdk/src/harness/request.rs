//! Simulated requests.

use std::{cell::RefCell, collections::BTreeMap};

use super::{SimCluster, SimReply};
use crate::native::{Head, Said};

/// A request of a test.
#[derive(Clone, Debug)]
pub struct SimRequest {
    method: String,
    path: String,
    authority: String,
    headers: BTreeMap<String, String>,
    cookies: BTreeMap<String, String>,
    client_address: String,
    body: Vec<u8>,
    pub(super) hash: u64,
    pub(super) tried: Vec<u64>,
}

impl Default for SimRequest {
    fn default() -> Self {
        Self::get("/")
    }
}

impl SimRequest {
    /// A `GET` of this path, from a client that is not keyed by anything.
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".into(),
            path: path.into(),
            authority: "example.com".into(),
            headers: BTreeMap::new(),
            cookies: BTreeMap::new(),
            client_address: "192.0.2.1".into(),
            body: Vec::new(),
            hash: 0,
            tried: Vec::new(),
        }
    }

    /// The same, with another method.
    pub fn method(self, method: &str) -> Self {
        Self { method: method.into(), ..self }
    }

    /// The same, for this host.
    pub fn authority(self, authority: &str) -> Self {
        Self { authority: authority.into(), ..self }
    }

    /// The same, with this header; its name is in lower case.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// The same, with this cookie.
    pub fn cookie(mut self, name: &str, value: &str) -> Self {
        self.cookies.insert(name.into(), value.into());
        self
    }

    /// The same, from this client.
    pub fn client_address(self, address: &str) -> Self {
        Self { client_address: address.into(), ..self }
    }

    /// The same, with this body. A policy sees as much of it as it needs ahead of its picks.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The same, with this hash of what its route is keyed by.
    pub fn hash(self, hash: u64) -> Self {
        Self { hash, ..self }
    }

    /// The same, after one more attempt: at the endpoint with this id.
    pub fn tried(mut self, endpoint: u64) -> Self {
        self.tried.push(endpoint);
        self
    }

    pub(super) fn attempt(&self) -> u32 {
        self.tried.len() as u32
    }

    /// This request as a policy of this cluster sees it: it has been to those endpoints that are still there.
    pub(super) fn seen_in(&self, cluster: &SimCluster, body_prefix: u32) -> Seen<'_> {
        let place = |id: &u64| cluster.iter().position(|endpoint| endpoint.id() == *id);
        let tried = self.tried.iter().filter_map(place).map(|index| index as u32).collect();
        let body = &self.body[..self.body.len().min(body_prefix as usize)];
        Seen { request: self, tried, body, count: cluster.len() as u32, reply: RefCell::default() }
    }
}

pub(super) struct Seen<'a> {
    request: &'a SimRequest,
    pub(super) tried: Vec<u32>,
    body: &'a [u8],
    count: u32,
    pub(super) reply: RefCell<SimReply>,
}

impl Head for Seen<'_> {
    fn tried(&self, nth: u32) -> u32 {
        self.tried.tried(nth)
    }

    fn method(&self) -> String {
        self.request.method.clone()
    }

    fn path(&self) -> String {
        self.request.path.clone()
    }

    fn authority(&self) -> String {
        self.request.authority.clone()
    }

    fn header(&self, name: &str) -> Option<String> {
        self.request.headers.get(name).cloned()
    }

    fn cookie(&self, name: &str) -> Option<String> {
        self.request.cookies.get(name).cloned()
    }

    fn client_address(&self) -> String {
        self.request.client_address.clone()
    }

    fn body(&self, start: u32, length: u32) -> Vec<u8> {
        let rest = self.body.get(start as usize..).unwrap_or_default();
        rest[..rest.len().min(length as usize)].to_vec()
    }

    fn wants_explanation(&self) -> bool {
        true
    }

    fn take(&self, said: Said<'_>) {
        self.reply.borrow_mut().take(said, self.count);
    }
}
