//! End to end: real origins, the real binary, real clients, real wasm.

#![allow(clippy::disallowed_methods)] // Tests may look at the clock.

mod abi;
mod attacks;
mod conformance;
mod contract;
mod debugging;
mod descriptors;
mod dev;
mod discovery;
mod draining;
mod faults;
mod forwarding;
mod guide;
mod h2;
mod health;
mod hostile;
mod informed;
mod kit;
mod languages;
mod ledger;
mod lifecycle;
mod limits;
mod mirrors;
mod mutations;
mod over_http2;
mod policies;
mod protocols;
mod reload;
mod retries;
mod routes;
mod saving;
mod secured;
mod state;
mod suites;
mod swaps;
mod trials;
mod trust;
mod upgrade;
mod websocket;

use sluicegate_tests::Origin;

/// A configuration with one cluster, `api`, for everything.
fn config(policy: &str, origins: &[Origin]) -> String {
    let endpoints: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    format!("[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {policy}\nendpoints = [{}]\n", endpoints.join(", "))
}
