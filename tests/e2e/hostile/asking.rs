//! Policies that misbehave in what they may ask of the proxy beside a pick: replies, metrics, probes, ticks.

use std::fs;

use sluicegate_tests::{Load, Origin, Proxy, wasm::ByHand};

use super::{refused, refused_by_hand, rolled_back};
use crate::config;

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
