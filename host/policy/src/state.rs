//! What an instance's host functions work on: the endpoints shown, the request being balanced, limits, the log.

use std::{sync::Arc, time::Duration};

use sluicegate_core::{ClusterSnapshot, EndpointId, Signal};
use wasmtime::bail;

use crate::{
    Asked, Fault, Needs, RequestHead, Uses,
    deadline::Deadline,
    engine::{Limits, Pacer},
    fault::Trace,
    limiter::Limiter,
    meters::{Meters, Side},
    shared::SharedSlots,
};

/// The longest line that a policy may log; the rest is cut off.
pub(crate) const LOG_BYTES: usize = 1024;
/// How many lines a policy may log a second: enough to debug with, too few to fill a disk.
const LOG_LINES_PER_S: u32 = 10;

/// What an instance is made with, beside its code.
pub(crate) struct Surroundings {
    /// The policy's name.
    pub(crate) policy: Arc<str>,
    pub(crate) uses: Uses,
    pub(crate) shared: Arc<SharedSlots>,
}

/// The state behind one instance.
pub(crate) struct HostState {
    pub(crate) snapshot: Arc<ClusterSnapshot>,
    pub(crate) now: u64,
    /// The request being balanced, during a pick of a policy that imports `request`.
    pub(crate) request: Option<RequestHead>,
    pub(crate) asked: Asked,
    pub(crate) needs: Needs,
    pub(crate) meters: Meters,
    pub(crate) shared: Arc<SharedSlots>,
    /// Whether somebody reads explanations.
    pub(crate) explains: bool,
    pub(crate) deadline: Deadline,
    pub(crate) limiter: Limiter,
    /// The module's memory and allocator; of a core module only, and once it stands.
    pub(crate) guest: Option<Guest>,
    pub(crate) pacer: Arc<Pacer>,
    log: Log,
}

impl HostState {
    pub(crate) fn new(surroundings: Surroundings, limits: &Limits, pacer: Arc<Pacer>) -> Self {
        let Surroundings { policy, shared, .. } = surroundings;
        Self {
            snapshot: Arc::new(ClusterSnapshot::empty("")),
            now: 0,
            request: None,
            asked: Asked::default(),
            needs: Needs::default(),
            meters: Meters::default(),
            shared,
            explains: false,
            deadline: Deadline::new("start", limits.setup_timeout),
            limiter: Limiter::new(limits.memory_bytes),
            guest: None,
            pacer,
            log: Log { policy, window: 0, lines: 0, dropped: 0, last_error: None },
        }
    }

    /// The endpoint at an index that a policy named.
    pub(crate) fn endpoint(&self, index: u32) -> wasmtime::Result<&sluicegate_core::Endpoint> {
        match self.snapshot.get(index) {
            Some(endpoint) => Ok(endpoint),
            None => bail!("endpoint index {index} is out of range: the count is {}", self.snapshot.endpoints().len()),
        }
    }

    #[inline]
    pub(crate) fn read(&self, index: u32, signal: Signal) -> wasmtime::Result<u64> {
        match self.snapshot.read(index, signal, self.now) {
            Some(value) => Ok(value),
            None => bail!("endpoint index {index} is out of range: the count is {}", self.snapshot.endpoints().len()),
        }
    }

    pub(crate) fn request(&self) -> wasmtime::Result<&RequestHead> {
        match &self.request {
            Some(request) => Ok(request),
            None => bail!("`request` can be asked during `pick` only"),
        }
    }

    pub(crate) fn path(&self) -> wasmtime::Result<String> {
        let uri = &self.request()?.parts.uri;
        Ok(uri.path_and_query().map_or("/", |target| target.as_str()).to_owned())
    }

    pub(crate) fn authority(&self) -> wasmtime::Result<String> {
        let parts = &self.request()?.parts;
        if let Some(authority) = parts.uri.authority() {
            return Ok(authority.as_str().to_owned());
        }
        Ok(self.header("host")?.unwrap_or_default())
    }

    pub(crate) fn header(&self, name: &str) -> wasmtime::Result<Option<String>> {
        let value = self.request()?.parts.headers.get(name);
        Ok(value.and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).map(str::to_owned))
    }

    pub(crate) fn cookie(&self, name: &str) -> wasmtime::Result<Option<String>> {
        let value = self.request()?.cookie(name);
        Ok(value.and_then(|value| std::str::from_utf8(value).ok()).map(str::to_owned))
    }

    /// The current index of the nth endpoint that the request has been to. One that has left since has none.
    pub(crate) fn tried(&self, nth: u32) -> wasmtime::Result<u32> {
        // A policy that asks for nothing else of a request is lent only one that has been somewhere.
        if self.request.is_none() && self.deadline.callback == "pick" {
            return Ok(u32::MAX);
        }
        let index_of = |id: &EndpointId| self.snapshot.endpoints().iter().position(|endpoint| endpoint.id == *id);
        let index = self.request()?.tried.iter().filter_map(index_of).nth(nth as usize);
        Ok(index.map_or(u32::MAX, |index| index as u32))
    }

    pub(crate) fn body(&self, start: u32, length: u32) -> wasmtime::Result<&[u8]> {
        let rest = self.request()?.body_prefix.get(start as usize..).unwrap_or_default();
        Ok(&rest[..rest.len().min(length as usize)])
    }

    /// The instance takes its seat in a worker, or the place beside it.
    pub(crate) fn seated(&mut self, side: Side, worker: u32, explains: bool) {
        self.explains = explains;
        self.meters.register(&self.snapshot.name, &self.log.policy, side, worker);
    }

    pub(crate) fn log(&mut self, level: u32, message: &str) {
        self.log.write(self.now, level, message);
    }

    /// Before a call. What a policy said in an earlier one is no reason for what happens in this one.
    #[inline]
    pub(crate) fn begin(&mut self, callback: &'static str, limit: Duration) {
        self.deadline = Deadline::new(callback, limit);
        self.log.last_error = None;
    }

    /// Names what made a call end.
    pub(crate) fn fault(&mut self, error: &wasmtime::Error) -> Fault {
        let callback = self.deadline.callback;
        if let Some(refused) = self.limiter.take_refused() {
            return Fault::Memory { callback, asked: refused.asked, limit: refused.limit, unit: refused.unit };
        }
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::Interrupt) => {
                Fault::Timeout { callback, deadline: self.deadline.limit, trace: Trace::of(error) }
            }
            Some(wasmtime::Trap::StackOverflow) => Fault::StackOverflow { callback },
            _ => {
                let (cause, trace) = (error.root_cause(), Trace::of(error));
                let reason = match self.log.last_error.take() {
                    Some(message) => format!("{cause}; its last words: {message}{trace}"),
                    None => format!("{cause}{trace}"),
                };
                Fault::Trap { callback, reason }
            }
        }
    }
}

/// Where the fast lane's host functions read and write.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) memory: wasmtime::Memory,
    pub(crate) realloc: wasmtime::TypedFunc<(u32, u32, u32, u32), u32>,
}

struct Log {
    policy: Arc<str>,
    window: u64,
    lines: u32,
    dropped: u64,
    last_error: Option<String>,
}

impl Log {
    fn write(&mut self, now: u64, level: u32, message: &str) {
        let end = (0..=LOG_BYTES.min(message.len())).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        let message = &message[..end];
        if level == 0 {
            self.last_error = Some(message.to_owned());
        }
        let second = now / 1_000_000_000;
        if second != self.window {
            if self.dropped > 0 {
                tracing::warn!(target: "sluicegate::policy", policy = %self.policy, "{} lines dropped", self.dropped);
            }
            (self.window, self.lines, self.dropped) = (second, 0, 0);
        }
        if self.lines >= LOG_LINES_PER_S {
            self.dropped += 1;
            return;
        }
        self.lines += 1;
        let policy = &self.policy;
        match level {
            0 => tracing::error!(target: "sluicegate::policy", %policy, "{message}"),
            1 => tracing::warn!(target: "sluicegate::policy", %policy, "{message}"),
            2 => tracing::info!(target: "sluicegate::policy", %policy, "{message}"),
            _ => tracing::debug!(target: "sluicegate::policy", %policy, "{message}"),
        }
    }
}
