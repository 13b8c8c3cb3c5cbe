//! What is the same in the proxy and natively: the contract's calls, on a policy.

use std::time::Duration;

use crate::{
    AttemptResult, Endpoints, Policy, ProbeResult, Request, RestoreError, Setup, State, config, source::Source,
};

/// A policy, and which of the contract's optional calls it exports: made by [`export!`](crate::export).
pub trait Plugin: Policy {
    /// Whether it hears how requests went.
    const FEEDBACK: bool = false;
    /// Whether it hears what probes came to.
    const PROBING: bool = false;
    /// Whether it is called from time to time.
    const TIMER: bool = false;
    /// The schema of what it saves, if it does.
    const STATE: Option<u32> = None;

    #[doc(hidden)]
    fn deliver(&mut self, result: &AttemptResult, now: u64) {
        let _ = (result, now);
    }

    #[doc(hidden)]
    fn deliver_probe(&mut self, probe: &ProbeResult, endpoints: &Endpoints, now: u64) {
        let _ = (probe, endpoints, now);
    }

    #[doc(hidden)]
    fn do_tick(&mut self, endpoints: &Endpoints, now: u64) -> Option<Duration> {
        let _ = (endpoints, now);
        None
    }

    #[doc(hidden)]
    fn save_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    #[doc(hidden)]
    fn restore_bytes(&mut self, schema: u32, saved: &[u8], endpoints: &Endpoints) -> Result<(), RestoreError> {
        let _ = (schema, saved, endpoints);
        Err(RestoreError::new("this policy keeps no state"))
    }
}

#[doc(hidden)]
pub fn save_bytes<P: State>(policy: &P) -> Vec<u8> {
    // A type that JSON cannot express is the author's mistake; their tests meet it here. Without the error's own words,
    // which would bring all the formatting of text into the plugin.
    serde_json::to_vec(&policy.save()).unwrap_or_else(|_| panic!("the saved state cannot be written as JSON"))
}

#[doc(hidden)]
pub fn restore_bytes<P: State>(
    policy: &mut P,
    schema: u32,
    saved: &[u8],
    endpoints: &Endpoints,
) -> Result<(), RestoreError> {
    let saved = if schema == P::SCHEMA {
        config::read(saved).map_err(|error| RestoreError::new(format!("the state is unreadable: {error}")))?
    } else {
        P::convert(schema, saved)?
    };
    policy.restore(saved, endpoints)
}

pub(crate) fn configure<P: Policy>(json: &str, setup: Setup) -> Result<P, crate::ConfigError> {
    P::new(config::parse(json)?, setup)
}

#[inline]
pub(crate) fn pick<P: Policy>(policy: &mut P, source: Source<'_>, now: u64, hash: u64, attempt: u32) -> u32 {
    let request = Request { source, now, hash, attempt };
    policy.pick(&request, &Endpoints { source, attempt }).to_number()
}

/// The contract's number for when to tick next.
pub(crate) fn next_tick(after: Option<Duration>) -> u64 {
    // 0 is "never", so "at once" is as soon as can be.
    after.map_or(0, |after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX).max(1))
}
