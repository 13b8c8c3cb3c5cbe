//! Policies compiled natively, looking at the very snapshot that the wasm lanes look at.

use std::sync::Arc;

use sluicegate_core::{BLOCK, ClusterSnapshot, Signal};
use sluicegate_sdk::native::Cluster;

/// A host's snapshot, as native policies see it.
pub struct NativeCluster(pub Arc<ClusterSnapshot>);

fn signal(signal: sluicegate_sdk::Signal) -> Signal {
    // Both follow the contract's order.
    Signal::from_number(signal as u32).expect("the contract's signals")
}

impl Cluster for NativeCluster {
    fn count(&self) -> u32 {
        self.0.endpoints().len() as u32
    }

    fn id(&self, index: u32) -> u64 {
        self.0.endpoints()[index as usize].id.0
    }

    fn weight(&self, index: u32) -> u32 {
        self.0.endpoints()[index as usize].spec.weight
    }

    fn read(&self, index: u32, kind: sluicegate_sdk::Signal) -> u64 {
        self.0.read(index, signal(kind), 0).expect("an index in range")
    }

    fn read_block(&self, start: u32, kind: sluicegate_sdk::Signal, block: &mut [u32; BLOCK]) {
        let mut bytes = [[0; 4]; BLOCK];
        self.0.read_block(start, signal(kind), 0, &mut bytes);
        *block = bytes.map(u32::from_le_bytes);
    }

    fn address(&self, index: u32) -> String {
        self.0.endpoints()[index as usize].spec.address.to_string()
    }

    fn zone(&self, index: u32) -> String {
        self.0.endpoints()[index as usize].spec.zone.to_string()
    }

    fn label(&self, index: u32, key: &str) -> Option<String> {
        self.0.endpoints()[index as usize].spec.labels.get(key).cloned()
    }
}
