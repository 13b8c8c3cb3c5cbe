//! The request that is being balanced.

use crate::{Reply, Rng, Tried, source::Source};

/// The request that is being balanced.
///
/// What comes with the call is free: [`now`](Self::now), [`hash`](Self::hash), [`attempt`](Self::attempt).
/// Everything else is asked of the proxy when it is asked for, and what is not asked for costs nothing.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) now: u64,
    pub(crate) hash: u64,
    pub(crate) attempt: u32,
}

impl<'a> Request<'a> {
    /// The time, in nanoseconds from an arbitrary start.
    #[inline]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The hash of what the route is keyed by (a header, a cookie, the client); 0 when it is not keyed.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The hash, or a random number for a request that is not keyed. A policy that hashes spreads such requests over all
    /// endpoints this way; hashing nothing, it would send them all to the same one.
    #[inline]
    pub fn hash_or_random(&self, rng: &mut Rng) -> u64 {
        if self.hash == 0 { rng.next_u64() } else { self.hash }
    }

    /// 0 at first, 1 for the first retry.
    #[inline]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The endpoints that this request has been to already.
    #[inline]
    pub fn tried(&self) -> Tried {
        Tried::of(self.source, self.attempt)
    }

    /// Whether this request has been to the endpoint at `index` already.
    ///
    /// Asks the proxy each time, except on a first attempt: for more than a few endpoints, keep what
    /// [`tried`](Self::tried) returns.
    #[inline]
    pub fn is_tried(&self, index: u32) -> bool {
        self.attempt > 0 && self.tried().contains(index)
    }

    /// The method, as in `GET`.
    pub fn method(&self) -> String {
        self.source.method()
    }

    /// Path and query, as the endpoint gets them.
    pub fn path(&self) -> String {
        self.source.path()
    }

    /// The host that was asked for, with its port if it came with one.
    pub fn authority(&self) -> String {
        self.source.authority()
    }

    /// The first value of a header, by its lower-case name. Values that are not UTF-8 are not shown.
    pub fn header(&self, name: &str) -> Option<String> {
        self.source.header(name)
    }

    /// The first cookie of that name.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.source.cookie(name)
    }

    /// The address of the client's end of the connection, without its port.
    pub fn client_address(&self) -> String {
        self.source.client_address()
    }

    /// Up to `length` bytes of the beginning of its body, from `start` on: of as much as
    /// [`needs_body_prefix`](crate::Setup::needs_body_prefix) asked for and as came in time. Empty past the end of that.
    pub fn body(&self, start: u32, length: u32) -> Vec<u8> {
        self.source.body(start, length)
    }

    /// For what a pick says beside its answer.
    #[inline]
    pub fn reply(&self) -> Reply<'a> {
        Reply(self.source)
    }
}
