//! The fast lane's side of the canonical ABI, driven by modules that call every import with whatever numbers come: each
//! call is answered or ends the instance with a named fault. `SLUICEGATE_FUZZ_SECONDS=300` goes on for longer, from
//! another beginning.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use sluicegate_core::{AttemptResult, ClusterSnapshot, EndpointId, EndpointSpec, LiveArena, Outcome, ProbeResult, Rng};
use sluicegate_policy::{Engine, Fault, Generation, GenerationSpec, Instance, Limits, RequestHead, Saved};
use wit_parser::{
    Resolve, WorldItem, WorldKey,
    abi::{AbiVariant, WasmType},
};

use crate::mutations::{below, turns};

/// Two pages, so that there is an end to point past.
const MEMORY_BYTES: i64 = 2 << 16;

/// Where there is text that can be the name of something.
const TEXT_AT: u32 = 1024;

/// An import, as a core module sees it.
struct Import {
    interface: String,
    function: String,
    params: Vec<WasmType>,
    result: Option<WasmType>,
}

fn core_type(kind: WasmType) -> &'static str {
    match kind {
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
    }
}

/// All that the contract lets a policy import, from the contract itself.
fn imports() -> Vec<Import> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk/wit");
    let (package, _) = resolve.push_dir(&wit).unwrap();
    let world = resolve.select_world(&[package], Some("policy")).unwrap();
    let mut imports = Vec::new();
    for (key, item) in &resolve.worlds[world].imports {
        let (WorldKey::Interface(_), WorldItem::Interface { id, .. }) = (key, item) else { continue };
        for (name, function) in &resolve.interfaces[*id].functions {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            imports.push(Import {
                interface: resolve.id_of(*id).unwrap(),
                function: name.clone(),
                params: signature.params,
                result: signature.results.first().copied(),
            });
        }
    }
    imports
}

/// A number with something odd about it.
fn odd(rng: &mut Rng) -> i64 {
    match rng.below(6) {
        0 => MEMORY_BYTES - i64::from(rng.below(9)),
        1 => MEMORY_BYTES + i64::from(rng.below(9)),
        2 => -i64::from(rng.below(9)),
        3 => i64::from(i32::MAX) - i64::from(rng.below(2)),
        4 => 1 << rng.below(31),
        _ => i64::from(rng.next_u64() as i32),
    }
}

/// An argument: most often one that makes sense, or else all would end at the first call.
fn argument(rng: &mut Rng, kind: WasmType) -> String {
    let is_odd = rng.below(6) == 0;
    let value = match kind {
        WasmType::F32 | WasmType::F64 => return ["1.5", "nan", "-inf", "-0.0"][below(rng, 4)].to_owned(),
        _ if is_odd => odd(rng),
        WasmType::Pointer => i64::from(TEXT_AT + rng.below(8)),
        WasmType::Length => i64::from(rng.below(20)),
        _ => i64::from(rng.below(3)),
    };
    match kind {
        WasmType::I64 | WasmType::PointerOrI64 => value.to_string(),
        _ => (value as i32).to_string(),
    }
}

/// Some calls of imports.
fn calls(rng: &mut Rng, imports: &[Import]) -> String {
    let mut text = String::new();
    for _ in 0..=rng.below(3) {
        let at = below(rng, imports.len());
        let Import { params, result, .. } = &imports[at];
        let arguments: Vec<_> =
            params.iter().map(|kind| format!("({}.const {})", core_type(*kind), argument(rng, *kind))).collect();
        let call = format!("(call $import{at} {})", arguments.join(" "));
        match result {
            Some(_) => writeln!(text, "(drop {call})").unwrap(),
            None => writeln!(text, "{call}").unwrap(),
        }
    }
    text
}

/// A function of the contract: some calls, now and then, and an answer.
fn function(rng: &mut Rng, imports: &[Import], name: &str, signature: &str, answer: &str) -> String {
    // What may be asked in a pick only, is asked there.
    let often = if name == "balancer#pick" { 2 } else { 8 };
    let body = if rng.below(often) == 0 { calls(rng, imports) } else { String::new() };
    let name = name.replace('#', "@0.1.0#");
    format!("(func (export \"sluicegate:policy/{name}\") {signature} {body} {answer})\n")
}

fn module(rng: &mut Rng, imports: &[Import]) -> Vec<u8> {
    let mut text = String::from("(module\n");
    for (at, Import { interface, function, params, result }) in imports.iter().enumerate() {
        let params: Vec<_> = params.iter().copied().map(core_type).collect();
        let result = result.map_or(String::new(), |kind| format!("(result {})", core_type(kind)));
        let signature = format!("(param {}) {result}", params.join(" "));
        writeln!(text, r#"(import "{interface}" "{function}" (func $import{at} {signature}))"#).unwrap();
    }
    // An allocator that asks the host for something in turn, now and then, or gives memory that is not there.
    let reenters = if rng.below(8) == 0 { calls(rng, imports) } else { String::new() };
    let memory = if rng.below(8) == 0 { odd(rng) as i32 } else { 4096 };
    writeln!(
        text,
        r#"(memory (export "memory") 2)
        (data (i32.const {TEXT_AT}) "requests_total-and-more")
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {reenters} i32.const {memory})"#
    )
    .unwrap();
    for (name, signature, usual) in [
        ("balancer#configure", "(param i32 i32 i64 i32 i32) (result i32)", 0),
        ("balancer#endpoints-changed", "(param i64)", 0),
        ("balancer#pick", "(param i64 i64 i32) (result i32)", 1),
        ("feedback#on-result", "(param i64 i64 i32 i32 i32 i32 i32)", 0),
        ("probing#on-probe", "(param i64 i64 i32 i32 i64 i64)", 0),
        ("timer#tick", "(param i64) (result i64)", 0),
        ("state#schema", "(result i32)", 1),
        ("state#save", "(result i32)", 0),
        ("state#restore", "(param i32 i32 i32) (result i32)", 0),
    ] {
        let value = if rng.below(8) == 0 { odd(rng) as i32 } else { usual };
        let answer = match signature.split_once("(result ") {
            Some((_, kind)) => format!("{}.const {value}", &kind[..3]),
            None => String::new(),
        };
        text.push_str(&function(rng, imports, name, signature, &answer));
    }
    text.push(')');
    wat::parse_str(text).unwrap()
}

/// Plays a policy's life to a module, until a fault ends it.
fn live(instance: &mut Instance, snapshot: &Arc<ClusterSnapshot>, rng: &mut Rng) -> Result<(), Fault> {
    let ids: Vec<EndpointId> = snapshot.endpoints().iter().map(|endpoint| endpoint.id).collect();
    let lane = instance.lane();
    lane.seated(0, true);
    let saved = lane.save()?;
    for now in 0..4_u64 {
        let (mut request, endpoint) = (RequestHead::default(), ids[below(rng, ids.len())]);
        request.tried.extend(ids.iter().take(rng.below(3) as usize));
        lane.pick(now * 1_000_000, rng.next_u64(), &mut request)?;
        assert!(lane.asked().reply.as_ref().is_none_or(|reply| reply.then.len() <= 8), "more than the contract allows");
        let (outcome, status) = (Outcome::Answered, 200);
        let (connect_us, first_byte_us, total_us) = (1, rng.next_u64() as u32, 3);
        lane.on_result(now, &AttemptResult { endpoint, outcome, status, connect_us, first_byte_us, total_us })?;
        let (load, latency_us) = (Some(rng.next_u64()), None);
        lane.on_probe(now, &ProbeResult { endpoint, ok: true, round_trip_us: 1, load, latency_us })?;
        lane.tick(now)?;
    }
    lane.endpoints_changed(5, Arc::new(ClusterSnapshot::empty("fuzz")))?;
    lane.pick(6, 0, &mut RequestHead::default())?;
    for saved in saved.into_iter().chain([Saved { schema: 1, bytes: vec![7; 100] }]) {
        let _in_its_words = lane.restore(&saved)?;
    }
    Ok(())
}

#[test]
fn every_import_answers_or_ends_the_instance() {
    let imports = imports();
    assert!(imports.len() > 30, "all of the contract's");
    // Whatever loops, loops in the allocator, and that has to end soon.
    let limits = Limits { setup_timeout: Duration::from_millis(200), ..Limits::default() };
    let engine = Engine::new(limits, None).unwrap();
    let specs: Vec<_> = (1..=3).map(|port| EndpointSpec::new(([127, 0, 0, 1], port).into())).collect();
    let snapshot = Arc::new(ClusterSnapshot::empty("fuzz").next(&specs, &mut LiveArena::default(), 0));
    let (mut rng, turns) = turns(150);
    let (mut lived, mut faults) = (0, 0);
    for turn in turns {
        let bytes = module(&mut rng, &imports);
        let artifact = engine.load(&bytes).unwrap_or_else(|refusal| panic!("turn {turn}: {refusal}"));
        let spec = GenerationSpec {
            cluster: "fuzz".into(),
            policy: "fuzz".into(),
            artifact,
            config: "{}".into(),
            seed: 1,
            workers: 1,
        };
        // What is refused at once, is refused in words.
        let Ok(mut instance) = Generation::new(1, spec).instance(&engine, 0, Arc::clone(&snapshot), 0) else {
            faults += 1;
            continue;
        };
        match live(&mut instance, &snapshot, &mut rng) {
            Ok(()) => lived += 1,
            Err(fault) => {
                assert!(!fault.to_string().is_empty());
                faults += 1;
            }
        }
        assert!(instance.lane().memory_bytes() == MEMORY_BYTES as usize, "nothing but the module grows its memory");
    }
    println!("{lived} lived, {faults} ended in a fault");
    assert!(lived > 0 && faults > 0, "{lived} lived, {faults} ended in a fault: these modules try nothing");
}
