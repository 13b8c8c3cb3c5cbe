//! One live value of many endpoints at once.

use std::ops::Deref;

use crate::endpoints::BLOCK;

/// How many values the loops below take in a turn. In wasm, each turn of a loop costs a look at the deadline.
const TURN: usize = 16;

/// One live value of each of up to 64 endpoints that follow each other: a slice, and what can be asked of all of it at
/// once. A value that does not fit is `u32::MAX`.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// `u32::MAX` past the last endpoint.
    pub(crate) values: &'a [u32; BLOCK],
    pub(crate) length: usize,
}

impl Block<'_> {
    /// The smallest value; `u32::MAX` when there is none.
    #[inline]
    pub fn smallest(&self) -> u32 {
        let turns = self.turns().iter();
        turns
            .fold([u32::MAX; TURN], |least, turn| std::array::from_fn(|at| least[at].min(turn[at])))
            .into_iter()
            .fold(u32::MAX, u32::min)
    }

    /// How many have this value.
    #[inline]
    pub fn count_of(&self, value: u32) -> u32 {
        let turns = self.turns().iter();
        let counts = turns.fold([0; TURN], |counts: [u32; TURN], turn| {
            std::array::from_fn(|at| counts[at] + u32::from(turn[at] == value))
        });
        let past = if value == u32::MAX { self.turns().len() * TURN - self.length } else { 0 };
        counts.into_iter().sum::<u32>() - past as u32
    }

    /// Where the nth of those that have this value stands.
    #[inline]
    pub fn nth_of(&self, value: u32, nth: u32) -> Option<u32> {
        let mut places = (0..).zip(self.iter()).filter(|(_, other)| **other == value).map(|(place, _)| place);
        places.nth(nth as usize)
    }

    /// All values, and what is past them up to a whole turn.
    #[inline]
    fn turns(&self) -> &[[u32; TURN]] {
        let (turns, _) = self.values.as_chunks();
        &turns[..self.length.div_ceil(TURN)]
    }
}

impl Deref for Block<'_> {
    type Target = [u32];

    #[inline]
    fn deref(&self) -> &[u32] {
        &self.values[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_the_end_is_not_there() {
        for length in 0..=BLOCK {
            let mut values = [u32::MAX; BLOCK];
            for (place, value) in values[..length].iter_mut().enumerate() {
                *value = [7, u32::MAX, 5, 9, 5][place % 5];
            }
            let block = Block { values: &values, length };
            assert_eq!(block.smallest(), block.iter().copied().min().unwrap_or(u32::MAX));
            for value in [5, 7, 9, 1, u32::MAX] {
                let places: Vec<u32> = (0..length as u32).filter(|place| values[*place as usize] == value).collect();
                assert_eq!(block.count_of(value), places.len() as u32, "{length} {value}");
                let found: Vec<u32> = (0..).map_while(|nth| block.nth_of(value, nth)).collect();
                assert_eq!(found, places);
            }
        }
    }
}
