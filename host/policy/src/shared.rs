//! Numbers that a policy's instances share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use wasmtime::format_err;

/// 64 of them: eight cache lines. Enough for totals, a clock, a lock and a histogram; whoever needs a number for each
/// endpoint has the signals, which workers share already. With a fixed number there is nothing to allocate, to
/// bound or to run out of.
const SLOTS: usize = 64;

/// The numbers of one cluster's policy.
#[derive(Debug)]
pub(crate) struct SharedSlots([AtomicU64; SLOTS]);

impl Default for SharedSlots {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; SLOTS])
    }
}

impl SharedSlots {
    /// The same numbers, for a rehearsal to change as it likes.
    pub(crate) fn copy(&self) -> Arc<Self> {
        Arc::new(Self(std::array::from_fn(|slot| AtomicU64::new(self.0[slot].load(Relaxed)))))
    }

    pub(crate) fn get(&self, slot: u32) -> wasmtime::Result<u64> {
        Ok(self.slot(slot)?.load(Relaxed))
    }

    pub(crate) fn add(&self, slot: u32, delta: u64) -> wasmtime::Result<u64> {
        Ok(self.slot(slot)?.fetch_add(delta, Relaxed))
    }

    pub(crate) fn compare_and_set(&self, slot: u32, expected: u64, new: u64) -> wasmtime::Result<bool> {
        // Each number stands for itself: a policy can't see one that is older than what it has seen of the same slot.
        Ok(self.slot(slot)?.compare_exchange(expected, new, Relaxed, Relaxed).is_ok())
    }

    fn slot(&self, slot: u32) -> wasmtime::Result<&AtomicU64> {
        self.0.get(slot as usize).ok_or_else(|| format_err!("there is no slot {slot}: there are {SLOTS}"))
    }
}
