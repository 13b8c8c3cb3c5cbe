//! The portable lane: a component, from any language that can make one, called through the component model.

use std::sync::Arc;

use sluicegate_core::{AttemptResult, ClusterSnapshot, Outcome, ProbeResult};
use wasmtime::component::{
    self, Component, ComponentExportIndex, ComponentType, HasSelf, Lower, TypedFunc, types::ComponentItem,
};

use super::{Exports, Lane, Saved, session::Session};
use crate::{
    Asked, Engine, Fault, Needs, Refusal, RequestHead,
    artifact::{CONTRACT_PACKAGE, CONTRACT_VERSION, Code, Inspection, contract_interface, unknown_import},
    meters::Side,
    state::{HostState, Surroundings},
};

mod imports;

mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wasmtime::component::bindgen!({
        inline: "
            package sluicegate:host;
            world imports {
                import sluicegate:policy/endpoints@0.1.0;
                import sluicegate:policy/request@0.1.0;
                import sluicegate:policy/reply@0.1.0;
                import sluicegate:policy/shared@0.1.0;
                import sluicegate:policy/host@0.1.0;
                import sluicegate:policy/needs@0.1.0;
            }
        ",
        path: "../../plugin-sdk/wit",
        imports: { default: trappable },
    });
}

/// All of the contract's imports.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<component::Linker<HostState>> {
    let mut linker = component::Linker::new(engine);
    bindings::Imports::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// Checks a component against the contract, and links it.
pub(crate) fn inspect(engine: &Engine, component: &Component) -> Result<(Code, Inspection), Refusal> {
    let kind = component.component_type();
    let mut imports = Vec::new();
    for (name, import) in kind.imports(&engine.wasm) {
        let interface = contract_interface(name)?.ok_or_else(|| unknown_import(name, "(the interface)"))?;
        // What a component imports of an interface is what it uses of it.
        if let ComponentItem::ComponentInstance(items) = &import.ty {
            let functions = items.exports(&engine.wasm).filter(|(_, item)| is_function(&item.ty));
            imports.extend(functions.map(|(function, _)| format!("{interface}.{function}")));
        }
    }
    let mut exports = Exports::default();
    let mut balancer = false;
    for (name, export) in kind.exports(&engine.wasm) {
        match contract_interface(name)? {
            Some("balancer") => balancer = matches!(export.ty, ComponentItem::ComponentInstance(_)),
            Some("feedback") => exports.feedback = true,
            Some("probing") => exports.probing = true,
            Some("timer") => exports.timer = true,
            Some("state") => exports.state = true,
            _ => {}
        }
    }
    if !balancer {
        return Err(Refusal::MissingExport { name: interface_name("balancer") });
    }
    let pre = engine
        .component_linker
        .instantiate_pre(component)
        .map_err(|error| Refusal::WrongSignature { name: "an import".into(), reason: format!("{error:#}") })?;
    Ok((Code::Portable(pre), Inspection { exports, imports }))
}

fn is_function(item: &ComponentItem) -> bool {
    matches!(item, ComponentItem::ComponentFunc(_))
}

fn interface_name(interface: &str) -> String {
    format!("{CONTRACT_PACKAGE}{interface}@{CONTRACT_VERSION}")
}

type Refusable = (Result<(), String>,);
type ResultParams = (u64, u64, WireOutcome, u32, u32, u32, u32);
type ProbeParams = (u64, u64, bool, u32, u64, u64);

/// An instance of a component.
pub(crate) struct PortableLane {
    session: Session,
    configure: TypedFunc<(String, u64, u32, u32), Refusable>,
    endpoints_changed: TypedFunc<(u64,), ()>,
    pick: TypedFunc<(u64, u64, u32), (u32,)>,
    on_result: Option<TypedFunc<ResultParams, ()>>,
    on_probe: Option<TypedFunc<ProbeParams, ()>>,
    tick: Option<TypedFunc<(u64,), (u64,)>>,
    state: Option<State>,
}

struct State {
    schema: TypedFunc<(), (u32,)>,
    save: TypedFunc<(), (Vec<u8>,)>,
    restore: TypedFunc<(u32, Vec<u8>), Refusable>,
}

impl PortableLane {
    pub(crate) fn new(
        engine: &Engine,
        pre: &component::InstancePre<HostState>,
        exports: Exports,
        surroundings: Surroundings,
    ) -> Result<Self, Refusal> {
        let mut session = Session::new(engine, surroundings);
        session.begin_setup("instantiate");
        let instance = pre.instantiate(&mut session.store);
        let instance = session.named(instance)?;
        let mut find = Finder { instance, session: &mut session };
        let configure = find.function("balancer", "configure")?;
        let endpoints_changed = find.function("balancer", "endpoints-changed")?;
        let pick = find.function("balancer", "pick")?;
        let on_result = if exports.feedback { Some(find.function("feedback", "on-result")?) } else { None };
        let on_probe = if exports.probing { Some(find.function("probing", "on-probe")?) } else { None };
        let tick = if exports.timer { Some(find.function("timer", "tick")?) } else { None };
        let state = match exports.state {
            true => Some(State {
                schema: find.function("state", "schema")?,
                save: find.function("state", "save")?,
                restore: find.function("state", "restore")?,
            }),
            false => None,
        };
        Ok(Self { session, configure, endpoints_changed, pick, on_result, on_probe, tick, state })
    }
}

struct Finder<'a> {
    instance: component::Instance,
    session: &'a mut Session,
}

impl Finder<'_> {
    fn function<P, R>(&mut self, interface: &str, function: &str) -> Result<TypedFunc<P, R>, Refusal>
    where
        P: component::ComponentNamedList + Lower,
        R: component::ComponentNamedList + component::Lift,
    {
        let name = format!("{}#{function}", interface_name(interface));
        let index = self.index(&interface_name(interface), function);
        let index = index.ok_or_else(|| Refusal::MissingExport { name: name.clone() })?;
        self.instance
            .get_typed_func(&mut self.session.store, index)
            .map_err(|error| Refusal::WrongSignature { name, reason: format!("{error:#}") })
    }

    fn index(&mut self, interface: &str, function: &str) -> Option<ComponentExportIndex> {
        let store = &mut self.session.store;
        let interface = self.instance.get_export_index(&mut *store, None, interface)?;
        self.instance.get_export_index(&mut *store, Some(&interface), function)
    }
}

impl Lane for PortableLane {
    fn configure(&mut self, config: &str, seed: u64, worker: u32, workers: u32) -> Result<Result<(), String>, Fault> {
        self.session.begin_setup("configure");
        let params = (config.to_owned(), seed, worker, workers);
        let answer = self.configure.call(&mut self.session.store, params);
        Ok(self.session.named(answer)?.0)
    }

    fn endpoints_changed(&mut self, now: u64, snapshot: Arc<ClusterSnapshot>) -> Result<(), Fault> {
        self.session.begin_setup("endpoints-changed");
        let state = self.session.store.data_mut();
        (state.snapshot, state.now) = (snapshot, now);
        let answer = self.endpoints_changed.call(&mut self.session.store, (now,));
        self.session.named(answer)
    }

    fn pick(&mut self, now: u64, hash: u64, request: &mut RequestHead) -> Result<u32, Fault> {
        let attempt = request.tried.len() as u32;
        let is_lent = self.session.begin_pick(now, request);
        let answer = self.pick.call(&mut self.session.store, (now, hash, attempt));
        if is_lent {
            self.session.take_back(request);
        }
        Ok(self.session.named(answer)?.0)
    }

    fn on_result(&mut self, now: u64, result: &AttemptResult) -> Result<(), Fault> {
        let Some(on_result) = &self.on_result else { return Ok(()) };
        self.session.begin_short("on-result", now);
        let AttemptResult { endpoint, outcome, status, connect_us, first_byte_us, total_us } = *result;
        let params = (now, endpoint.0, outcome.into(), u32::from(status), connect_us, first_byte_us, total_us);
        let answer = on_result.call(&mut self.session.store, params);
        self.session.named(answer)
    }

    fn on_probe(&mut self, now: u64, probe: &ProbeResult) -> Result<(), Fault> {
        let Some(on_probe) = &self.on_probe else { return Ok(()) };
        self.session.begin_short("on-probe", now);
        let ProbeResult { endpoint, ok, round_trip_us, load, latency_us } = *probe;
        let said = |number: Option<u64>| number.unwrap_or(u64::MAX);
        let params = (now, endpoint.0, ok, round_trip_us, said(load), said(latency_us));
        let answer = on_probe.call(&mut self.session.store, params);
        self.session.named(answer)
    }

    fn tick(&mut self, now: u64) -> Result<u64, Fault> {
        let Some(tick) = &self.tick else { return Ok(0) };
        self.session.begin_short("tick", now);
        let answer = tick.call(&mut self.session.store, (now,));
        Ok(self.session.named(answer)?.0)
    }

    fn asked(&mut self) -> &mut Asked {
        &mut self.session.store.data_mut().asked
    }

    fn needs(&self) -> Needs {
        self.session.store.data().needs
    }

    fn seated(&mut self, worker: u32, explains: bool) {
        self.session.store.data_mut().seated(Side::Active, worker, explains);
    }

    fn seated_beside(&mut self, worker: u32, explains: bool) {
        self.session.store.data_mut().seated(Side::Candidate, worker, explains);
    }

    fn wants_explanations(&mut self, wanted: bool) {
        self.session.store.data_mut().explains = wanted;
    }

    fn save(&mut self) -> Result<Option<Saved>, Fault> {
        let Some(State { schema, save, .. }) = &self.state else { return Ok(None) };
        self.session.begin_setup("save");
        let answer = schema.call(&mut self.session.store, ()).and_then(|(schema,)| {
            let (bytes,) = save.call(&mut self.session.store, ())?;
            Ok(Some(Saved { schema, bytes }))
        });
        self.session.named(answer)
    }

    fn restore(&mut self, saved: &Saved) -> Result<Result<(), String>, Fault> {
        let Some(state) = &self.state else { return Ok(Err("it does not export `state`".into())) };
        self.session.begin_setup("restore");
        let answer = state.restore.call(&mut self.session.store, (saved.schema, saved.bytes.clone()));
        Ok(self.session.named(answer)?.0)
    }

    fn memory_bytes(&self) -> usize {
        self.session.store.data().limiter.memory_in_use()
    }

    fn instructions(&self) -> Option<u64> {
        self.session.instructions()
    }
}

/// The contract's `outcome`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum WireOutcome {
    #[component(name = "answered")]
    Answered,
    #[component(name = "connect-failed")]
    ConnectFailed,
    #[component(name = "broken")]
    Broken,
    #[component(name = "timed-out")]
    TimedOut,
    #[component(name = "cancelled")]
    Cancelled,
}

impl From<Outcome> for WireOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered => Self::Answered,
            Outcome::ConnectFailed => Self::ConnectFailed,
            Outcome::Broken => Self::Broken,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}
