//! Policies that misbehave: each gets its name in the log, and no request is lost.

mod asking;

use std::fs;

use sluicegate_tests::{
    Load, Origin, Proxy,
    wasm::{self, ByHand},
};

use crate::config;

/// The policy that everybody comes after.
fn good() -> Vec<u8> {
    wasm::builtin("round-robin", "fast")
}

/// Saves a file over a good policy under load: it is refused with this label, and the good one goes on.
fn refused(label: &str, text: &str, file: &[u8]) {
    let origins = Origin::several(2);
    let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
        fs::write(dir.join("policy.wasm"), good()).unwrap();
    });
    let load = Load::start(proxy.address, 4);
    fs::write(proxy.path("policy.wasm"), file).unwrap();
    let line = proxy.wait_for(label, |line| line["label"] == label);
    let message = line["message"].as_str().unwrap();
    assert!(message.contains(text) && message.contains("generation 1) goes on"), "{message}");
    let before = load.so_far().good;
    sluicegate_tests::eventually("requests go on", || (load.so_far().good > before + 50).then_some(()));
    assert_eq!(load.stop().failed, Vec::<String>::new());
    let policy = &proxy.status()["clusters"]["api"]["policy"];
    assert_eq!(policy["active"]["generation"], 1);
    assert!(policy["last_refusal"].as_str().unwrap().contains(text), "{policy}");
}

/// In both lanes.
fn refused_by_hand(label: &str, text: &str, policy: ByHand) {
    refused(label, text, &policy.module());
    refused(label, text, &policy.component());
}

/// A policy that passes its rehearsal and misbehaves later: its faults are counted and named, the generation is
/// quarantined, and the one before it is back, with no request lost.
fn rolled_back(label: &str, text: &str, pick: &'static str, items: &'static str) {
    for lane in ["fast", "portable"] {
        let bad = ByHand { pick, items, ..ByHand::default() };
        let origins = Origin::several(2);
        let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
            fs::write(dir.join("policy.wasm"), good()).unwrap();
        });
        let load = Load::start(proxy.address, 4);
        fs::write(proxy.path("policy.wasm"), bad.build(lane)).unwrap();
        proxy.wait_for_generation(2);
        let line = proxy.wait_for(label, |line| line["label"] == label);
        assert!(line["message"].as_str().unwrap().contains(text), "{line}");
        let back = proxy.wait_for("rolled back", |line| line["from"] == 2);
        assert_eq!(back["to"], 1);
        assert_eq!(load.stop().failed, Vec::<String>::new());
        assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["generation"], 1);
        // The same file once more is not tried again; another one is.
        fs::write(proxy.path("policy.wasm"), wasm::builtin("p2c", lane)).unwrap();
        proxy.wait_for_generation(3);
    }
}

#[test]
fn loops_forever() {
    let pick = "(loop $again (br $again)) (unreachable)";
    refused_by_hand("rehearsal", "`pick` ran longer than its deadline", ByHand { pick, ..ByHand::default() });
}

#[test]
fn loops_forever_later() {
    let pick = "(if (i32.gt_u (global.get $turn) (i32.const 100)) (then (loop $again (br $again)))) (i32.const 0)";
    rolled_back("timeout", "deadline of 100ms", pick, "");
}

#[test]
fn loops_while_it_is_configured() {
    let configure = "(loop $again (br $again)) (unreachable)";
    refused_by_hand("rehearsal", "`configure` ran longer", ByHand { configure, ..ByHand::default() });
}

#[test]
fn traps() {
    refused_by_hand("rehearsal", "unreachable", ByHand { pick: "(unreachable)", ..ByHand::default() });
}

#[test]
fn traps_later() {
    let pick = "(if (i32.gt_u (global.get $turn) (i32.const 100)) (then (unreachable))) (i32.const 0)";
    rolled_back("trap", "unreachable", pick, "");
}

#[test]
fn returns_a_bad_index() {
    let policy = ByHand { pick: "(i32.const 7)", ..ByHand::default() };
    refused_by_hand("rehearsal", "answered 7, but there are only 2 endpoints", policy);
}

#[test]
fn returns_a_bad_index_later() {
    let pick =
        "(if (result i32) (i32.gt_u (global.get $turn) (i32.const 100)) (then (i32.const 7)) (else (i32.const 0)))";
    rolled_back("bad_index", "answered 7", pick, "");
}

#[test]
fn grows_its_memory_without_end() {
    let pick = "(loop $again (drop (memory.grow (i32.const 100))) (br $again)) (unreachable)";
    refused_by_hand("rehearsal", "bytes of memory: the limit is 67108864", ByHand { pick, ..ByHand::default() });
}

#[test]
fn grows_its_memory_later() {
    let pick =
        "(if (i32.gt_u (global.get $turn) (i32.const 100)) (then (drop (memory.grow (i32.const 100))))) (i32.const 0)";
    rolled_back("memory_limit", "bytes of memory", pick, "");
}

#[test]
fn overflows_its_stack() {
    let items = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let policy = ByHand { items, pick: "(call $deep (i32.const 1))", ..ByHand::default() };
    refused_by_hand("rehearsal", "`pick` overflowed its stack", policy);
}

#[test]
fn overflows_its_stack_later() {
    let items = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let pick =
        "(if (i32.gt_u (global.get $turn) (i32.const 100)) (then (drop (call $deep (i32.const 1))))) (i32.const 0)";
    rolled_back("stack_overflow", "overflowed its stack", pick, items);
}

#[test]
fn fails_to_configure() {
    refused_by_hand("configure", "no thanks", ByHand { configure: "i32.const 16", ..ByHand::default() });
}

#[test]
fn was_built_for_another_version() {
    let policy = ByHand { version: "9.1.0", ..ByHand::default() };
    refused(
        "wrong_version",
        "built for version 9.1.0 of the contract; this is Sluicegate with version 0.1.0",
        &policy.module(),
    );
}

#[test]
fn is_not_wasm_at_all() {
    refused("not_wasm", "does not begin like a .wasm file", b"#!/bin/sh\necho no\n");
}

#[test]
fn is_half_written() {
    let module = wasm::builtin("p2c", "fast");
    refused("truncated", "incomplete", &module[..module.len() / 2]);
    let component = wasm::builtin("p2c", "portable");
    refused("truncated", "incomplete", &component[..component.len() / 2]);
}

#[test]
fn wants_wasi() {
    let items = r#"(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"#;
    refused("unknown_import", "policies have no WASI", &ByHand { items, ..ByHand::default() }.module());
}

#[test]
fn is_no_policy() {
    refused("missing_export", "is it a policy?", &[0, b'a', b's', b'm', 1, 0, 0, 0]);
}

#[test]
fn asks_for_the_request_outside_of_a_pick() {
    let items = r#"(import "sluicegate:policy/request@0.1.0" "method" (func $method (param i32)))"#;
    let configure = "(call $method (i32.const 512)) (i32.const 0)";
    refused_by_hand("rehearsal", "during `pick` only", ByHand { items, configure, ..ByHand::default() });
}

#[test]
fn names_an_endpoint_that_is_not_there() {
    let items = r#"(import "sluicegate:policy/endpoints@0.1.0" "read" (func $read (param i32 i32) (result i64)))"#;
    let pick = "(i32.wrap_i64 (call $read (i32.const 2) (i32.const 0)))";
    refused_by_hand("rehearsal", "index 2 is out of range", ByHand { items, pick, ..ByHand::default() });
}

#[test]
fn points_outside_its_memory() {
    let items = r#"(import "sluicegate:policy/host@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
    let pick = "(call $log (i32.const 0) (i32.const -8) (i32.const 100)) (i32.const 0)";
    refused("rehearsal", "outside the module's memory", &ByHand { items, pick, ..ByHand::default() }.module());
}
