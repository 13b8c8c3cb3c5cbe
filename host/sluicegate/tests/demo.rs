//! The demo, as a user starts it.

use std::process::Command;

use serde_json::Value;

#[test]
fn without_a_terminal_it_swaps_policies_and_fails_no_request() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    let output = demo.args(["demo", "--seconds", "3", "--rate", "500"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap();
    let figure = |name: &str| last[name].as_u64().unwrap_or_else(|| panic!("no {name} in {last}"));
    assert!(figure("requests") > 0, "{last}");
    assert_eq!(figure("failed"), 0, "{last}");
    assert!(figure("swaps") >= 1, "{last}");
    assert!(stdout.contains("swapped round-robin for p2c"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "escape sequences where there is no terminal: {stdout}");
}

#[test]
fn a_policy_that_is_none_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.wasm");
    std::fs::write(&file, "not wasm").unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    let output = demo.args(["demo", "--seconds", "3", "--policy"]).arg(&file).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.starts_with("error: ") && stderr.contains("mine.wasm"), "{stderr}");
}

#[test]
fn a_built_in_policy_is_called_by_its_name() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    let output = demo.args(["demo", "--seconds", "1", "--rate", "200", "--policy", "peak-ewma"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("peak-ewma"), "{stdout}");
}
