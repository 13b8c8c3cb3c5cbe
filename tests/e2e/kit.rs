//! The authors' commands `conformance` and `bench`, with policies that do well and policies that do not.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use sluicegate_tests::{
    binary,
    wasm::{self, ByHand},
};
use tempfile::TempDir;

/// What a policy has to be told before it does anything; all others need nothing.
const CONFIGS: [(&str, &str); 2] =
    [("sticky", r#"{"key": "000102030405060708090a0b0c0d0e0f"}"#), ("zone-aware", r#"{"zone": "a"}"#)];

fn config_of(policy: &str) -> &'static str {
    CONFIGS.iter().find(|(name, _)| *name == policy).map_or("{}", |(_, config)| config)
}

/// The report of a run in this folder, with its exit code.
fn report(dir: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let Output { status, stdout, stderr } =
        Command::new(binary()).current_dir(dir).args(arguments).arg("--json").output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    let report = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stderr}"));
    (status.code(), report)
}

/// The checks that ended so.
fn checks<'a>(report: &'a Value, result: &str) -> Vec<&'a str> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["result"] == result);
    checks.map(|check| check["name"].as_str().unwrap()).collect()
}

/// A built-in policy passes, as it ships and as a component, and picks alike in both lanes.
fn passes(policy: &str) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("component.wasm"), wasm::builtin(policy, "portable")).unwrap();
    let config = config_of(policy);
    for (file, other, lane) in [(policy, "component.wasm", "fast"), ("component.wasm", policy, "portable")] {
        let arguments = ["conformance", file, "--same-as", other, "--config", config];
        let (code, report) = report(dir.path(), &arguments);
        assert_eq!(checks(&report, "failed"), Vec::<&str>::new(), "{policy}, {lane}: {report:#}");
        assert_eq!((code, &report["ok"], &report["lane"]), (Some(0), &Value::Bool(true), &Value::from(lane)));
        assert!(checks(&report, "ok").contains(&"same-picks"), "{report:#}");
    }
}

#[test]
fn every_built_in_policy_passes_in_both_lanes() {
    // Half of them at a time: a debug build takes seconds for each.
    let names: Vec<&str> = sluicegate_builtins::names().collect();
    let (some, others) = names.split_at(names.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| some.iter().for_each(|policy| passes(policy)));
        others.iter().for_each(|policy| passes(policy));
    });
}

/// What is wrong with a policy is found by the check whose business it is, and by no other; in both lanes.
fn fails(check: &str, seen: &str, policy: ByHand) {
    for lane in ["fast", "portable"] {
        fails_as(check, seen, &policy.build(lane));
    }
}

fn fails_as(check: &str, seen: &str, file: &[u8]) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("policy.wasm"), file).unwrap();
    let (code, report) = report(dir.path(), &["conformance", "policy.wasm", "--seed", "7"]);
    assert_eq!((code, &report["ok"]), (Some(1), &Value::Bool(false)));
    assert_eq!(checks(&report, "failed"), [check], "{report:#}");
    let failed = report["checks"].as_array().unwrap().iter().find(|found| found["name"] == check).unwrap();
    assert!(failed["detail"].as_str().unwrap().contains(seen), "{failed:#}");
    // The command that it names shows it again.
    let again = format!("sluicegate conformance policy.wasm --seed 7 --only {check}");
    assert_eq!(failed["again"], again.as_str());
    let again: Vec<&str> = again.split(' ').skip(1).collect();
    assert_eq!(checks(&self::report(dir.path(), &again).1, "failed"), [check]);
}

const COUNT: &str = r#"(import "sluicegate:policy/endpoints@0.1.0" "count" (func $count (result i32)))"#;

/// Picks all endpoints in turn, and leaves retries to the proxy.
const IN_TURN: &str = "(if (local.get $attempt) (then (return (i32.const -1))))
    (i32.rem_u (global.get $turn) (call $count))";

/// A policy that does well, but for these exports and imports.
fn but_for(items: &str) -> ByHand {
    by_hand(&format!("{COUNT} {items}"), IN_TURN)
}

fn by_hand(items: &str, pick: &str) -> ByHand {
    let [items, pick] = [items, pick].map(|text| &*text.to_owned().leak());
    ByHand { items, pick, ..ByHand::default() }
}

/// It may also fail others, which meet the same.
fn fails_among_others(check: &str, policy: ByHand) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("policy.wasm"), policy.module()).unwrap();
    let (code, report) = report(dir.path(), &["conformance", "policy.wasm"]);
    assert_eq!(code, Some(1));
    assert!(checks(&report, "failed").contains(&check), "{report:#}");
}

#[test]
fn what_is_written_by_hand_can_pass() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("policy.wasm"), but_for("").module()).unwrap();
    let output = Command::new(binary()).current_dir(dir.path()).args(["conformance", "policy.wasm"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for expected in ["ok       index-bounds", "skipped  state", "a slip goes unnoticed", " 0 failed"] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}

#[test]
fn what_is_no_policy_does_not_load() {
    fails_as("loads", "does not begin like a .wasm file", b"<html>");
    fails_as("loads", "is it a policy?", b"\0asm\x01\0\0\0");
}

#[test]
fn what_the_policy_refuses_is_its_configuration() {
    fails("configures", "no thanks", ByHand { configure: "i32.const 16", ..ByHand::default() });
}

#[test]
fn a_trap_is_found_where_it_happens() {
    fails("call-order", "`pick` trapped", by_hand("", "(unreachable)"));
    // With as many endpoints as it never thought of.
    let pick = format!("(if (i32.gt_u (call $count) (i32.const 5000)) (then (unreachable))) {IN_TURN}");
    fails_among_others("membership", by_hand(COUNT, &pick));
}

#[test]
fn a_pick_out_of_bounds_is_found() {
    fails("index-bounds", "answered 7, but there are only", by_hand("", "(i32.const 7)"));
}

/// It goes on with as many endpoints as there ever were.
#[test]
fn a_stale_index_is_found() {
    let items = format!("{COUNT} (global $most (mut i32) (i32.const 1))");
    let pick = "(if (local.get $attempt) (then (return (i32.const -1))))
        (if (i32.eq (call $count) (i32.const 10000)) (then (global.set $most (i32.const 10000))))
        (if (i32.lt_u (global.get $most) (i32.const 10000)) (then (global.set $most (call $count))))
        (i32.rem_u (global.get $turn) (global.get $most))";
    fails_among_others("membership", by_hand(&items, pick));
}

#[test]
fn a_pick_of_one_that_was_tried_is_found() {
    fails("excluded", "picked 0 although the request has been to", by_hand("", "(i32.const 0)"));
}

#[test]
fn another_build_that_picks_otherwise_is_found() {
    let dir = TempDir::new().unwrap();
    let (code, report) = report(dir.path(), &["conformance", "random", "--same-as", "round-robin"]);
    assert_eq!((code, checks(&report, "failed")), (Some(1), vec!["same-picks"]), "{report:#}");
}

#[test]
fn a_result_that_it_does_not_bear_is_found() {
    // Of an endpoint that never was.
    let feedback = r#"(func (export "sluicegate:policy/feedback@0.1.0#on-result")
        (param $now i64) (param $id i64) (param i32 i32 i32 i32 i32)
        (if (i64.eqz (local.get $id)) (then (unreachable))))"#;
    fails("feedback", "`on-result` trapped", but_for(feedback));
}

#[test]
fn a_flood_of_probes_is_found() {
    let items = r#"(import "sluicegate:policy/host@0.1.0" "probe" (func $probe (param i32)))
        (global $left (mut i32) (i32.const 0))"#;
    let pick = format!(
        "(global.set $left (i32.const 65))
        (loop $again
            (call $probe (i32.const 0))
            (global.set $left (i32.sub (global.get $left) (i32.const 1)))
            (br_if $again (global.get $left)))
        {IN_TURN}"
    );
    fails("probes", "asked for more than 64", by_hand(&format!("{COUNT} {items}"), &pick));
}

#[test]
fn a_tick_that_comes_too_soon_is_found() {
    let timer = r#"(func (export "sluicegate:policy/timer@0.1.0#tick") (param i64) (result i64) i64.const 999999)"#;
    fails("timer", "999999 ns", but_for(timer));
}

#[test]
fn a_header_that_is_none_is_found() {
    let items =
        r#"(import "sluicegate:policy/reply@0.1.0" "set-response-header" (func $header (param i32 i32 i32 i32)))"#;
    // At 32 there is "no thanks".
    let pick = format!("(call $header (i32.const 32) (i32.const 9) (i32.const 32) (i32.const 2)) {IN_TURN}");
    fails("replies", "no name of a header", by_hand(&format!("{COUNT} {items}"), &pick));
}

/// Saves 8 bytes, and restores with this.
fn with_state(restore: &str) -> ByHand {
    but_for(&format!(
        r#"(data (i32.const 700) "\bc\02\00\00\08\00\00\00")
        (func (export "sluicegate:policy/state@0.1.0#schema") (result i32) i32.const 3)
        (func (export "sluicegate:policy/state@0.1.0#save") (result i32) i32.const 700)
        (func (export "sluicegate:policy/state@0.1.0#restore")
            (param $schema i32) (param $at i32) (param $length i32) (result i32) {restore})"#
    ))
}

#[test]
fn a_state_that_it_does_not_bear_is_found() {
    let careful = "(if (result i32) (i32.and (i32.eq (local.get $schema) (i32.const 3))
            (i32.eq (local.get $length) (i32.const 8))) (then (i32.const 0)) (else (i32.const 16)))";
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("policy.wasm"), with_state(careful).module()).unwrap();
    let (code, report) = report(dir.path(), &["conformance", "policy.wasm", "--only", "state"]);
    assert_eq!((code, checks(&report, "ok")), (Some(0), vec!["state"]), "{report:#}");

    fails("state", "refused what it had saved at its start itself: no thanks", with_state("(i32.const 16)"));
    let hasty = "(if (i32.ne (local.get $length) (i32.const 8)) (then (unreachable))) (i32.const 0)";
    fails("state", "`restore` trapped", with_state(hasty));
}

#[test]
fn a_configuration_that_it_does_not_bear_is_found() {
    // It was only ever given `{}`.
    let configure = "(if (i32.ne (local.get 1) (i32.const 2)) (then (unreachable))) (i32.const 0)";
    fails("configuration", "`configure` trapped", ByHand { configure, ..but_for("") });
}

#[test]
fn a_call_that_takes_too_long_is_found() {
    fails("deadline", "`pick` ran longer", by_hand("", "(loop $again (br $again)) (unreachable)"));
    // Not for ever, and with many endpoints only.
    let items = format!("{COUNT} (global $left (mut i32) (i32.const 0))");
    let pick = format!(
        "(if (i32.gt_u (call $count) (i32.const 5000)) (then
            (global.set $left (i32.const 4000000))
            (loop $again
                (global.set $left (i32.sub (global.get $left) (i32.const 1)))
                (br_if $again (global.get $left)))))
        {IN_TURN}"
    );
    fails_among_others("deadline", by_hand(&items, &pick));
}

#[test]
fn memory_that_is_never_given_back_is_found() {
    let pick = "(loop $again (drop (memory.grow (i32.const 100))) (br $again)) (unreachable)";
    fails("memory", "bytes of memory: the limit is", by_hand("", pick));
    let pick = format!(
        "(if (i32.eqz (i32.rem_u (global.get $turn) (i32.const 8000))) (then (drop (memory.grow (i32.const 1))))) {IN_TURN}"
    );
    fails("memory", "a leak?", by_hand(COUNT, &pick));
}

#[test]
fn what_cannot_be_run_is_told_apart_from_what_fails() {
    let dir = TempDir::new().unwrap();
    for (arguments, code, expected) in [
        (&["conformance", "other.wasm"][..], 2, "can't read other.wasm"),
        (&["conformance", "p2c", "--only", "taste"], 1, "no check is called that; there are: loads"),
        (&["conformance", "p2c", "--same-as", "other.wasm"], 1, "--same-as: can't read other.wasm"),
        (&["conformance", "p2c", "--config", "3"], 2, "write an object"),
    ] {
        let output = Command::new(binary()).current_dir(dir.path()).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

/// What `bench` says of one call.
fn call<'a>(row: &'a Value, name: &str) -> &'a Value {
    &row["calls"][name]
}

#[test]
fn what_a_policy_costs_is_measured() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("component.wasm"), wasm::builtin("peak-ewma", "portable")).unwrap();
    for (policy, lane) in [("peak-ewma", "fast"), ("component.wasm", "portable")] {
        let arguments = ["bench", policy, "--endpoints", "1,10,300", "--seconds", "0.05"];
        let (code, report) = report(dir.path(), &arguments);
        assert_eq!((code, &report["lane"]), (Some(0), &Value::from(lane)), "{report:#}");
        assert!(report["compile_ms"].as_f64().unwrap() > 0.0);
        let rows = report["endpoints"].as_array().unwrap();
        let counts: Vec<u64> = rows.iter().map(|row| row["endpoints"].as_u64().unwrap()).collect();
        assert_eq!(counts, [1, 10, 300]);
        for row in rows {
            for name in ["pick", "on-result", "endpoints-all-new", "endpoints-one-more", "save", "restore"] {
                let figures = ["mean_ns", "p50_ns", "p99_ns", "p999_ns", "max_ns"];
                let [mean, p50, p99, p999, max] = figures.map(|figure| call(row, name)[figure].as_f64().unwrap());
                assert!(mean > 0.0 && p50 <= p99 && p99 <= p999 && p999 <= max, "{name}: {row:#}");
                assert!(call(row, name)["calls"].as_u64().unwrap() > 0, "{name}: {row:#}");
            }
            // It exports neither.
            assert_eq!((call(row, "tick"), call(row, "on-probe")), (&Value::Null, &Value::Null));
            assert!(row["memory_bytes"].as_u64().unwrap() >= 65_536, "{row:#}");
            assert!(row["instance_ms"].as_f64().unwrap() > 0.0 && row["rehearsal_ms"].as_f64().unwrap() > 0.0);
        }
    }
}

/// Instructions are counted, not timed: they are the same every time, and a scan takes more of them among more endpoints.
#[test]
fn instructions_do_not_depend_on_the_machine() {
    let dir = TempDir::new().unwrap();
    let count = |policy| {
        let (_, report) = report(dir.path(), &["bench", policy, "--endpoints", "10,1000", "--seconds", "0.01"]);
        let rows = report["endpoints"].as_array().unwrap();
        [0, 1].map(|row: usize| rows[row]["instructions_per_pick"].as_f64().unwrap())
    };
    let [few, many] = count("least-request");
    assert!(few > 10.0 && many > 2.0 * few, "{few}, {many}");
    assert_eq!(count("least-request"), [few, many]);
}

#[test]
fn what_a_policy_costs_is_a_table() {
    let dir = TempDir::new().unwrap();
    let run = |arguments: &[&str]| Command::new(binary()).current_dir(dir.path()).args(arguments).output().unwrap();
    let good =
        run(&["bench", "zone-aware", "--config", config_of("zone-aware"), "--endpoints", "3", "--seconds", "0.01"]);
    let text = String::from_utf8(good.stdout).unwrap();
    for expected in ["zone-aware: ", "fast lane", "p99.9", "endpoints-all-new", "instructions per pick"] {
        assert!(good.status.success() && text.contains(expected), "{expected:?} in {text}");
    }
    for (arguments, expected) in [
        (&["bench", "other.wasm"][..], "can't read other.wasm"),
        (&["bench", "zone-aware"], "refuses its configuration"),
        (&["bench", "p2c", "--endpoints", "0"], "0 is not in"),
    ] {
        let bad = run(arguments);
        let stderr = String::from_utf8_lossy(&bad.stderr);
        assert!(!bad.status.success() && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}
