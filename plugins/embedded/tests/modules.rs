//! The modules speak the contract: they export and import what they should and nothing else, and tools that expect
//! components can make one of each.

use std::collections::BTreeSet;

use sluicegate_builtins::ALL;
use wasmparser::{Parser, Payload};

const ADD: &str = "host.add";
const ADDRESS: &str = "endpoints.address";
const BODY: &str = "request.body";
const BODY_PREFIX: &str = "needs.body-prefix";
const COOKIE: &str = "request.cookie";
const COUNT: &str = "endpoints.count";
const COUNTER: &str = "host.counter";
const ID: &str = "endpoints.id";
const LOAD_REPORTS: &str = "needs.load-reports";
const LOG: &str = "host.log";
const PROBE: &str = "host.probe";
const READ: &str = "endpoints.read";
const READ_BLOCK: &str = "endpoints.read-block";
const RESPONSE: &str = "reply.set-response-header";
const TRIED: &str = "request.tried";
const WEIGHT: &str = "endpoints.weight";
const ZONE: &str = "endpoints.zone";

fn imports_and_exports(wasm: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let short = |name: &str| name.replace("sluicegate:policy/", "").replace("@0.1.0", "");
    let (mut imports, mut exports) = (BTreeSet::new(), BTreeSet::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.unwrap();
                    imports.insert(format!("{}.{}", short(import.module), import.name));
                }
            }
            Payload::ExportSection(section) => {
                exports.extend(section.into_iter().map(|export| short(export.unwrap().name)));
            }
            _ => {}
        }
    }
    (imports, exports)
}

fn check_imports(name: &str, expected: &[&str]) {
    let wasm = sluicegate_builtins::get(name).unwrap();
    let expected = expected.iter().map(|import| import.to_string()).collect();
    assert_eq!(imports_and_exports(wasm).0, expected, "{name}");
}

#[test]
fn only_what_is_used_is_imported() {
    check_imports("round-robin", &[COUNT, LOG, TRIED]);
    check_imports("random", &[COUNT, LOG, TRIED, WEIGHT]);
    check_imports("least-request", &[COUNT, LOG, READ_BLOCK, TRIED, WEIGHT]);
    check_imports("p2c", &[COUNT, LOG, READ, TRIED, WEIGHT]);
    check_imports("weighted-round-robin", &[COUNT, ID, LOG, TRIED, WEIGHT]);
    check_imports("maglev", &[COUNT, ID, LOG, TRIED, WEIGHT]);
    check_imports("rendezvous", &[COUNT, ID, LOG, TRIED, WEIGHT]);
    check_imports("ring-hash", &[ADDRESS, COUNT, ID, LOG, TRIED, WEIGHT]);
    check_imports("bounded-load", &[ADDRESS, COUNT, ID, LOG, READ, READ_BLOCK, TRIED, WEIGHT]);
    check_imports("peak-ewma", &[COUNT, ID, LOG, READ, TRIED, WEIGHT]);
    check_imports("zone-aware", &[COUNT, LOG, READ, TRIED, WEIGHT, ZONE]);
    check_imports("subset", &[COUNT, ID, LOG, READ, TRIED, WEIGHT]);
    check_imports("c3", &[COUNT, ID, LOG, READ, TRIED, WEIGHT]);
    check_imports("orca-weighted", &[COUNT, ID, LOAD_REPORTS, LOG, READ_BLOCK, TRIED, WEIGHT]);
    check_imports("sticky", &[ADD, COOKIE, COUNT, COUNTER, ID, LOG, READ, RESPONSE, TRIED, WEIGHT]);
    check_imports("prequal", &[ADD, COUNT, COUNTER, ID, LOG, PROBE, READ, TRIED, WEIGHT]);
    let prefix = [ADD, BODY, BODY_PREFIX, COUNT, COUNTER, ID, LOG, READ, READ_BLOCK, TRIED, WEIGHT];
    check_imports("prefix-affinity", &prefix);
}

#[test]
fn only_what_is_implemented_is_exported() {
    for builtin in ALL {
        let exports = imports_and_exports(builtin.wasm).1;
        let contract: Vec<&str> = exports.iter().map(String::as_str).filter(|name| name.contains('#')).collect();
        let state = ["state#restore", "state#save", "state#schema"];
        let optional = match builtin.name {
            "c3" | "peak-ewma" => [&["feedback#on-result"][..], &state].concat(),
            "orca-weighted" => [&state[..], &["timer#tick"]].concat(),
            "prequal" => vec!["probing#on-probe", "timer#tick"],
            "weighted-round-robin" => state.to_vec(),
            _ => vec![],
        };
        let mut expected = vec!["balancer#configure", "balancer#endpoints-changed", "balancer#pick"];
        expected.extend(optional);
        let cleanup = "cabi_post_balancer#configure";
        let found: Vec<&str> = contract.into_iter().filter(|name| !name.starts_with("cabi_post_")).collect();
        assert_eq!(found, expected, "{}", builtin.name);
        assert!(["memory", "cabi_realloc", cleanup].iter().all(|name| exports.contains(*name)), "{exports:?}");
    }
}

#[test]
fn each_is_a_component_too() {
    for builtin in ALL {
        let component =
            wit_component::ComponentEncoder::default().validate(true).module(builtin.wasm).unwrap().encode();
        assert!(component.is_ok(), "{}: {component:?}", builtin.name);
    }
}

#[test]
fn each_is_small_enough_to_be_swapped_in_quickly() {
    for builtin in ALL {
        // What counts is the code that has to be compiled; names and descriptions are only carried along.
        let code = Parser::new(0).parse_all(builtin.wasm).find_map(|payload| match payload.unwrap() {
            Payload::CodeSectionStart { size, .. } => Some(size),
            _ => None,
        });
        assert!(code.unwrap() < 60_000, "{}: {code:?} bytes", builtin.name);
    }
}
