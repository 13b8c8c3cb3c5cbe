//! What is measured. Each scenario starts what it needs, and leaves nothing behind.

mod environment;
mod generator;
mod pairs;
pub(super) mod peers;
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
    /// Whether it measures the other build, too.
    pub(crate) has_guided: bool,
}

impl Scenario {
    const fn new(name: &'static str, title: &'static str, run: fn(&Setting) -> Result<Findings>) -> Self {
        Self { name, title, run, has_guided: false }
    }
}

/// All of them, in this order.
pub(crate) const SCENARIOS: [Scenario; 9] = [
    Scenario::new("environment", "what this machine is", environment::run),
    Scenario::new("generator", "the load generator beside other tools", generator::run),
    Scenario::new("response", "response time against load, HTTP/1.1 and HTTP/2", response::run),
    Scenario::new("picks", "what a pick costs, in every lane", picks::run),
    Scenario::new("pairs", "a policy in wasm and the native fallback, in pairs", pairs::run),
    Scenario::new("workers", "two workers against one", workers::run),
    Scenario::new("swap", "hot swaps under load", swap::run),
    Scenario::new("policies", "policies with good and bad origins", policies::run),
    Scenario { has_guided: true, ..Scenario::new("peers", "beside NGINX and HAProxy", peers::run) },
];
