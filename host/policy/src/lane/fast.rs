//! The fast lane: a core module, called directly.
//!
//! A module made by wit-bindgen speaks the component model's canonical ABI already: flat parameters as they are,
//! strings and lists as a pointer and a length, larger answers through a pointer to where they should go. So its
//! exports are called as plain WebAssembly functions, a quarter of the cost of a call through a component.

use std::sync::Arc;

use sluicegate_core::{AttemptResult, ClusterSnapshot, ProbeResult};
use wasmtime::{ExternType, Instance, InstancePre, Module, TypedFunc, UnknownImportError, bail};

use super::{Exports, Lane, Saved, session::Session};
use crate::{
    Asked, Engine, Fault, Needs, Refusal, RequestHead,
    artifact::{CONTRACT_PACKAGE, Code, Inspection, contract_interface, unknown_import},
    meters::Side,
    state::{Guest, HostState, Surroundings},
};

mod imports;

pub(crate) use imports::linker;

/// The contract's exports in their flat form: interface, function, parameters and results.
const EXPORTS: [(&str, &str, &str); 9] = [
    ("balancer", "configure", "i32 i32 i64 i32 i32 -> i32"),
    ("balancer", "endpoints-changed", "i64 ->"),
    ("balancer", "pick", "i64 i64 i32 -> i32"),
    ("feedback", "on-result", "i64 i64 i32 i32 i32 i32 i32 ->"),
    ("probing", "on-probe", "i64 i64 i32 i32 i64 i64 ->"),
    ("timer", "tick", "i64 -> i64"),
    ("state", "schema", "-> i32"),
    ("state", "save", "-> i32"),
    ("state", "restore", "i32 i32 i32 -> i32"),
];

/// The longest text that the host takes from a policy.
const TEXT_BYTES: usize = 64 << 10;

fn export_name(interface: &str, function: &str) -> String {
    format!("{CONTRACT_PACKAGE}{interface}@{}#{function}", crate::artifact::CONTRACT_VERSION)
}

/// Checks a module against the contract, and links it.
pub(crate) fn inspect(engine: &Engine, module: &Module) -> Result<(Code, Inspection), Refusal> {
    let mut imports = Vec::new();
    for import in module.imports() {
        let interface = contract_interface(import.module())?;
        let interface = interface.ok_or_else(|| unknown_import(import.module(), import.name()))?;
        imports.push(format!("{interface}.{}", import.name()));
    }
    for export in module.exports() {
        let interface = export.name().split('#').next().unwrap_or_default();
        contract_interface(interface)?;
    }
    let exports = Exports {
        feedback: has_interface(module, "feedback")?,
        probing: has_interface(module, "probing")?,
        timer: has_interface(module, "timer")?,
        state: has_interface(module, "state")?,
    };
    if !has_interface(module, "balancer")? {
        return Err(Refusal::MissingExport { name: export_name("balancer", "pick") });
    }
    for (name, signature) in [("memory", None), ("cabi_realloc", Some("i32 i32 i32 i32 -> i32"))] {
        match (module.get_export(name), signature) {
            (Some(ExternType::Memory(_)), None) => {}
            (Some(ExternType::Func(found)), Some(signature)) => check_signature(name, &found, signature)?,
            _ => return Err(Refusal::MissingExport { name: name.to_owned() }),
        }
    }
    let pre = engine.core_linker.instantiate_pre(module).map_err(|error| match error.downcast_ref() {
        Some(unknown) => {
            let unknown: &UnknownImportError = unknown;
            unknown_import(unknown.module(), unknown.name())
        }
        None => Refusal::WrongSignature { name: "an import".into(), reason: format!("{error:#}") },
    })?;
    Ok((Code::Fast(pre), Inspection { exports, imports }))
}

/// Whether the module exports an interface of the contract: all of its functions, in the right shape, or none.
fn has_interface(module: &Module, interface: &str) -> Result<bool, Refusal> {
    let functions = EXPORTS.iter().filter(|(of, ..)| *of == interface);
    let mut missing = Vec::new();
    let mut found = false;
    for (_, function, signature) in functions {
        let name = export_name(interface, function);
        match module.get_export(&name) {
            Some(ExternType::Func(function)) => {
                check_signature(&name, &function, signature)?;
                found = true;
            }
            _ => missing.push(name),
        }
    }
    match missing.pop() {
        Some(name) if found => Err(Refusal::MissingExport { name }),
        missing => Ok(missing.is_none()),
    }
}

fn check_signature(name: &str, found: &wasmtime::FuncType, expected: &str) -> Result<(), Refusal> {
    let list = |types: Vec<String>| types.join(" ");
    let params = list(found.params().map(|kind| kind.to_string()).collect());
    let results = list(found.results().map(|kind| kind.to_string()).collect());
    let found = format!("{params} -> {results}");
    if found.trim() == expected {
        return Ok(());
    }
    Err(Refusal::WrongSignature {
        name: name.to_owned(),
        reason: format!("`{}` instead of `{expected}`", found.trim()),
    })
}

type ResultParams = (u64, u64, u32, u32, u32, u32, u32);
type ProbeParams = (u64, u64, u32, u32, u64, u64);

/// An instance of a core module.
pub(crate) struct FastLane {
    session: Session,
    guest: Guest,
    configure: Returning<(u32, u32, u64, u32, u32)>,
    endpoints_changed: TypedFunc<u64, ()>,
    pick: TypedFunc<(u64, u64, u32), u32>,
    on_result: Option<TypedFunc<ResultParams, ()>>,
    on_probe: Option<TypedFunc<ProbeParams, ()>>,
    tick: Option<TypedFunc<u64, u64>>,
    state: Option<State>,
}

struct State {
    schema: TypedFunc<(), u32>,
    save: Returning<()>,
    restore: Returning<(u32, u32, u32)>,
}

/// A function that answers with a pointer to its result, and the function that frees what the result holds.
struct Returning<Params> {
    call: TypedFunc<Params, u32>,
    free: Option<TypedFunc<u32, ()>>,
}

impl FastLane {
    pub(crate) fn new(
        engine: &Engine,
        pre: &InstancePre<HostState>,
        exports: Exports,
        surroundings: Surroundings,
    ) -> Result<Self, Fault> {
        let mut session = Session::new(engine, surroundings);
        session.begin_setup("instantiate");
        let made = Self::link(&mut session, pre, exports);
        let parts = session.named(made)?;
        Ok(parts(session))
    }

    fn link(
        session: &mut Session,
        pre: &InstancePre<HostState>,
        exports: Exports,
    ) -> wasmtime::Result<impl FnOnce(Session) -> Self + use<>> {
        let store = &mut session.store;
        let instance = pre.instantiate(&mut *store)?;
        let Some(memory) = instance.get_memory(&mut *store, "memory") else { bail!("no memory") };
        let realloc = instance.get_typed_func(&mut *store, "cabi_realloc")?;
        let guest = Guest { memory, realloc };
        store.data_mut().guest = Some(guest.clone());
        // A module made by a C or Go toolchain sets itself up in here.
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            initialize.call(&mut *store, ())?;
        }
        let configure = returning(&instance, store, "balancer", "configure")?;
        let endpoints_changed = instance.get_typed_func(&mut *store, &export_name("balancer", "endpoints-changed"))?;
        let pick = instance.get_typed_func(&mut *store, &export_name("balancer", "pick"))?;
        let on_result = match exports.feedback {
            true => Some(instance.get_typed_func(&mut *store, &export_name("feedback", "on-result"))?),
            false => None,
        };
        let on_probe = match exports.probing {
            true => Some(instance.get_typed_func(&mut *store, &export_name("probing", "on-probe"))?),
            false => None,
        };
        let tick = match exports.timer {
            true => Some(instance.get_typed_func(&mut *store, &export_name("timer", "tick"))?),
            false => None,
        };
        let state = match exports.state {
            true => Some(State {
                schema: instance.get_typed_func(&mut *store, &export_name("state", "schema"))?,
                save: returning(&instance, store, "state", "save")?,
                restore: returning(&instance, store, "state", "restore")?,
            }),
            false => None,
        };
        Ok(move |session| Self { session, guest, configure, endpoints_changed, pick, on_result, on_probe, tick, state })
    }

    /// Puts bytes into the module's memory, in a place that its own allocator gives.
    fn lend(&mut self, bytes: &[u8]) -> wasmtime::Result<(u32, u32)> {
        imports::lend(&mut self.session.store, &self.guest, bytes)
    }

    /// Calls a function that answers with `result<_, string>`.
    fn call_refusable<P: wasmtime::WasmParams>(
        session: &mut Session,
        guest: &Guest,
        function: &Returning<P>,
        params: P,
    ) -> wasmtime::Result<Result<(), String>> {
        let at = function.call.call(&mut session.store, params)?;
        let [flag, ..] = imports::bytes_at::<1>(guest.memory.data(&session.store), at)?;
        let answer = match flag {
            0 => Ok(()),
            _ => {
                let bytes = result_list(session, guest, at.wrapping_add(4), TEXT_BYTES)?;
                Err(String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        free(session, function, at)?;
        Ok(answer)
    }
}

fn returning<P: wasmtime::WasmParams>(
    instance: &Instance,
    store: &mut wasmtime::Store<HostState>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<Returning<P>> {
    let name = export_name(interface, function);
    let call = instance.get_typed_func(&mut *store, &name)?;
    let free = instance.get_typed_func(&mut *store, &format!("cabi_post_{name}")).ok();
    Ok(Returning { call, free })
}

fn free<P: wasmtime::WasmParams>(session: &mut Session, function: &Returning<P>, at: u32) -> wasmtime::Result<()> {
    match &function.free {
        Some(free) => free.call(&mut session.store, at),
        None => Ok(()),
    }
}

/// Copies the string or list whose pointer and length lie at `at`.
fn result_list(session: &Session, guest: &Guest, at: u32, limit: usize) -> wasmtime::Result<Vec<u8>> {
    let memory = guest.memory.data(&session.store);
    let pointer = u32::from_le_bytes(imports::bytes_at(memory, at)?);
    let length = u32::from_le_bytes(imports::bytes_at(memory, at.wrapping_add(4))?);
    let bytes = imports::slice(memory, pointer, length)?;
    Ok(bytes[..bytes.len().min(limit)].to_vec())
}

impl Lane for FastLane {
    fn configure(&mut self, config: &str, seed: u64, worker: u32, workers: u32) -> Result<Result<(), String>, Fault> {
        self.session.begin_setup("configure");
        let answer = self.lend(config.as_bytes()).and_then(|(pointer, length)| {
            let params = (pointer, length, seed, worker, workers);
            Self::call_refusable(&mut self.session, &self.guest, &self.configure, params)
        });
        self.session.named(answer)
    }

    fn endpoints_changed(&mut self, now: u64, snapshot: Arc<ClusterSnapshot>) -> Result<(), Fault> {
        self.session.begin_setup("endpoints-changed");
        let state = self.session.store.data_mut();
        (state.snapshot, state.now) = (snapshot, now);
        let answer = self.endpoints_changed.call(&mut self.session.store, now);
        self.session.named(answer)
    }

    #[inline]
    fn pick(&mut self, now: u64, hash: u64, request: &mut RequestHead) -> Result<u32, Fault> {
        let attempt = request.tried.len() as u32;
        let is_lent = self.session.begin_pick(now, request);
        let answer = self.pick.call(&mut self.session.store, (now, hash, attempt));
        if is_lent {
            self.session.take_back(request);
        }
        self.session.named(answer)
    }

    fn on_result(&mut self, now: u64, result: &AttemptResult) -> Result<(), Fault> {
        let Some(on_result) = &self.on_result else { return Ok(()) };
        self.session.begin_short("on-result", now);
        let AttemptResult { endpoint, outcome, status, connect_us, first_byte_us, total_us } = *result;
        let params = (now, endpoint.0, outcome as u32, u32::from(status), connect_us, first_byte_us, total_us);
        let answer = on_result.call(&mut self.session.store, params);
        self.session.named(answer)
    }

    fn on_probe(&mut self, now: u64, probe: &ProbeResult) -> Result<(), Fault> {
        let Some(on_probe) = &self.on_probe else { return Ok(()) };
        self.session.begin_short("on-probe", now);
        let ProbeResult { endpoint, ok, round_trip_us, load, latency_us } = *probe;
        let said = |number: Option<u64>| number.unwrap_or(u64::MAX);
        let params = (now, endpoint.0, u32::from(ok), round_trip_us, said(load), said(latency_us));
        let answer = on_probe.call(&mut self.session.store, params);
        self.session.named(answer)
    }

    fn tick(&mut self, now: u64) -> Result<u64, Fault> {
        let Some(tick) = &self.tick else { return Ok(0) };
        self.session.begin_short("tick", now);
        let answer = tick.call(&mut self.session.store, now);
        self.session.named(answer)
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
        let answer = schema.call(&mut self.session.store, ()).and_then(|schema| {
            let at = save.call.call(&mut self.session.store, ())?;
            let bytes = result_list(&self.session, &self.guest, at, usize::MAX)?;
            free(&mut self.session, save, at)?;
            Ok(Some(Saved { schema, bytes }))
        });
        self.session.named(answer)
    }

    fn restore(&mut self, saved: &Saved) -> Result<Result<(), String>, Fault> {
        if self.state.is_none() {
            return Ok(Err("it does not export `state`".into()));
        }
        self.session.begin_setup("restore");
        let answer = self.lend(&saved.bytes).and_then(|(pointer, length)| match &self.state {
            Some(state) => {
                let params = (saved.schema, pointer, length);
                Self::call_refusable(&mut self.session, &self.guest, &state.restore, params)
            }
            None => Ok(Ok(())),
        });
        self.session.named(answer)
    }

    fn memory_bytes(&self) -> usize {
        self.guest.memory.data_size(&self.session.store)
    }

    fn instructions(&self) -> Option<u64> {
        self.session.instructions()
    }
}
