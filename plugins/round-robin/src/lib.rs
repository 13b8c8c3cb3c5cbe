//! Round robin: each endpoint in turn.
//!
//! It looks at nothing, not at weights either: the right choice for equal endpoints and equal requests. (Among the
//! first to propose it for networks was Nagle, "On packet switches with infinite storage", RFC 970, 1985.)
//!
//! Every worker goes round by itself, so each starts at its own place on the circle: in step, they would send their
//! requests to the same endpoint at the same time.

use sluicegate_sdk::{ConfigError, Endpoints, NoConfig, Pick, Policy, Request, Setup, export};

/// The policy.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    setup: Setup,
    next: Option<u32>,
}

impl Policy for RoundRobin {
    type Config = NoConfig;

    fn new(_: NoConfig, setup: Setup) -> Result<Self, ConfigError> {
        Ok(Self { setup, next: None })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        // Going on from the same place keeps the workers apart, as far as there is room for it.
        let next = self.next.unwrap_or_else(|| start(self.setup, endpoints.len()));
        self.next = next.checked_rem(endpoints.len());
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        let Some(mut index) = self.next else { return Pick::DECLINE };
        for _ in 0..endpoints.len() {
            let after = if index + 1 < endpoints.len() { index + 1 } else { 0 };
            if !request.is_tried(index) {
                self.next = Some(after);
                return Pick::index(index);
            }
            index = after;
        }
        Pick::DECLINE
    }
}

/// The workers' places, at equal distances.
fn start(setup: Setup, count: u32) -> u32 {
    (u64::from(setup.worker) * u64::from(count) / u64::from(setup.workers.max(1))) as u32
}

export!(RoundRobin);

#[cfg(test)]
mod tests;
