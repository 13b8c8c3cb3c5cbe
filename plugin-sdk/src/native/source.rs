//! What a policy asks of its endpoints and its request.

use super::{Cluster, Head, Said};
use crate::{Signal, endpoints::BLOCK};

#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(super) count: u32,
    pub(super) cluster: &'a dyn Cluster,
    pub(super) head: &'a dyn Head,
}

impl Source<'_> {
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(crate) fn id(&self, index: u32) -> u64 {
        self.cluster.id(index)
    }

    #[inline]
    pub(crate) fn weight(&self, index: u32) -> u32 {
        self.cluster.weight(index)
    }

    #[inline]
    pub(crate) fn read(&self, index: u32, signal: Signal) -> u64 {
        self.cluster.read(index, signal)
    }

    #[inline]
    pub(crate) fn read_block<R>(&self, start: u32, signal: Signal, use_block: impl FnOnce(&[u32; BLOCK]) -> R) -> R {
        let mut block = [0; BLOCK];
        self.cluster.read_block(start, signal, &mut block);
        use_block(&block)
    }

    pub(crate) fn address(&self, index: u32) -> String {
        self.cluster.address(index)
    }

    pub(crate) fn zone(&self, index: u32) -> String {
        self.cluster.zone(index)
    }

    pub(crate) fn label(&self, index: u32, key: &str) -> Option<String> {
        self.cluster.label(index, key)
    }

    pub(crate) fn method(&self) -> String {
        self.head.method()
    }

    pub(crate) fn path(&self) -> String {
        self.head.path()
    }

    pub(crate) fn authority(&self) -> String {
        self.head.authority()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.header(name)
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.head.cookie(name)
    }

    pub(crate) fn client_address(&self) -> String {
        self.head.client_address()
    }

    pub(crate) fn tried(&self, nth: u32) -> u32 {
        self.head.tried(nth)
    }

    pub(crate) fn body(&self, start: u32, length: u32) -> Vec<u8> {
        self.head.body(start, length)
    }

    pub(crate) fn probe(&self, index: u32) {
        self.cluster.probe(index);
    }

    pub(crate) fn reject(&self, status: u16, reason: &str) {
        self.head.take(Said::Reject { status, reason });
    }

    pub(crate) fn set_response_header(&self, name: &str, value: &str) {
        self.head.take(Said::ResponseHeader(name, value));
    }

    pub(crate) fn set_request_header(&self, name: &str, value: &str) {
        self.head.take(Said::RequestHeader(name, value));
    }

    pub(crate) fn then(&self, index: u32) {
        self.head.take(Said::Then(index));
    }

    pub(crate) fn hedge(&self, index: u32, after_us: u32) {
        self.head.take(Said::Hedge { index, after_us });
    }

    pub(crate) fn wants_explanation(&self) -> bool {
        self.head.wants_explanation()
    }

    pub(crate) fn explain(&self, why: &str) {
        self.head.take(Said::Explanation(why));
    }
}
