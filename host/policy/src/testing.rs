//! Policies by hand, and what they need around them, for this crate's tests.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use sluicegate_core::{ClusterSnapshot, EndpointSpec, LiveArena};
use tokio::sync::mpsc;

use crate::{Clock, Engine, Generation, GenerationSpec, Instance, Limits, Refusal, Report, Seat, seat};

/// A policy by hand: WebAssembly text for the bodies of its calls, everything else as it should be. `$turn` counts picks,
/// `$configured` counts calls of `configure`.
#[derive(Clone, Copy)]
pub(crate) struct ByHand<'a> {
    /// `tick`, if there is one: its body.
    pub(crate) tick: Option<&'a str>,
    /// `restore`, if there is a state: its body, a pointer to the result. At 0 there is "ok"; at 16, an error.
    pub(crate) restore: Option<&'a str>,
    /// Imports of the fast lane.
    pub(crate) imports: &'a str,
    /// What `configure` does.
    pub(crate) configure: &'a str,
    /// The body of `pick`.
    pub(crate) pick: &'a str,
}

impl Default for ByHand<'_> {
    fn default() -> Self {
        Self { tick: None, restore: None, imports: "", configure: "", pick: "i32.const 0" }
    }
}

impl ByHand<'_> {
    /// A core module.
    pub(crate) fn module(&self) -> Vec<u8> {
        let [configure, changed, pick] = ["configure", "endpoints-changed", "pick"]
            .map(|function| format!("sluicegate:policy/balancer@0.1.0#{function}"));
        wat::parse_str(format!("(module {})", self.core([&configure, &changed, &pick]))).unwrap()
    }

    /// A component that is not merely a wrapped module, as its functions have other names; it imports `request.tried` and
    /// nothing else, as `$tried`.
    pub(crate) fn component(&self) -> Vec<u8> {
        let core = self.core(["configure", "changed", "pick"]);
        wat::parse_str(format!(
            r#"(component
                (import "sluicegate:policy/request@0.1.0" (instance $request (export "tried" (func (param "nth" u32) (result u32)))))
                (core func $tried (canon lower (func $request "tried")))
                (core module $module (import "request" "tried" (func $tried (param i32) (result i32))) {core})
                (core instance $i (instantiate $module (with "request" (instance (export "tried" (func $tried))))))
                (func $configure (param "config" string) (param "seed" u64) (param "worker" u32) (param "workers" u32)
                    (result (result (error string)))
                    (canon lift (core func $i "configure") (memory (core memory $i "memory"))
                        (realloc (core func $i "cabi_realloc"))))
                (func $changed (param "now" u64) (canon lift (core func $i "changed")))
                (func $pick (param "now" u64) (param "hash" u64) (param "attempt" u32) (result u32)
                    (canon lift (core func $i "pick")))
                (instance $balancer (export "configure" (func $configure)) (export "endpoints-changed" (func $changed))
                    (export "pick" (func $pick)))
                (export "sluicegate:policy/balancer@0.1.0" (instance $balancer)))"#
        ))
        .unwrap()
    }

    fn core(&self, [configure_name, changed_name, pick_name]: [&str; 3]) -> String {
        let Self { imports, configure, pick, .. } = self;
        let tick = self.tick.map_or(String::new(), |body| {
            format!(r#"(func (export "sluicegate:policy/timer@0.1.0#tick") (param $now i64) (result i64) {body})"#)
        });
        let state = self.restore.map_or(String::new(), |body| {
            let state = "sluicegate:policy/state@0.1.0#";
            format!(
                r#"(func (export "{state}schema") (result i32) i32.const 1)
                (func (export "{state}save") (result i32) i32.const 48)
                (func (export "{state}restore") (param i32 i32 i32) (result i32) {body})"#
            )
        });
        format!(
            r#"{imports}
            (memory (export "memory") 2 3)
            (global $turn (mut i32) (i32.const 0))
            (global $configured (mut i32) (i32.const 0))
            (data (i32.const 16) "\01\00\00\00\20\00\00\00\09\00\00\00")
            (data (i32.const 32) "no thanks")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "{configure_name}") (param i32 i32 i64 i32 i32) (result i32)
                (global.set $configured (i32.add (global.get $configured) (i32.const 1)))
                {configure}
                i32.const 0)
            (func (export "{changed_name}") (param i64))
            (func (export "{pick_name}") (param $now i64) (param $hash i64) (param $attempt i32) (result i32)
                (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
                {pick})
            {tick} {state}"#
        )
    }
}

/// So many endpoints.
pub(crate) fn endpoints(count: u16) -> Arc<ClusterSnapshot> {
    let specs: Vec<_> = (1..=count).map(|port| EndpointSpec::new(([127, 0, 0, 1], port).into())).collect();
    Arc::new(ClusterSnapshot::empty("test").next(&specs, &mut LiveArena::default(), 0))
}

/// A worker's seat, and what makes instances for it.
pub(crate) struct Stage {
    pub(crate) engine: Arc<Engine>,
    pub(crate) seat: Rc<RefCell<Seat>>,
    pub(crate) snapshot: Arc<ClusterSnapshot>,
    pub(crate) reports: mpsc::Receiver<Report>,
}

impl Stage {
    pub(crate) fn new(endpoints_count: u16) -> Self {
        let engine = Engine::new(Limits::default(), None).unwrap();
        let (snapshot, (reporter, reports)) = (endpoints(endpoints_count), mpsc::channel(16));
        let (_, inbox) = seat(0, 7, Clock::start(), reporter);
        let (seat, _) = inbox.open(Arc::clone(&snapshot));
        Self { engine, seat, snapshot, reports }
    }

    /// An instance of a generation with this number.
    pub(crate) fn instance(&self, number: u64, plugin: &[u8]) -> Instance {
        self.try_instance(number, plugin).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// The same, of a policy that may be refused.
    pub(crate) fn try_instance(&self, number: u64, plugin: &[u8]) -> Result<Instance, Refusal> {
        let artifact = self.engine.load(plugin).unwrap();
        let (cluster, policy, config) = ("test".into(), "by hand".into(), "{}".into());
        let spec = GenerationSpec { cluster, policy, artifact, config, seed: 0, workers: 1 };
        Generation::new(number, spec).instance(&self.engine, 0, Arc::clone(&self.snapshot), 0)
    }
}

/// Counters and gauges, as they were registered last, by name and the value of one label.
#[derive(Default)]
pub(crate) struct Recorded(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Recorded {
    /// The sum of all whose name and labels have these parts.
    pub(crate) fn sum(&self, parts: &[&str]) -> u64 {
        let all = self.0.lock().unwrap();
        let found = all.iter().filter(|(name, _)| parts.iter().all(|part| name.contains(part)));
        found.map(|(_, value)| value.load(Relaxed)).sum()
    }

    fn value(&self, key: &Key) -> Arc<AtomicU64> {
        Arc::clone(self.0.lock().unwrap().entry(key.to_string()).or_default())
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
