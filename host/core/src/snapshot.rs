//! The immutable picture of a cluster that requests are served from.

use std::{collections::HashMap, sync::Arc};

use crate::{BLOCK, Endpoint, EndpointId, EndpointSpec, Live, LiveArena, Signal};

/// Who can be picked. Whatever changes a cluster makes a new one of these.
#[derive(Debug)]
pub struct ClusterSnapshot {
    /// The cluster's name in the configuration.
    pub name: Arc<str>,
    /// Grows by one with every change.
    pub generation: u64,
    endpoints: Box<[Arc<Endpoint>]>,
    hidden: Box<[Arc<Endpoint>]>,
    // The endpoints' signals once more, side by side, so that a scan follows one pointer fewer each.
    live: Box<[Live]>,
    /// For each block of endpoints, whether their signals lie side by side in this order, as those of endpoints do
    /// that joined together.
    in_order: Box<[bool]>,
}

impl ClusterSnapshot {
    /// The first picture of a cluster, with nobody in it.
    pub fn empty(name: &str) -> Self {
        Self {
            name: name.into(),
            generation: 0,
            endpoints: Box::default(),
            hidden: Box::default(),
            live: Box::default(),
            in_order: Box::default(),
        }
    }

    /// The next picture. An endpoint that stays keeps its id and its signals; a new one joins at `now`, in
    /// nanoseconds. Addresses are unique: of two equal ones, the first counts.
    pub fn next(&self, specs: &[EndpointSpec], arena: &mut LiveArena, now: u64) -> Self {
        let mut before: HashMap<EndpointId, &Arc<Endpoint>> =
            self.endpoints.iter().map(|endpoint| (endpoint.id, endpoint)).collect();
        let mut seen = HashMap::new();
        let mut endpoints = Vec::with_capacity(specs.len());
        for spec in specs {
            let id = EndpointId::of(spec.address);
            if seen.insert(id, ()).is_some() {
                continue;
            }
            endpoints.push(match before.remove(&id) {
                Some(same) if same.spec == *spec => Arc::clone(same),
                known => Arc::new(Endpoint {
                    id,
                    name: spec.address.to_string().into(),
                    spec: spec.clone(),
                    live: known.map_or_else(|| arena.allocate(now), |endpoint| endpoint.live.clone()),
                    watch: None,
                }),
            });
        }
        self.showing(endpoints, Vec::new())
    }

    /// The next picture, of endpoints that somebody else keeps the list of. The `hidden` ones may not be picked for the
    /// time being. Their addresses are unique.
    pub fn showing(&self, endpoints: Vec<Arc<Endpoint>>, hidden: Vec<Arc<Endpoint>>) -> Self {
        let live: Box<[Live]> = endpoints.iter().map(|endpoint| endpoint.live.clone()).collect();
        let in_order = |block: &[Live]| block.windows(2).all(|pair| pair[0].is_followed_by(&pair[1]));
        Self {
            name: Arc::clone(&self.name),
            generation: self.generation + 1,
            endpoints: endpoints.into(),
            hidden: hidden.into(),
            in_order: live.chunks(BLOCK).map(in_order).collect(),
            live,
        }
    }

    /// Who can be picked; their order is the policies' index.
    #[inline]
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Who belongs to the cluster and can't be picked now. No policy sees them.
    pub fn hidden(&self) -> &[Arc<Endpoint>] {
        &self.hidden
    }

    /// The endpoint at a policy's index.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(index as usize)
    }

    /// One live value of the endpoint at `index`.
    #[inline]
    pub fn read(&self, index: u32, signal: Signal, now: u64) -> Option<u64> {
        Some(self.live.get(index as usize)?.read(signal, now))
    }

    /// The live values of endpoints from `start` on, little-endian, as a policy's memory wants them; `u32::MAX` for a
    /// value that does not fit and for whatever lies past the last endpoint.
    #[inline]
    pub fn read_block(&self, start: u32, signal: Signal, now: u64, block: &mut [[u8; 4]]) {
        let live = self.live.get(start as usize..).unwrap_or_default();
        let (values, past) = block.split_at_mut(live.len().min(block.len()));
        let in_order =
            (start as usize).is_multiple_of(BLOCK) && self.in_order.get(start as usize / BLOCK) == Some(&true);
        // The signal that full scans read gets loops of its own.
        if let (Signal::InFlight, true, [first, ..]) = (signal, in_order, live) {
            first.copy_in_flight(values);
        } else if signal == Signal::InFlight {
            for (value, live) in values.iter_mut().zip(live) {
                *value = live.in_flight().to_le_bytes();
            }
        } else {
            for (value, live) in values.iter_mut().zip(live) {
                *value = u32::try_from(live.read(signal, now)).unwrap_or(u32::MAX).to_le_bytes();
            }
        }
        past.as_flattened_mut().fill(u8::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InFlight;

    fn specs(ports: &[u16]) -> Vec<EndpointSpec> {
        ports.iter().map(|port| EndpointSpec::new(([127, 0, 0, 1], *port).into())).collect()
    }

    fn snapshot(ports: &[u16]) -> (ClusterSnapshot, LiveArena) {
        let mut arena = LiveArena::default();
        (ClusterSnapshot::empty("test").next(&specs(ports), &mut arena, 0), arena)
    }

    #[test]
    fn who_stays_keeps_identity_and_signals() {
        let (first, mut arena) = snapshot(&[1, 2, 3]);
        let _request = InFlight::begin(first.get(2).unwrap().live.clone());
        let mut changed = specs(&[3, 4]);
        changed[0].weight = 7;
        let second = first.next(&changed, &mut arena, 9);
        assert_eq!(second.generation, first.generation + 1);
        assert_eq!(second.get(0).unwrap().id, first.get(2).unwrap().id);
        assert_eq!(second.get(0).unwrap().spec.weight, 7);
        assert_eq!(second.read(0, Signal::InFlight, 0), Some(1));
        assert_eq!(second.read(1, Signal::InFlight, 0), Some(0));
        assert_eq!(second.read(2, Signal::InFlight, 0), None);
    }

    #[test]
    fn who_is_hidden_for_a_while_keeps_identity_and_signals() {
        let (all, _) = snapshot(&[1, 2, 3]);
        let _request = InFlight::begin(all.get(1).unwrap().live.clone());
        let some = |indexes: &[u32]| indexes.iter().map(|index| Arc::clone(all.get(*index).unwrap())).collect();
        let hidden = all.showing(some(&[0, 2]), some(&[1]));
        assert_eq!((hidden.generation, hidden.endpoints().len()), (all.generation + 1, 2));
        assert_eq!(hidden.read(1, Signal::InFlight, 0), Some(0));
        let shown = hidden.showing(all.endpoints().to_vec(), Vec::new());
        assert_eq!(shown.get(1).unwrap().id, all.get(1).unwrap().id);
        assert_eq!(shown.read(1, Signal::InFlight, 0), Some(1));
    }

    #[test]
    fn equal_addresses_count_once() {
        assert_eq!(snapshot(&[1, 2, 1]).0.endpoints().len(), 2);
    }

    #[test]
    fn a_block_ends_in_the_largest_number() {
        let ports: Vec<u16> = (1..=70).collect();
        let (snapshot, _) = snapshot(&ports);
        let _request = InFlight::begin(snapshot.get(65).unwrap().live.clone());
        let read = |start, signal| {
            let mut block = [[9; 4]; BLOCK];
            snapshot.read_block(start, signal, 0, &mut block);
            block.map(u32::from_le_bytes)
        };
        let block = read(64, Signal::InFlight);
        assert_eq!(block[..7], [0, 1, 0, 0, 0, 0, u32::MAX]);
        assert!(block[6..].iter().all(|value| *value == u32::MAX));
        for signal in Signal::ALL {
            // There was no report yet.
            assert_eq!(read(0, signal)[0] == u32::MAX, signal == Signal::ReportAgeMs);
            assert_eq!(read(u32::MAX, signal), [u32::MAX; BLOCK]);
        }
    }

    #[test]
    fn a_block_reads_the_same_whatever_the_order_of_places() {
        let (first, mut arena) = snapshot(&[1, 2, 3, 4]);
        let _requests: Vec<_> =
            [1, 2, 2, 3, 3, 3].map(|index| InFlight::begin(first.get(index).unwrap().live.clone())).into();
        for order in [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6], [1, 3, 2, 4], [4, 3, 2, 1], [1, 2, 4, 5]] {
            let next = first.next(&specs(&order), &mut arena, 0);
            let mut block = [[9; 4]; BLOCK];
            next.read_block(0, Signal::InFlight, 0, &mut block);
            let read = block.map(u32::from_le_bytes);
            assert_eq!(read[..4], order.map(|port| [0, 1, 2, 3, 0, 0][usize::from(port) - 1]), "{order:?}");
            assert_eq!(read[4], u32::MAX);
        }
    }
}
