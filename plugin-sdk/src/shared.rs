//! What the workers' instances know together.

use crate::source::SharedHandle;

/// 64 numbers that all instances of a policy share, over all workers and from one version to the next: got by
/// [`Setup::shared`](crate::Setup::shared). They begin as 0.
///
/// A number can be anything at any time, as the other workers change it: what is true of it is what
/// [`add`](Self::add) and [`compare_and_set`](Self::compare_and_set) return. A version that numbers its slots
/// differently has to take other slots, because the numbers of the one before are still there.
///
/// A slot has to be below [`Shared::SLOTS`].
#[derive(Clone, Debug)]
pub struct Shared(pub(crate) SharedHandle);

impl Shared {
    /// How many there are.
    pub const SLOTS: u32 = 64;

    /// The number in a slot.
    #[inline]
    pub fn get(&self, slot: u32) -> u64 {
        self.0.get(slot)
    }

    /// Adds, wrapping around, and returns what it was before.
    #[inline]
    pub fn add(&self, slot: u32, delta: u64) -> u64 {
        self.0.add(slot, delta)
    }

    /// Sets the slot if it has the expected number; whether it did.
    #[inline]
    pub fn compare_and_set(&self, slot: u32, expected: u64, new: u64) -> bool {
        self.0.compare_and_set(slot, expected, new)
    }
}
