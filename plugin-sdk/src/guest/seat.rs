//! Where a plugin's instance lives.

#![allow(unsafe_code)] // A cell that the single thread makes safe: see the SAFETY comments.

use std::{cell::UnsafeCell, panic};

use super::source::{Columns, Source};
use crate::{AttemptResult, Endpoints, Level, Plugin, ProbeResult, Setup, plugin};

/// The place of the one policy that a module instance runs.
pub struct Seat<P> {
    policy: UnsafeCell<Option<P>>,
    columns: Columns,
}

// SAFETY: the contract has no threads. A module instance is called by one thread at a time, and always from outside:
// imports do not call back, so no call begins before the one before it has ended.
unsafe impl<P> Sync for Seat<P> {}

impl<P: Plugin> Seat<P> {
    /// A seat that nobody has been configured for.
    #[expect(clippy::new_without_default, reason = "it is made in a static only")]
    pub const fn new() -> Self {
        Self { policy: UnsafeCell::new(None), columns: Columns::new() }
    }

    /// The policy, for as long as one call of the proxy takes.
    #[expect(clippy::mut_from_ref, reason = "one call at a time")]
    #[inline]
    fn policy(&self) -> &mut P {
        // SAFETY: every exported function takes this reference once and lets go of it when it returns, and there is
        // no other call before that (see `Sync`). A policy cannot name its seat, so it cannot take another.
        let policy = unsafe { &mut *self.policy.get() };
        policy.as_mut().expect("`configure` comes first")
    }

    #[inline]
    fn source(&self) -> Source<'_> {
        Source(&self.columns)
    }

    #[doc(hidden)]
    pub fn configure(&self, config: &str, setup: Setup) -> Result<(), String> {
        panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("panicked");
            let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
            crate::log(Level::Error, &format!("panic{}: {message}", place.unwrap_or_default()));
        }));
        let policy = plugin::configure(config, setup).map_err(|error| error.to_string())?;
        // SAFETY: as in `policy`; no reference to the one before is left.
        unsafe { *self.policy.get() = Some(policy) };
        Ok(())
    }

    #[doc(hidden)]
    pub fn endpoints_changed(&self, now: u64) {
        self.columns.renew();
        self.policy().endpoints_changed(&self.endpoints(), now);
    }

    #[doc(hidden)]
    #[inline]
    pub fn pick(&self, now: u64, hash: u64, attempt: u32) -> u32 {
        plugin::pick(self.policy(), self.source(), now, hash, attempt)
    }

    #[doc(hidden)]
    #[inline]
    pub fn on_result(&self, result: &AttemptResult, now: u64) {
        self.policy().deliver(result, now);
    }

    #[doc(hidden)]
    pub fn on_probe(&self, probe: &ProbeResult, now: u64) {
        self.policy().deliver_probe(probe, &self.endpoints(), now);
    }

    #[doc(hidden)]
    pub fn tick(&self, now: u64) -> u64 {
        plugin::next_tick(self.policy().do_tick(&self.endpoints(), now))
    }

    #[doc(hidden)]
    pub fn save(&self) -> Vec<u8> {
        self.policy().save_bytes()
    }

    #[doc(hidden)]
    pub fn restore(&self, schema: u32, saved: &[u8]) -> Result<(), String> {
        self.policy().restore_bytes(schema, saved, &self.endpoints()).map_err(|error| error.to_string())
    }

    fn endpoints(&self) -> Endpoints<'_> {
        Endpoints { source: self.source(), attempt: 0 }
    }
}
