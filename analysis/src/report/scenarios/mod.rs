//! What is measured. Each scenario starts what it needs, and leaves nothing behind.

mod environment;
mod generator;
mod pairs;
mod peers;
mod picks;
mod policies;
mod response;
mod swap;
mod workers;

use anyhow::Result;

use super::{Setting, data::Findings};

/// A scenario.
pub(crate) struct Scenario {
    /// The name of its files.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) title: &'static str,
    pub(crate) run: fn(&Setting) -> Result<Findings>,
}

/// All of them, in this order.
pub(crate) const SCENARIOS: [Scenario; 9] = [
    Scenario { name: "environment", title: "what this machine is", run: environment::run },
    Scenario { name: "generator", title: "the load generator beside other tools", run: generator::run },
    Scenario { name: "response", title: "response time against load, HTTP/1.1 and HTTP/2", run: response::run },
    Scenario { name: "picks", title: "what a pick costs, in every lane", run: picks::run },
    Scenario { name: "pairs", title: "a policy in wasm and the native fallback, in pairs", run: pairs::run },
    Scenario { name: "workers", title: "two workers against one", run: workers::run },
    Scenario { name: "swap", title: "hot swaps under load", run: swap::run },
    Scenario { name: "policies", title: "policies with good and bad origins", run: policies::run },
    Scenario { name: "peers", title: "beside NGINX and HAProxy", run: peers::run },
];
