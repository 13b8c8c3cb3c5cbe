//! What both lanes do around a call: the deadline, the time, the request's head, the naming of faults.

use std::{mem, sync::Arc, time::Duration};

use wasmtime::Store;

use crate::{Engine, Fault, RequestHead, deadline, state};

/// A store, ready for calls.
pub(super) struct Session {
    pub(super) store: Store<state::HostState>,
    wants_request: bool,
    pick_timeout: Duration,
    setup_timeout: Duration,
}

impl Session {
    pub(super) fn new(engine: &Engine, surroundings: state::Surroundings) -> Self {
        let wants_request = surroundings.uses.request;
        let state = state::HostState::new(surroundings, &engine.limits, Arc::clone(&engine.pacer));
        let mut store = Store::new(&engine.wasm, state);
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_callback(deadline::at_tick);
        store.set_epoch_deadline(1);
        if engine.is_metered {
            // It never fails where fuel is counted, and no call comes near to using it up.
            let _ = store.set_fuel(u64::MAX);
        }
        let (pick_timeout, setup_timeout) = (engine.limits.pick_timeout, engine.limits.setup_timeout);
        Self { store, wants_request, pick_timeout, setup_timeout }
    }

    /// Before a call that may build tables.
    pub(super) fn begin_setup(&mut self, callback: &'static str) {
        self.begin(callback, self.setup_timeout);
    }

    /// Before a call that a request waits for.
    #[inline]
    pub(super) fn begin_short(&mut self, callback: &'static str, now: u64) {
        self.store.data_mut().now = now;
        self.begin(callback, self.pick_timeout);
    }

    #[inline]
    fn begin(&mut self, callback: &'static str, limit: Duration) {
        self.store.data_mut().begin(callback, limit);
        self.store.set_epoch_deadline(1);
    }

    /// Before a pick: hands the request over, to a policy that asks for it or when it has been somewhere already. Tells
    /// whether it did.
    #[inline]
    pub(super) fn begin_pick(&mut self, now: u64, request: &mut RequestHead) -> bool {
        self.begin_short("pick", now);
        let lends = self.wants_request || !request.tried.is_empty();
        if lends {
            self.lend(request);
        }
        lends
    }

    #[inline(never)]
    fn lend(&mut self, request: &mut RequestHead) {
        self.store.data_mut().request = Some(mem::take(request));
    }

    /// After a pick that a request was handed to, however it went.
    #[inline(never)]
    pub(super) fn take_back(&mut self, request: &mut RequestHead) {
        *request = self.store.data_mut().request.take().unwrap_or_default();
    }

    /// The instructions executed so far, where they are counted.
    pub(super) fn instructions(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| u64::MAX - left)
    }

    /// Names what made a call end, if it did not return.
    #[inline]
    pub(super) fn named<T>(&mut self, result: wasmtime::Result<T>) -> Result<T, Fault> {
        result.map_err(|error| self.store.data_mut().fault(&error))
    }
}
