//! What a policy knows of each endpoint.

use std::ops::{Index, IndexMut};

use crate::{Endpoint, Endpoints};

/// A value for each endpoint, which stays with the endpoint when others come and go.
///
/// [`follow`](Self::follow) the endpoints whenever they change; in between, a value is found by the endpoint's index
/// at the cost of an array access, and by its id at the cost of a binary search.
#[derive(Clone, Debug)]
pub struct PerEndpoint<T> {
    values: Vec<T>,
    // Sorted, each with its place in `values`.
    ids: Vec<(u64, u32)>,
}

impl<T> Default for PerEndpoint<T> {
    fn default() -> Self {
        Self { values: Vec::new(), ids: Vec::new() }
    }
}

impl<T> PerEndpoint<T> {
    /// Keeps the values of the endpoints that are still there, and makes one for each that is new.
    pub fn follow(&mut self, endpoints: &Endpoints, mut make: impl FnMut(Endpoint) -> T) {
        let mut before: Vec<Option<T>> = std::mem::take(&mut self.values).into_iter().map(Some).collect();
        let mut keep = |id| before.get_mut(place(&self.ids, id)?)?.take();
        self.values = endpoints.iter().map(|endpoint| keep(endpoint.id()).unwrap_or_else(|| make(endpoint))).collect();
        self.ids = endpoints.iter().map(|endpoint| (endpoint.id(), endpoint.index())).collect();
        self.ids.sort_unstable();
    }

    /// The value of the endpoint with this id, unless it is gone.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        self.values.get_mut(place(&self.ids, id)?)
    }

    /// The index of the endpoint with this id, unless it is gone.
    #[inline]
    pub fn index_of(&self, id: u64) -> Option<u32> {
        place(&self.ids, id).map(|index| index as u32)
    }

    /// The values in the order of the endpoints' indexes.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        &self.values
    }

    /// The same, to change them.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// All ids with their values, by id.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.ids.iter().map(|(id, index)| (*id, &self.values[*index as usize]))
    }
}

fn place(ids: &[(u64, u32)], id: u64) -> Option<usize> {
    ids.binary_search_by_key(&id, |(id, _)| *id).ok().map(|found| ids[found].1 as usize)
}

impl<T> Index<u32> for PerEndpoint<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.values[index as usize]
    }
}

impl<T> IndexMut<u32> for PerEndpoint<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.values[index as usize]
    }
}
