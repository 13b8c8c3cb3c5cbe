//! A policy's own counters and gauges.

use metrics::{Counter, Gauge, counter, gauge};
use wasmtime::{bail, format_err};

use crate::state::HostState;

/// How many a policy may have: each is a series for every cluster, gauges for every worker, too.
const MAX_METERS: usize = 32;
const NAME_BYTES: usize = 63;

/// Where an instance sits that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// In the seat.
    Active,
    /// Beside it, as a canary's candidate.
    Candidate,
}

impl Side {
    fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Candidate => "candidate",
        }
    }
}

/// Counters and gauges by number. They count from when the policy takes its seat: a rehearsal is nobody's traffic, and
/// handles belong to the worker's thread.
#[derive(Default)]
pub(crate) struct Meters {
    counters: Vec<(String, Counter)>,
    gauges: Vec<(String, Gauge)>,
}

impl Meters {
    /// Begins to count, on the worker's thread. `side`: a canary's candidate mostly has the name of what it is compared
    /// with, and both set the same gauges.
    pub(crate) fn register(&mut self, cluster: &str, policy: &str, side: Side, worker: u32) {
        for (name, handle) in &mut self.counters {
            *handle = counter!(
                "sluicegate_policy_custom_total",
                "cluster" => cluster.to_owned(), "policy" => policy.to_owned(), "name" => name.clone(),
                "side" => side.label()
            );
        }
        for (name, handle) in &mut self.gauges {
            *handle = gauge!(
                "sluicegate_policy_custom",
                "cluster" => cluster.to_owned(), "policy" => policy.to_owned(), "name" => name.clone(),
                "side" => side.label(), "worker" => worker.to_string()
            );
        }
    }

    fn check(&self, name: &str) -> wasmtime::Result<()> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
        if !begins || name.len() > NAME_BYTES || !name.bytes().all(is_good) {
            bail!("{name:.100?} is no name for a metric: it takes [a-z][a-z0-9_]{{0,62}}");
        }
        if self.counters.len() + self.gauges.len() == MAX_METERS {
            bail!("{name}: a policy may have {MAX_METERS} counters and gauges");
        }
        Ok(())
    }
}

impl HostState {
    pub(crate) fn counter(&mut self, name: &str) -> wasmtime::Result<u32> {
        self.configuring("counter")?;
        let meters = &mut self.meters;
        if let Some(known) = meters.counters.iter().position(|(known, _)| known == name) {
            return Ok(known as u32);
        }
        meters.check(name)?;
        meters.counters.push((name.to_owned(), Counter::noop()));
        Ok(meters.counters.len() as u32 - 1)
    }

    pub(crate) fn add_to_counter(&self, counter: u32, delta: u64) -> wasmtime::Result<()> {
        let known = self.meters.counters.get(counter as usize);
        let (_, handle) = known.ok_or_else(|| format_err!("there is no counter {counter}"))?;
        handle.increment(delta);
        Ok(())
    }

    pub(crate) fn gauge(&mut self, name: &str) -> wasmtime::Result<u32> {
        self.configuring("gauge")?;
        let meters = &mut self.meters;
        if let Some(known) = meters.gauges.iter().position(|(known, _)| known == name) {
            return Ok(known as u32);
        }
        meters.check(name)?;
        meters.gauges.push((name.to_owned(), Gauge::noop()));
        Ok(meters.gauges.len() as u32 - 1)
    }

    pub(crate) fn set_gauge(&self, gauge: u32, value: f64) -> wasmtime::Result<()> {
        let known = self.meters.gauges.get(gauge as usize);
        let (_, handle) = known.ok_or_else(|| format_err!("there is no gauge {gauge}"))?;
        if value.is_finite() {
            handle.set(value);
        }
        Ok(())
    }
}
