//! What a policy asks of the proxy by itself, whatever endpoint or request it looks at.

use super::bindings::policy::sluicegate::policy::{host, needs, shared};

#[derive(Clone, Debug)]
pub(crate) struct CounterHandle(u32);

impl CounterHandle {
    pub(crate) fn new(name: &str) -> Self {
        Self(host::counter(name))
    }

    #[inline]
    pub(crate) fn add(&self, delta: u64) {
        host::add(self.0, delta);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct GaugeHandle(u32);

impl GaugeHandle {
    pub(crate) fn new(name: &str) -> Self {
        Self(host::gauge(name))
    }

    #[inline]
    pub(crate) fn set(&self, value: f64) {
        host::set(self.0, value);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SharedHandle;

impl SharedHandle {
    pub(crate) fn new() -> Self {
        Self
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> u64 {
        shared::get(slot)
    }

    #[inline]
    pub(crate) fn add(&self, slot: u32, delta: u64) -> u64 {
        shared::add(slot, delta)
    }

    #[inline]
    pub(crate) fn compare_and_set(&self, slot: u32, expected: u64, new: u64) -> bool {
        shared::compare_and_set(slot, expected, new)
    }
}

pub(crate) fn need_body_prefix(bytes: u32) {
    needs::body_prefix(bytes);
}

pub(crate) fn need_load_reports() {
    needs::load_reports();
}
