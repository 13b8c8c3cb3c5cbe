//! Policies compiled natively, looking at the very snapshot that the wasm lanes look at.

use std::{cell::RefCell, sync::Arc};

use sluicegate_core::{BLOCK, ClusterSnapshot, Signal};
use sluicegate_sdk::native::Cluster;

/// A host's snapshot, as native policies see it.
pub struct NativeCluster {
    snapshot: Arc<ClusterSnapshot>,
    now: u64,
    asked: RefCell<Vec<u32>>,
}

impl NativeCluster {
    /// The snapshot, as it is at this time.
    pub fn new(snapshot: Arc<ClusterSnapshot>, now: u64) -> Self {
        Self { snapshot, now, asked: RefCell::default() }
    }

    /// The indexes that the policy has asked to probe.
    pub fn asked(self) -> Vec<u32> {
        self.asked.into_inner()
    }
}

fn signal(signal: sluicegate_sdk::Signal) -> Signal {
    // Both follow the contract's order.
    Signal::from_number(signal as u32).expect("the contract's signals")
}

impl Cluster for NativeCluster {
    fn count(&self) -> u32 {
        self.snapshot.endpoints().len() as u32
    }

    fn id(&self, index: u32) -> u64 {
        self.snapshot.endpoints()[index as usize].id.0
    }

    fn weight(&self, index: u32) -> u32 {
        self.snapshot.endpoints()[index as usize].spec.weight
    }

    fn read(&self, index: u32, kind: sluicegate_sdk::Signal) -> u64 {
        self.snapshot.read(index, signal(kind), self.now).expect("an index in range")
    }

    fn read_block(&self, start: u32, kind: sluicegate_sdk::Signal, block: &mut [u32; BLOCK]) {
        let mut bytes = [[0; 4]; BLOCK];
        self.snapshot.read_block(start, signal(kind), self.now, &mut bytes);
        *block = bytes.map(u32::from_le_bytes);
    }

    fn address(&self, index: u32) -> String {
        self.snapshot.endpoints()[index as usize].spec.address.to_string()
    }

    fn zone(&self, index: u32) -> String {
        self.snapshot.endpoints()[index as usize].spec.zone.to_string()
    }

    fn label(&self, index: u32, key: &str) -> Option<String> {
        self.snapshot.endpoints()[index as usize].spec.labels.get(key).cloned()
    }

    fn probe(&self, index: u32) {
        self.asked.borrow_mut().push(index);
    }
}
