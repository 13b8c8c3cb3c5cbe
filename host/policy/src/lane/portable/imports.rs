//! The contract's imports, for components: bindings on one side, the host's state on the other.

use sluicegate_core::{BLOCK, Signal};

use super::bindings::sluicegate::policy::{endpoints, host, needs, reply, request, shared};
use crate::{
    asked::{EXPLANATION_BYTES, Message, REASON_BYTES, cut},
    state::HostState,
};

impl From<endpoints::Signal> for Signal {
    fn from(signal: endpoints::Signal) -> Self {
        match signal {
            endpoints::Signal::InFlight => Self::InFlight,
            endpoints::Signal::Connections => Self::Connections,
            endpoints::Signal::LatencyUs => Self::LatencyUs,
            endpoints::Signal::Successes => Self::Successes,
            endpoints::Signal::Failures => Self::Failures,
            endpoints::Signal::Timeouts => Self::Timeouts,
            endpoints::Signal::AgeMs => Self::AgeMs,
            endpoints::Signal::UtilizationPpm => Self::UtilizationPpm,
            endpoints::Signal::QueueDepth => Self::QueueDepth,
            endpoints::Signal::RequestsMilliPerS => Self::RequestsMilliPerS,
            endpoints::Signal::ErrorsMilliPerS => Self::ErrorsMilliPerS,
            endpoints::Signal::ReportAgeMs => Self::ReportAgeMs,
        }
    }
}

impl endpoints::Host for HostState {
    fn count(&mut self) -> wasmtime::Result<u32> {
        Ok(self.snapshot.endpoints().len() as u32)
    }

    fn generation(&mut self) -> wasmtime::Result<u64> {
        Ok(self.snapshot.generation)
    }

    fn id(&mut self, index: u32) -> wasmtime::Result<u64> {
        Ok(self.endpoint(index)?.id.0)
    }

    fn address(&mut self, index: u32) -> wasmtime::Result<String> {
        Ok(self.endpoint(index)?.name.to_string())
    }

    fn weight(&mut self, index: u32) -> wasmtime::Result<u32> {
        Ok(self.endpoint(index)?.spec.weight)
    }

    fn zone(&mut self, index: u32) -> wasmtime::Result<String> {
        Ok(self.endpoint(index)?.spec.zone.to_string())
    }

    fn label(&mut self, index: u32, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.endpoint(index)?.spec.labels.get(&key).cloned())
    }

    fn read(&mut self, index: u32, signal: endpoints::Signal) -> wasmtime::Result<u64> {
        HostState::read(self, index, signal.into())
    }

    fn read_block(&mut self, start: u32, signal: endpoints::Signal) -> wasmtime::Result<endpoints::Block> {
        let mut block = [[0; 4]; BLOCK];
        self.snapshot.read_block(start, signal.into(), self.now, &mut block);
        let value = |index: usize| u64::from(u32::from_le_bytes(block[index]));
        let pair = |index: usize| value(index * 2) | value(index * 2 + 1) << 32;
        let eight = |at: usize| {
            let at = at * 8;
            (pair(at), pair(at + 1), pair(at + 2), pair(at + 3), pair(at + 4), pair(at + 5), pair(at + 6), pair(at + 7))
        };
        Ok((eight(0), eight(1), eight(2), eight(3)))
    }
}

impl request::Host for HostState {
    fn method(&mut self) -> wasmtime::Result<String> {
        Ok(self.request()?.parts.method.to_string())
    }

    fn path(&mut self) -> wasmtime::Result<String> {
        HostState::path(self)
    }

    fn authority(&mut self) -> wasmtime::Result<String> {
        HostState::authority(self)
    }

    fn header(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        HostState::header(self, &name)
    }

    fn cookie(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        HostState::cookie(self, &name)
    }

    fn client_address(&mut self) -> wasmtime::Result<String> {
        Ok(self.request()?.client.to_string())
    }

    fn tried(&mut self, nth: u32) -> wasmtime::Result<u32> {
        HostState::tried(self, nth)
    }

    fn body(&mut self, start: u32, length: u32) -> wasmtime::Result<Vec<u8>> {
        Ok(HostState::body(self, start, length)?.to_vec())
    }
}

impl reply::Host for HostState {
    fn reject(&mut self, status: u16, reason: String) -> wasmtime::Result<()> {
        HostState::reject(self, status, cut(reason, REASON_BYTES))
    }

    fn set_response_header(&mut self, name: String, value: String) -> wasmtime::Result<()> {
        self.set_header(Message::Response, &name, &value)
    }

    fn set_request_header(&mut self, name: String, value: String) -> wasmtime::Result<()> {
        self.set_header(Message::Request, &name, &value)
    }

    fn then(&mut self, index: u32) -> wasmtime::Result<()> {
        HostState::then(self, index)
    }

    fn hedge(&mut self, index: u32, after_us: u32) -> wasmtime::Result<()> {
        HostState::hedge(self, index, after_us)
    }

    fn wants_explanation(&mut self) -> wasmtime::Result<bool> {
        HostState::wants_explanation(self)
    }

    fn explain(&mut self, why: String) -> wasmtime::Result<()> {
        HostState::explain(self, cut(why, EXPLANATION_BYTES))
    }
}

impl shared::Host for HostState {
    fn get(&mut self, slot: u32) -> wasmtime::Result<u64> {
        self.shared.get(slot)
    }

    fn add(&mut self, slot: u32, delta: u64) -> wasmtime::Result<u64> {
        self.shared.add(slot, delta)
    }

    fn compare_and_set(&mut self, slot: u32, expected: u64, new: u64) -> wasmtime::Result<bool> {
        self.shared.compare_and_set(slot, expected, new)
    }
}

impl needs::Host for HostState {
    fn body_prefix(&mut self, bytes: u32) -> wasmtime::Result<()> {
        self.need_body_prefix(bytes)
    }

    fn load_reports(&mut self) -> wasmtime::Result<()> {
        self.need_load_reports()
    }
}

impl host::Host for HostState {
    fn log(&mut self, level: host::Level, message: String) -> wasmtime::Result<()> {
        HostState::log(self, level as u32, &message);
        Ok(())
    }

    fn counter(&mut self, name: String) -> wasmtime::Result<u32> {
        HostState::counter(self, &name)
    }

    fn add(&mut self, counter: u32, delta: u64) -> wasmtime::Result<()> {
        self.add_to_counter(counter, delta)
    }

    fn gauge(&mut self, name: String) -> wasmtime::Result<u32> {
        HostState::gauge(self, &name)
    }

    fn set(&mut self, gauge: u32, value: f64) -> wasmtime::Result<()> {
        self.set_gauge(gauge, value)
    }

    fn probe(&mut self, index: u32) -> wasmtime::Result<()> {
        HostState::probe(self, index)
    }
}
