//! Choosing by weight, often.

use crate::Rng;

/// Chooses places by weight in constant time, with one random number: the alias method, with tables built in linear
/// time (Vose, "A linear algorithm for generating random numbers with a given distribution", IEEE Transactions on
/// Software Engineering 17(9), 1991).
///
/// Collected from the weights, in the order of the places:
///
/// ```
/// # use sluicegate_sdk::{Rng, WeightedTable};
/// let table: WeightedTable = [1, 3].into_iter().collect();
/// let mut rng = Rng::new(1);
/// let second = (0..1000).filter(|_| table.choose(&mut rng) == Some(1)).count();
/// assert!((700..800).contains(&second));
/// ```
#[derive(Clone, Debug, Default)]
pub struct WeightedTable(Vec<Column>);

/// A place, and who gets what the place's own weight leaves of it.
#[derive(Clone, Copy, Debug)]
struct Column {
    // Of 2^32, how much is the place's own.
    own: u32,
    alias: u32,
}

impl WeightedTable {
    /// A place, as likely as its weight says; none when all weights are 0.
    #[inline]
    pub fn choose(&self, rng: &mut Rng) -> Option<u32> {
        let bits = rng.next_u64();
        let place = (((bits >> 32) * self.0.len() as u64) >> 32) as u32;
        let column = self.0.get(place as usize)?;
        Some(if (bits as u32) < column.own { place } else { column.alias })
    }
}

impl FromIterator<u32> for WeightedTable {
    fn from_iter<I: IntoIterator<Item = u32>>(weights: I) -> Self {
        let mut left: Vec<u64> = weights.into_iter().map(u64::from).collect();
        let total: u64 = left.iter().sum();
        if total == 0 {
            return Self::default();
        }
        // In units of 1/count of a weight, every column holds `total`.
        let count = left.len() as u64;
        left.iter_mut().for_each(|weight| *weight *= count);
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..left.len()).partition(|place| left[*place] < total);
        let mut columns: Vec<Column> = (0..count as u32).map(|alias| Column { own: u32::MAX, alias }).collect();
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            let own = ((u128::from(left[poor]) << 32) / u128::from(total)) as u32;
            columns[poor] = Column { own, alias: rich as u32 };
            left[rich] -= total - left[poor];
            if left[rich] < total {
                large.pop();
                small.push(rich);
            }
        }
        Self(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_shares(weights: &[u32]) {
        let table: WeightedTable = weights.iter().copied().collect();
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        // What the columns give each place, in 2^32ths of a column: exact but for the rounding of each column.
        let mut shares = vec![0_u64; weights.len()];
        for (place, column) in table.0.iter().enumerate() {
            shares[place] += u64::from(column.own);
            shares[column.alias as usize] += (1 << 32) - u64::from(column.own);
        }
        for (share, weight) in shares.iter().zip(weights) {
            let exact = (u128::from(*weight) * weights.len() as u128 * (1 << 32) / u128::from(total)) as u64;
            assert!(share.abs_diff(exact) <= weights.len() as u64, "{weights:?}: {share} for {exact}");
        }
    }

    #[test]
    fn shares_are_what_the_weights_say() {
        check_shares(&[1]);
        check_shares(&[1, 1, 1]);
        check_shares(&[1, 2, 3, 4]);
        check_shares(&[0, 5, 0]);
        check_shares(&[65_535, 1, 1, 1, 1]);
        check_shares(&(1..=200).collect::<Vec<u32>>());
    }

    #[test]
    fn nothing_to_choose_from() {
        for weights in [&[][..], &[0, 0]] {
            assert_eq!(weights.iter().copied().collect::<WeightedTable>().choose(&mut Rng::new(1)), None);
        }
    }

    #[test]
    fn no_weight_is_never_chosen() {
        let table: WeightedTable = [0, 1, 0, 3].into_iter().collect();
        let mut rng = Rng::new(3);
        assert!((0..10_000).all(|_| matches!(table.choose(&mut rng), Some(1 | 3))));
    }
}
