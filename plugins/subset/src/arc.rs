//! The part of the ring that a proxy uses, in whole numbers: with fractions, proxies could disagree about an end.

use sluicegate_sdk::Rng;

/// A part of the ring. The ring is `proxies * endpoints` long, so that both a proxy and an endpoint have a whole number
/// of units: an endpoint `proxies`, and a proxy `endpoints`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arc {
    proxies: u64,
    endpoints: u64,
    start: u64,
    length: u64,
}

impl Arc {
    /// What this proxy of so many uses, when it wants to see `aperture` endpoints at least.
    pub(crate) fn new(proxies: u32, proxy: u32, endpoints: u32, aperture: u32) -> Self {
        let [proxies, proxy, endpoints, aperture] = [proxies, proxy, endpoints, aperture].map(u64::from);
        let wanted = aperture.min(endpoints) * proxies;
        // Finagle rounds up to whole widths of a proxy: only then is nobody used more than others.
        let widths = wanted.div_ceil(endpoints.max(1)).min(proxies);
        if widths == proxies {
            return Self { proxies, endpoints, start: 0, length: proxies * endpoints };
        }
        Self { proxies, endpoints, start: proxy * endpoints, length: widths * endpoints }
    }

    /// The places of the endpoints in it, those of which only a part is in it too.
    pub(crate) fn places(&self) -> impl Iterator<Item = u32> {
        let (first, end) = match self.length {
            0 => (0, 0),
            length => (self.start / self.proxies, (self.start + length).div_ceil(self.proxies)),
        };
        // Both ends may be parts of the same endpoint.
        let places = (first..end).take(self.endpoints as usize);
        places.map(|place| (place % self.endpoints) as u32)
    }

    /// Two places, by how much of each is in it; the same one twice if there is but one.
    #[inline]
    pub(crate) fn draw_two(&self, rng: &mut Rng) -> Option<(u32, u32)> {
        if self.length == 0 {
            return None;
        }
        let first = self.draw(rng);
        // Drawing until they differ is the same as drawing the second from what the first leaves. With two equal
        // endpoints, eight draws find the same one in one case of 256.
        let second = (0..8).map(|_| self.draw(rng)).find(|second| *second != first);
        Some((first, second.unwrap_or(first)))
    }

    #[inline]
    fn draw(&self, rng: &mut Rng) -> u32 {
        let at = ((u128::from(rng.next_u64()) * u128::from(self.length)) >> 64) as u64;
        let place = (self.start + at) / self.proxies;
        (if place < self.endpoints { place } else { place - self.endpoints }) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Rng, *};

    fn places(arc: &Arc) -> Vec<u32> {
        arc.places().collect()
    }

    #[test]
    fn three_proxies_and_ten_endpoints() {
        // A proxy is as wide as three endpoints and a third. Four take two widths.
        let arcs = [0, 1, 2].map(|proxy| Arc::new(3, proxy, 10, 4));
        assert_eq!(places(&arcs[0]), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(places(&arcs[1]), [3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(places(&arcs[2]), [6, 7, 8, 9, 0, 1, 2, 3]);
        // Three take one.
        assert_eq!(places(&Arc::new(3, 0, 10, 3)), [0, 1, 2, 3]);
    }

    #[test]
    fn one_proxy_uses_all_and_no_endpoint_is_no_problem() {
        assert_eq!(places(&Arc::new(1, 0, 5, 2)), [0, 1, 2, 3, 4]);
        assert_eq!(places(&Arc::new(7, 6, 3, 12)), [0, 1, 2]);
        assert_eq!(places(&Arc::new(3, 1, 0, 12)), [] as [u32; 0]);
        assert_eq!(Arc::new(3, 1, 0, 12).draw_two(&mut Rng::new(1)), None);
        assert_eq!(Arc::new(3, 1, 1, 12).draw_two(&mut Rng::new(1)), Some((0, 0)));
        assert_eq!(Arc::default().draw_two(&mut Rng::new(1)), None);
    }

    proptest! {
        /// Finagle's "Ring.range has a valid size", and: all proxies together lie on each endpoint equally often.
        #[test]
        fn apertures_are_wide_enough_and_even(proxies in 1_u32..70, endpoints in 1_u32..70, aperture in 1_u32..20) {
            let mut covered = vec![0_u64; endpoints as usize];
            let mut widths = 0;
            for proxy in 0..proxies {
                let arc = Arc::new(proxies, proxy, endpoints, aperture);
                let places = places(&arc);
                let mut distinct = places.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), places.len());
                prop_assert!(places.len() as u32 >= aperture.min(endpoints), "{}", places.len());
                for unit in arc.start..arc.start + arc.length {
                    covered[(unit / u64::from(proxies)) as usize % endpoints as usize] += 1;
                }
                widths += arc.length;
            }
            prop_assert!(covered.iter().all(|units| units * u64::from(endpoints) == widths), "{:?}", covered);
        }

        #[test]
        fn draws_are_in_the_aperture(proxies in 1_u32..9, proxy in 0_u32..9, endpoints in 1_u32..30) {
            let arc = Arc::new(proxies, proxy % proxies, endpoints, 3);
            let (places, mut rng) = (places(&arc), Rng::new(5));
            for _ in 0..50 {
                let (first, second) = arc.draw_two(&mut rng).unwrap();
                prop_assert!(places.contains(&first) && places.contains(&second));
            }
        }
    }
}
