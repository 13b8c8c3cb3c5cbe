//! Policies that misbehave: each gets its name in the log, and no request is lost.

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

/// Refused in both lanes, for what it does in a pick with some imports.
fn pick_refused(text: &str, items: &'static str, pick: &'static str) {
    refused_by_hand("rehearsal", text, ByHand { items, pick, ..ByHand::default() });
}

/// The same, while it is configured.
fn configure_refused(text: &str, items: &'static str, configure: &'static str) {
    refused_by_hand("rehearsal", text, ByHand { items, configure, ..ByHand::default() });
}

/// A policy that is too much and does no wrong: it serves, no request is lost, and its metrics are looked at.
fn serves(items: &'static str, configure: &'static str, pick: &'static str, look: impl Fn(&str) -> bool) {
    for lane in ["fast", "portable"] {
        let policy = ByHand { items, configure, pick, ..ByHand::default() };
        let origins = Origin::several(2);
        let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
            fs::write(dir.join("policy.wasm"), policy.build(lane)).unwrap();
        });
        let load = Load::start(proxy.address, 4);
        sluicegate_tests::eventually("its metrics are as they should be", || {
            (load.so_far().good > 300 && look(&proxy.admin("/metrics").1)).then_some(())
        });
        assert_eq!(load.stop().failed, Vec::<String>::new());
        assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["generation"], 1);
        assert!(!proxy.admin("/metrics").1.contains("sluicegate_policy_faults_total{"), "it does no wrong");
    }
}

/// Whether a line that begins like this and has this part has a number above 0.
fn counted(metrics: &str, start: &str, part: &str) -> bool {
    let mut lines = metrics.lines().filter(|line| line.starts_with(start) && line.contains(part));
    lines.any(|line| !line.ends_with(" 0"))
}

const REJECT: &str = r#"(import "sluicegate:policy/reply@0.1.0" "reject" (func $reject (param i32 i32 i32)))"#;
const HEADER: &str =
    r#"(import "sluicegate:policy/reply@0.1.0" "set-response-header" (func $header (param i32 i32 i32 i32)))"#;
const THEN: &str = r#"(import "sluicegate:policy/reply@0.1.0" "then" (func $then (param i32)))"#;
const HEDGE: &str = r#"(import "sluicegate:policy/reply@0.1.0" "hedge" (func $hedge (param i32 i32)))"#;
const EXPLAIN: &str = r#"(import "sluicegate:policy/reply@0.1.0" "explain" (func $explain (param i32 i32)))"#;
const COUNTER: &str =
    r#"(import "sluicegate:policy/host@0.1.0" "counter" (func $counter (param i32 i32) (result i32)))"#;
const PREFIX: &str = r#"(import "sluicegate:policy/needs@0.1.0" "body-prefix" (func $prefix (param i32)))"#;

#[test]
fn does_things_outside_of_their_moment() {
    let configure = "(call $reject (i32.const 429) (i32.const 0) (i32.const 0)) (i32.const 0)";
    configure_refused("`reply` can be used during `pick` only", REJECT, configure);
    let pick = "(drop (call $counter (i32.const 32) (i32.const 2))) (i32.const 0)";
    pick_refused("`counter` can be used during `configure` only", COUNTER, pick);
    let pick = "(call $prefix (i32.const 1)) (i32.const 0)";
    pick_refused("`needs` can be used during `configure` only", PREFIX, pick);
}

#[test]
fn wants_too_much_of_the_body() {
    configure_refused(
        "65536 bytes of a request's body, not for 70000",
        PREFIX,
        "(call $prefix (i32.const 70000)) (i32.const 0)",
    );
}

#[test]
fn rejects_with_a_status_that_is_no_error() {
    let pick = "(call $reject (i32.const 200) (i32.const 0) (i32.const 0)) (i32.const 0)";
    pick_refused("from 400 to 599, not with 200", REJECT, pick);
}

#[test]
fn names_next_choices_that_are_not_there_or_too_many() {
    pick_refused("index 2 is out of range", THEN, "(call $then (i32.const 2)) (i32.const 0)");
    pick_refused("more than 8 times", THEN, "(loop $again (call $then (i32.const 1)) (br $again)) (i32.const 0)");
    pick_refused("index 7 is out of range", HEDGE, "(call $hedge (i32.const 7) (i32.const 1)) (i32.const 0)");
    pick_refused("two requests at once", HEDGE, "(call $hedge (i32.const 1) (i32.const 0)) (i32.const 0)");
}

#[test]
fn sets_headers_that_are_none() {
    // At 32 there is "no thanks".
    let pick = "(call $header (i32.const 32) (i32.const 9) (i32.const 32) (i32.const 2)) (i32.const 0)";
    pick_refused("\"no thanks\" is no name of a header", HEADER, pick);
    // A zero byte.
    let pick = "(call $header (i32.const 32) (i32.const 2) (i32.const 80) (i32.const 1)) (i32.const 0)";
    pick_refused("bytes that no header can have", HEADER, pick);
    let pick = "(loop $again
        (call $header (i32.const 32) (i32.const 2) (i32.const 80) (i32.const 0))
        (global.set $left (i32.sub (global.get $left) (i32.const 1)))
        (br_if $again (global.get $left)))
        (i32.const 0)";
    let items = r#"(import "sluicegate:policy/reply@0.1.0" "set-response-header" (func $header (param i32 i32 i32 i32)))
        (global $left (mut i32) (i32.const 17))"#;
    pick_refused("a pick may set 16 headers", items, pick);
}

#[test]
fn sets_headers_that_are_none_later() {
    let pick = "(if (i32.gt_u (global.get $turn) (i32.const 100))
        (then (call $header (i32.const 32) (i32.const 9) (i32.const 32) (i32.const 2)))) (i32.const 0)";
    rolled_back("bad_reply", "no name of a header", pick, HEADER);
}

#[test]
fn makes_metrics_that_are_none_or_too_many() {
    let configure = "(drop (call $counter (i32.const 32) (i32.const 9))) (i32.const 0)";
    configure_refused("\"no thanks\" is no name for a metric", COUNTER, configure);
    // aa0, aa1, ... ab0, ...
    let configure = "(local $number i32) (loop $again
        (i32.store8 (i32.const 600) (i32.const 97))
        (i32.store8 (i32.const 601) (i32.add (i32.const 97) (i32.div_u (local.get $number) (i32.const 10))))
        (i32.store8 (i32.const 602) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
        (drop (call $counter (i32.const 600) (i32.const 3)))
        (local.set $number (i32.add (local.get $number) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $number) (i32.const 33)))) (i32.const 0)";
    configure_refused("ad2: a policy may have 32 counters and gauges", COUNTER, configure);
    let pick = "(call $add (i32.const 7) (i64.const 1)) (i32.const 0)";
    let items = r#"(import "sluicegate:policy/host@0.1.0" "add" (func $add (param i32 i64)))"#;
    pick_refused("there is no counter 7", items, pick);
}

#[test]
fn asks_for_slots_that_are_not_there() {
    let items = r#"(import "sluicegate:policy/shared@0.1.0" "get" (func $get (param i32) (result i64)))"#;
    pick_refused("there is no slot 64", items, "(i32.wrap_i64 (call $get (i32.const 64)))");
}

#[test]
fn sets_gauges_to_what_is_no_number() {
    let items = r#"(import "sluicegate:policy/host@0.1.0" "gauge" (func $gauge (param i32 i32) (result i32)))
        (import "sluicegate:policy/host@0.1.0" "set" (func $set (param i32 f64)))"#;
    let configure = "(drop (call $gauge (i32.const 32) (i32.const 2))) (i32.const 0)";
    let pick = "(call $set (i32.const 0) (f64.const 5)) (call $set (i32.const 0) (f64.const nan))
        (call $set (i32.const 0) (f64.const inf)) (i32.const 0)";
    serves(items, configure, pick, |metrics| {
        metrics.lines().any(|line| line.starts_with("sluicegate_policy_custom{") && line.ends_with(" 5"))
    });
}

#[test]
fn explains_at_great_length() {
    // All of its memory: text of zeros.
    let pick = "(call $explain (i32.const 1024) (i32.const 130048)) (i32.const 0)";
    serves(EXPLAIN, "i32.const 0", pick, |_| true);
}

#[test]
fn floods_endpoints_with_probes() {
    let pick = "(global.set $left (i32.const 1000))
        (loop $again
            (call $probe (i32.and (global.get $left) (i32.const 1)))
            (global.set $left (i32.sub (global.get $left) (i32.const 1)))
            (br_if $again (global.get $left)))
        (i32.const 0)";
    let items = r#"(import "sluicegate:policy/host@0.1.0" "probe" (func $probe (param i32)))
        (global $left (mut i32) (i32.const 0))"#;
    serves(items, "i32.const 0", pick, |metrics| counted(metrics, "sluicegate_probes_total", "dropped"));
}

#[test]
fn hedges_every_request_at_once() {
    let pick = "(call $hedge (i32.const 1) (i32.const 1)) (i32.const 0)";
    serves(HEDGE, "i32.const 0", pick, |_| true);
}

#[test]
fn ticks_without_end() {
    let items = r#"(func (export "sluicegate:policy/timer@0.1.0#tick") (param i64) (result i64) i64.const 1)"#;
    serves(items, "i32.const 0", "i32.const 0", |metrics| {
        counted(metrics, "sluicegate_policy_call_seconds_count", "tick")
    });
}

#[test]
fn loops_in_a_tick() {
    let items = r#"(func (export "sluicegate:policy/timer@0.1.0#tick") (param i64) (result i64)
        (loop $again (br $again)) (unreachable))"#;
    pick_refused("`tick` ran longer", items, "i32.const 0");
}

#[test]
fn traps_in_a_later_tick() {
    let items = r#"(global $ticks (mut i32) (i32.const 0))
        (func (export "sluicegate:policy/timer@0.1.0#tick") (param i64) (result i64)
            (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
            (if (i32.gt_u (global.get $ticks) (i32.const 3)) (then (unreachable)))
            (i64.const 1000000))"#;
    rolled_back("trap", "`tick` trapped", "i32.const 0", items);
}

#[test]
fn traps_when_it_hears_of_a_probe() {
    let items =
        r#"(func (export "sluicegate:policy/probing@0.1.0#on-probe") (param i64 i64 i32 i32 i64 i64) (unreachable))"#;
    pick_refused("`on-probe` trapped", items, "i32.const 0");
}

#[test]
fn points_outside_its_memory_in_every_import() {
    for (items, pick) in [
        (REJECT, "(call $reject (i32.const 429) (i32.const -8) (i32.const 100)) (i32.const 0)"),
        (HEADER, "(call $header (i32.const -8) (i32.const 100) (i32.const 0) (i32.const 0)) (i32.const 0)"),
        (HEADER, "(call $header (i32.const 32) (i32.const 2) (i32.const -8) (i32.const 100)) (i32.const 0)"),
        (EXPLAIN, "(call $explain (i32.const 131071) (i32.const 2)) (i32.const 0)"),
        (COUNTER, "(call $counter (i32.const -1) (i32.const 2))"),
    ] {
        refused("rehearsal", "outside the module's memory", &ByHand { items, pick, ..ByHand::default() }.module());
    }
    let items = r#"(import "sluicegate:policy/request@0.1.0" "body" (func $body (param i32 i32 i32)))"#;
    let pick = "(call $body (i32.const 0) (i32.const 5) (i32.const -4)) (i32.const 0)";
    refused("rehearsal", "outside the module's memory", &ByHand { items, pick, ..ByHand::default() }.module());
}

#[test]
fn names_headers_at_great_length() {
    let pick = "(call $header (i32.const 1024) (i32.const 100000) (i32.const 0) (i32.const 0)) (i32.const 0)";
    let policy = ByHand { items: HEADER, pick, ..ByHand::default() };
    refused("rehearsal", "a text of 100000 bytes", &policy.module());
    refused("rehearsal", "is no name of a header", &policy.component());
}

/// What a policy does when it hears of a request, after a hundred of them.
macro_rules! on_a_later_result {
    ($what:literal) => {
        concat!(
            r#"(global $heard (mut i32) (i32.const 0))
            (func (export "sluicegate:policy/feedback@0.1.0#on-result") (param i64 i64 i32 i32 i32 i32 i32)
                (global.set $heard (i32.add (global.get $heard) (i32.const 1)))
                (if (i32.gt_u (global.get $heard) (i32.const 100)) (then "#,
            $what,
            ")))"
        )
    };
}

#[test]
fn loops_when_it_hears_of_a_later_request() {
    rolled_back("timeout", "`on-result` ran longer", "i32.const 0", on_a_later_result!("(loop $again (br $again))"));
}

#[test]
fn traps_when_it_hears_of_a_later_request() {
    rolled_back("trap", "`on-result` trapped", "i32.const 0", on_a_later_result!("(unreachable)"));
}
