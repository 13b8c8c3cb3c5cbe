//! The power of two choices in other languages: each example is built by its own script, takes its lane, picks what the
//! built-in policy picks, and serves.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;
use sluicegate_plugin_p2c::P2c;
use sluicegate_tests::{Origin, Proxy, binary, get, peers};
use tempfile::TempDir;

use crate::{config, conformance::agree_in};

/// A folder's policy, in a folder that goes away, if what it is built with is there.
fn built(folder: &str, toolchains: &[&str]) -> Option<TempDir> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let toolchain = examples.join("toolchain.sh");
    if !toolchains.iter().all(|name| peers::has_toolchain(&toolchain, name)) {
        return None;
    }
    let dir = TempDir::new().unwrap();
    let mut build = Command::new(examples.join(folder).join("build.sh"));
    let output = build.arg(dir.path().join("policy.wasm")).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&text));
    Some(dir)
}

/// What `sluicegate check` says of it.
fn check(file: &Path, config: &str) -> Value {
    let mut check = Command::new(binary());
    let output = check.args(["check", "--json", "--config", config]).arg(file).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The seed, as it is.
fn whole(seed: u64) -> u64 {
    seed
}

/// The seed as a number of JavaScript's, which has 53 bits.
fn as_a_double(seed: u64) -> u64 {
    seed as f64 as u64
}

/// `seen`: the seed as the language sees it.
fn picks_as_the_built_in_one(folder: &str, lane: &str, toolchains: &[&str], seen: fn(u64) -> u64) {
    let Some(dir) = built(folder, toolchains) else { return };
    let file = dir.path().join("policy.wasm");
    let checked = check(&file, "{}");
    assert_eq!((&checked["ok"], &checked["lane"]), (&true.into(), &lane.into()), "{checked:#}");
    let refused = check(&file, r#"{"choices": 3}"#);
    let reason = refused["refusal"]["reason"].as_str().unwrap();
    assert!(reason.contains("nothing to configure"), "{reason}");
    agree_in::<P2c>(&[fs::read(&file).unwrap()], "{}", seen);
    serves(&file);
}

/// All endpoints answer, and nothing is left to the fallback.
fn serves(file: &Path) {
    let origins = Origin::several(3);
    let config = config("{ file = \"policy.wasm\" }", &origins);
    let proxy = Proxy::start(&config, |dir| {
        fs::copy(file, dir.join("policy.wasm")).unwrap();
    });
    let answers = (0..200).map(|_| get(proxy.address, "/", "h").unwrap());
    let (statuses, names): (BTreeSet<u16>, BTreeSet<String>) = answers.unzip();
    assert_eq!((statuses, names.len()), (BTreeSet::from([200]), 3), "{names:?}");
    let metrics = proxy.admin("/metrics").1;
    let troubles = metrics.lines().filter(|line| line.contains("fallback") || line.contains("policy_faults"));
    let troubles: Vec<_> = troubles.filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).collect();
    assert!(troubles.is_empty(), "{troubles:?}");
}

#[test]
fn c() {
    picks_as_the_built_in_one("p2c-c", "fast", &["zig"], whole);
}

#[test]
fn zig() {
    picks_as_the_built_in_one("p2c-zig", "fast", &["zig"], whole);
}

#[test]
fn assemblyscript() {
    picks_as_the_built_in_one("p2c-assemblyscript", "fast", &["assemblyscript"], whole);
}

#[test]
fn javascript() {
    picks_as_the_built_in_one("p2c-javascript", "portable", &["javascript"], as_a_double);
}

/// Eighteen megabytes, which take some ten seconds to compile, each time.
#[test]
fn python() {
    picks_as_the_built_in_one("p2c-python", "portable", &["python"], whole);
}

#[test]
fn go() {
    picks_as_the_built_in_one("p2c-go", "fast", &["go", "binaryen"], whole);
}
