//! What the proxy says of endpoints and the request, and what need not be asked twice.

#![allow(unsafe_code)] // Raw imports, and cells that the single thread makes safe: see the SAFETY comments.

use std::{cell::Cell, cell::UnsafeCell, mem::MaybeUninit};

use super::bindings::policy::sluicegate::policy::{endpoints, host, reply, request};
use crate::{Signal, endpoints::BLOCK};

#[link(wasm_import_module = "sluicegate:policy/endpoints@0.1.0")]
unsafe extern "C" {
    /// The same import as the bindings' `read`, which would be a call of a function that calls it.
    safe fn read(index: u32, signal: u32) -> u64;

    /// The same import as the bindings' `read_block`, which would copy the answer into a tuple of tuples.
    #[link_name = "read-block"]
    fn read_block(start: u32, signal: u32, answer: *mut [u32; BLOCK]);
}

/// Reads by index are scalar imports. What stays the same until the endpoints change is kept in the plugin's memory.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a>(pub(super) &'a Columns);

/// Counts, ids and weights of the endpoints there are. Each value is asked for when it is read first: a policy that does
/// not use them never asks for them, and its module does not even import them; one that looks at two endpoints of ten
/// thousand asks for two.
pub(super) struct Columns {
    count: Cell<u32>,
    ids: Column<u64>,
    weights: Column<u32>,
}

/// One value an endpoint, and the default where nobody has asked yet. No weight is 0; an id that is 0 is merely asked for
/// each time.
struct Column<T>(UnsafeCell<Vec<T>>);

impl<T: Copy + Default + PartialEq> Column<T> {
    #[inline]
    fn get(&self, index: u32, count: &Cell<u32>, ask: fn(u32) -> T) -> T {
        // SAFETY: there is one thread, and no reference into the column outlives this function or `clear`: values
        // are copied out. `ask` is an import, and the proxy does not call back from an import.
        let values = unsafe { &*self.0.get() };
        match values.get(index as usize) {
            Some(value) if *value != T::default() => *value,
            _ => self.ask(index, count, ask),
        }
    }

    #[cold]
    #[inline(never)]
    fn ask(&self, index: u32, count: &Cell<u32>, ask: fn(u32) -> T) -> T {
        // Past the last endpoint the proxy traps, as the contract says.
        let value = ask(index);
        // SAFETY: as in `get`; the reference that `get` has made is not used after it called this.
        let values = unsafe { &mut *self.0.get() };
        values.resize(count.get() as usize, T::default());
        if let Some(kept) = values.get_mut(index as usize) {
            *kept = value;
        }
        value
    }

    fn clear(&self) {
        // SAFETY: as in `get`.
        unsafe { (*self.0.get()).clear() };
    }
}

impl Columns {
    pub(super) const fn new() -> Self {
        Self {
            count: Cell::new(0),
            ids: Column(UnsafeCell::new(Vec::new())),
            weights: Column(UnsafeCell::new(Vec::new())),
        }
    }

    /// Forgets what was true of the endpoints before.
    pub(super) fn renew(&self) {
        self.count.set(endpoints::count());
        self.ids.clear();
        self.weights.clear();
    }
}

impl Source<'_> {
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.0.count.get()
    }

    #[inline]
    pub(crate) fn id(&self, index: u32) -> u64 {
        self.0.ids.get(index, &self.0.count, endpoints::id)
    }

    #[inline]
    pub(crate) fn weight(&self, index: u32) -> u32 {
        self.0.weights.get(index, &self.0.count, endpoints::weight)
    }

    #[inline]
    pub(crate) fn read(&self, index: u32, signal: Signal) -> u64 {
        read(index, signal as u32)
    }

    #[inline]
    pub(crate) fn read_block<R>(&self, start: u32, signal: Signal, use_block: impl FnOnce(&[u32; BLOCK]) -> R) -> R {
        // Aligned as the contract's u64; without the zeroes that would be overwritten at once.
        #[repr(align(8))]
        struct Answer(MaybeUninit<[u32; BLOCK]>);

        let mut answer = Answer(MaybeUninit::uninit());
        // SAFETY: the pointer is valid for the 256 bytes of the contract's `block` and aligned to 8, as the canonical
        // ABI wants it; the host writes all of them before it returns.
        let block = unsafe {
            read_block(start, signal as u32, answer.0.as_mut_ptr());
            answer.0.assume_init_ref()
        };
        use_block(block)
    }

    pub(crate) fn address(&self, index: u32) -> String {
        endpoints::address(index)
    }

    pub(crate) fn zone(&self, index: u32) -> String {
        endpoints::zone(index)
    }

    pub(crate) fn label(&self, index: u32, key: &str) -> Option<String> {
        endpoints::label(index, key)
    }

    pub(crate) fn method(&self) -> String {
        request::method()
    }

    pub(crate) fn path(&self) -> String {
        request::path()
    }

    pub(crate) fn authority(&self) -> String {
        request::authority()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        request::header(name)
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        request::cookie(name)
    }

    pub(crate) fn client_address(&self) -> String {
        request::client_address()
    }

    pub(crate) fn tried(&self, nth: u32) -> u32 {
        request::tried(nth)
    }

    pub(crate) fn body(&self, start: u32, length: u32) -> Vec<u8> {
        request::body(start, length)
    }

    pub(crate) fn probe(&self, index: u32) {
        host::probe(index);
    }

    pub(crate) fn reject(&self, status: u16, reason: &str) {
        reply::reject(status, reason);
    }

    pub(crate) fn set_response_header(&self, name: &str, value: &str) {
        reply::set_response_header(name, value);
    }

    pub(crate) fn set_request_header(&self, name: &str, value: &str) {
        reply::set_request_header(name, value);
    }

    pub(crate) fn then(&self, index: u32) {
        reply::then(index);
    }

    pub(crate) fn hedge(&self, index: u32, after_us: u32) {
        reply::hedge(index, after_us);
    }

    pub(crate) fn wants_explanation(&self) -> bool {
        reply::wants_explanation()
    }

    pub(crate) fn explain(&self, why: &str) {
        reply::explain(why);
    }
}
