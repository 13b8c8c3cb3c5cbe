//! What is the same in the proxy and natively: the contract's calls, on a policy.

use crate::{AttemptResult, Endpoints, Feedback, Policy, Request, RestoreError, Setup, State, config, source::Source};

/// A policy, and which of the contract's optional calls it exports: made by [`export!`](crate::export).
pub trait Plugin: Policy {
    /// Whether it hears how requests went.
    const FEEDBACK: bool;
    /// The schema of what it saves, if it does.
    const STATE: Option<u32>;

    #[doc(hidden)]
    fn deliver(&mut self, result: &AttemptResult, now: u64) {
        let _ = (result, now);
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

#[doc(hidden)]
pub fn deliver<P: Feedback>(policy: &mut P, result: &AttemptResult, now: u64) {
    policy.on_result(result, now);
}
