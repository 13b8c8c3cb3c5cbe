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
            if index < count && !tried.contains(index) {
                tried.indexes[tried.len] = index;
                tried.len += 1;
            }
        }
        tried.indexes[..tried.len].sort_unstable();
        tried
    }

    /// Where those of them that are among `indexes` stand in there.
    fn places_in(&self, indexes: &[u32]) -> Self {
        let mut places = Self::default();
        for place in self.as_slice().iter().filter_map(|tried| indexes.iter().position(|index| index == tried)) {
            places.indexes[places.len] = place as u32;
            places.len += 1;
        }
        places.indexes[..places.len].sort_unstable();
        places
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
/// Each draw is one random number among the endpoints that are left, moved past the ones that are gone. This needs
/// no memory beside the few that are gone, and every ordered choice is equally likely.
#[derive(Clone)]
pub struct Sample<'a> {
    source: Source<'a>,
    drawn: [u32; MOST],
    len: u32,
    next: u32,
}

const MOST: usize = 8;

impl<'a> Sample<'a> {
    /// The most that can be drawn: beyond these, more choices cost more than they help.
    pub const MAX_CHOICES: u32 = MOST as u32;

    #[inline]
    pub(crate) fn new(endpoints: Endpoints<'a>, rng: &mut Rng, choices: u32) -> Self {
        let Endpoints { source, attempt } = endpoints;
        Self::places(source, source.count(), || Tried::of(source, attempt), attempt, rng, choices)
    }

    /// The same, of some endpoints.
    #[inline]
    pub(crate) fn of(endpoints: Endpoints<'a>, indexes: &[u32], rng: &mut Rng, choices: u32) -> Self {
        let Endpoints { source, attempt } = endpoints;
        let tried = || Tried::of(source, attempt).places_in(indexes);
        let mut sample = Self::places(source, indexes.len() as u32, tried, attempt, rng, choices);
        for place in &mut sample.drawn[..sample.len as usize] {
            *place = indexes[*place as usize];
        }
        sample
    }

    /// Draws of `count` places, except for those that were tried.
    #[inline]
    fn places(
        source: Source<'a>,
        count: u32,
        tried: impl FnOnce() -> Tried,
        attempt: u32,
        rng: &mut Rng,
        choices: u32,
    ) -> Self {
        if attempt > 0 || choices > 2 {
            return Self::draw(source, count, tried(), rng, choices);
        }
        // What nearly every request needs, spelled out: a third of the time.
        let [first, second] = if choices == 2 { two(count, rng) } else { [rng.below(count), 0] };
        Self { source, drawn: [first, second, 0, 0, 0, 0, 0, 0], len: choices.min(count), next: 0 }
    }

    #[inline(never)]
    fn draw(source: Source<'a>, count: u32, tried: Tried, rng: &mut Rng, choices: u32) -> Self {
        let mut gone = [0; Tried::MAX + MOST];
        gone[..tried.len].copy_from_slice(tried.as_slice());
        let left = count - tried.len as u32;
        let len = choices.min(Self::MAX_CHOICES).min(left);
        let mut drawn = [0; MOST];
        for (nth, draw) in drawn[..len as usize].iter_mut().enumerate() {
            let gone = &mut gone[..=tried.len + nth];
            let mut index = rng.below(left - nth as u32);
            // Those that are gone, except for the last place, which is free for this one.
            let mut place = 0;
            while place < gone.len() - 1 && gone[place] <= index {
                index += 1;
                place += 1;
            }
            gone[place..].rotate_right(1);
            gone[place] = index;
            *draw = index;
        }
        Self { source, drawn, len, next: 0 }
    }
}

/// Two different places of `count`; of a single one, the first is there.
#[inline]
pub(crate) fn two(count: u32, rng: &mut Rng) -> [u32; 2] {
    let [first, second] = rng.two_below([count, count.saturating_sub(1)]);
    [first, second + u32::from(second >= first)]
}

impl<'a> Iterator for Sample<'a> {
    type Item = Endpoint<'a>;

    #[inline]
    fn next(&mut self) -> Option<Endpoint<'a>> {
        if self.next == self.len {
            return None;
        }
        let index = self.drawn[self.next as usize % self.drawn.len()];
        self.next += 1;
        Some(Endpoint { source: self.source, index })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.len - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Sample<'_> {}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
