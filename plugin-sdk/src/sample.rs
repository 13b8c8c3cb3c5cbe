//! Choosing some of many.

use crate::{Endpoint, Endpoints, Rng, source::Source};

/// The endpoints that a request has been to already, in ascending order. Empty on a first attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    indexes: [u32; Self::MAX],
    len: usize,
}

impl Tried {
    /// How many are remembered. A request that has been to more than these does not care where it goes next.
    pub const MAX: usize = 8;

    #[inline]
    pub(crate) fn of(source: Source<'_>, attempt: u32) -> Self {
        if attempt == 0 { Self::default() } else { Self::ask(source) }
    }

    #[cold]
    fn ask(source: Source<'_>) -> Self {
        let mut tried = Self::default();
        let indexes = (0..).map(|nth| source.tried(nth)).take_while(|index| *index != u32::MAX);
        let count = source.count();
        for index in indexes.take(Self::MAX) {
            let place = tried.as_slice().partition_point(|other| *other < index);
            if index < count && !tried.contains(index) {
                tried.indexes.copy_within(place..tried.len, place + 1);
                tried.indexes[place] = index;
                tried.len += 1;
            }
        }
        tried
    }

    /// Their indexes, ascending.
    #[inline]
    pub fn as_slice(&self) -> &[u32] {
        &self.indexes[..self.len]
    }

    /// Whether the endpoint at `index` is one of them.
    #[inline]
    pub fn contains(&self, index: u32) -> bool {
        self.as_slice().contains(&index)
    }
}

/// Different endpoints, at random: what [`Endpoints::sample`] returns.
///
/// Each draw is one random number among those that are left, moved past the ones that are gone. This needs no
/// memory beside the few that are gone, and every ordered choice is equally likely.
pub struct Sample<'a, 'r> {
    endpoints: Endpoints<'a>,
    rng: &'r mut Rng,
    gone: [u32; CAPACITY],
    len: usize,
    left: u32,
}

const CAPACITY: usize = Tried::MAX + Sample::MAX_CHOICES as usize;

impl<'a, 'r> Sample<'a, 'r> {
    /// The most that can be drawn: beyond these, more choices cost more than they help.
    pub const MAX_CHOICES: u32 = 8;

    #[inline]
    pub(crate) fn new(endpoints: Endpoints<'a>, tried: Tried, rng: &'r mut Rng, choices: u32) -> Self {
        let mut gone = [0; CAPACITY];
        let len = tried.as_slice().len();
        gone[..len].copy_from_slice(tried.as_slice());
        let left = choices.min(Self::MAX_CHOICES).min(endpoints.len() - len as u32);
        Self { endpoints, rng, gone, len, left }
    }
}

impl<'a> Iterator for Sample<'a, '_> {
    type Item = Endpoint<'a>;

    #[inline]
    fn next(&mut self) -> Option<Endpoint<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut index = self.rng.below(self.endpoints.len() - self.len as u32);
        let mut place = 0;
        while place < self.len && self.gone[place] <= index {
            index += 1;
            place += 1;
        }
        if self.left > 0 {
            self.gone.copy_within(place..self.len, place + 1);
            self.gone[place] = index;
            self.len += 1;
        }
        Some(Endpoint { source: self.endpoints.source, index })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Sample<'_, '_> {}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
