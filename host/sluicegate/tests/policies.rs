//! The commands for people who write policies: `new`, `build`, `check` and `run --check`, as they are run for real.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

fn sluicegate(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.current_dir(dir).args(arguments);
    command
}

/// What a run ended with: its code, what it printed, and what it complained about.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn end(mut command: Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code(), out: text(stdout), err: text(stderr) }
}

fn run(dir: &Path, arguments: &[&str]) -> Ended {
    end(sluicegate(dir, arguments))
}

fn p2c() -> &'static [u8] {
    sluicegate_builtins::get("p2c").unwrap()
}

/// A folder with `policy.wasm` in it.
fn folder_with(wasm: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policy.wasm"), wasm).unwrap();
    dir
}

#[test]
fn a_good_policy_is_described() {
    let dir = folder_with(p2c());
    let text = run(dir.path(), &["check", "policy.wasm"]);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    for expected in [
        "fast: called directly",
        "because it is a core module",
        "0.1.0",
        "balancer   yes",
        "feedback   no",
        "64 picks",
        "\nok\n",
    ] {
        assert!(text.out.contains(expected), "{expected:?} in {}", text.out);
    }
    assert!(!text.out.contains('\x1b'), "colours are for terminals");

    let json =
        run(dir.path(), &["check", "policy.wasm", "--json", "--endpoints", "3", "--config", r#"{"choices": 3}"#]);
    assert_eq!((json.code, json.err.as_str()), (Some(0), ""));
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["refusal"], Value::Null);
    assert_eq!(json["lane"], "fast");
    assert_eq!(json["size_bytes"], p2c().len());
    assert_eq!(json["rehearsal"]["endpoints"], 3);
    assert_eq!(json["rehearsal"]["declined"], 0);
    assert!(
        json["imports"].as_array().unwrap().iter().any(|import| import.as_str().unwrap().starts_with("endpoints."))
    );
}

#[test]
fn a_component_is_told_apart_from_a_module() {
    let mut component = wit_component::ComponentEncoder::default().module(p2c()).unwrap().encode().unwrap();
    let lane = |component: &[u8]| {
        let dir = folder_with(component);
        let text = run(dir.path(), &["check", "policy.wasm"]);
        assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
        text.out
    };
    let text = lane(&component);
    assert!(text.contains("fast: called directly") && text.contains("merely wraps one core module"), "{text}");
    // With a second module, there is more to it than that.
    component.extend([1, 13]);
    component.extend(b"\0asm\x01\0\0\0\x05\x03\x01\0\0");
    let text = lane(&component);
    assert!(text.contains("portable: called through") && text.contains("it has 2 core modules"), "{text}");
}

fn check_refused(wasm: &[u8], config: &str, label: &str, reason: &str) {
    let dir = folder_with(wasm);
    let text = run(dir.path(), &["check", "policy.wasm", "--config", config]);
    assert_eq!(text.code, Some(1), "{label}");
    assert!(text.err.starts_with(&format!("refused: {label}: ")) && text.err.contains(reason), "{}", text.err);
    assert!(text.out.contains("sha256"), "what is known is said: {}", text.out);
    let json = run(dir.path(), &["check", "policy.wasm", "--config", config, "--json"]);
    assert_eq!((json.code, json.err.as_str()), (Some(1), ""));
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["ok"], &json["refusal"]["label"]), (&Value::Bool(false), &Value::String(label.into())));
    assert!(json["refusal"]["reason"].as_str().unwrap().contains(reason), "{json}");
}

#[test]
fn what_is_no_policy_is_refused_with_its_reason() {
    check_refused(b"<html>", "{}", "not_wasm", "does not begin like a .wasm file");
    check_refused(b"", "{}", "not_wasm", "the file is empty");
    check_refused(&p2c()[..p2c().len() / 2], "{}", "truncated", "incomplete");
    check_refused(b"\0asm\x01\0\0\0", "{}", "missing_export", "export!(MyPolicy)");
    check_refused(p2c(), r#"{"choices": 0}"#, "configure", "`choices`: 0 is not from 1 to 8");
}

#[test]
fn what_cannot_be_asked_is_told_apart_from_what_is_refused() {
    let dir = folder_with(p2c());
    for (arguments, expected) in [
        (&["check", "other.wasm"][..], "can't read other.wasm"),
        (&["check", "."], "can't read ."),
        (&["check", "policy.wasm", "--config", "{"], "not JSON"),
        (&["check", "policy.wasm", "--config", "3"], "write an object"),
        (&["check", "policy.wasm", "--endpoints", "0"], "0 is not in"),
    ] {
        let ended = run(dir.path(), arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.err.contains(expected), "{}", ended.err);
    }
}

#[test]
fn new_refuses_names_and_places_that_would_not_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("full")).unwrap();
    fs::write(dir.path().join("full/file"), "").unwrap();
    fs::write(dir.path().join("plain"), "").unwrap();
    for (arguments, expected) in [
        (&["new", "2fast"][..], "does not start with a letter"),
        (&["new", "a/b"], "it has '/'"),
        (&["new", "loop"], "Rust keyword"),
        (&["new", "serde"], "part of every policy"),
        (&["new", "full"], "full exists already"),
        (&["new", "plain"], "plain exists already"),
        (&["new", "mine", "--sdk", "nowhere"], "no SDK: can't read nowhere/Cargo.toml"),
    ] {
        let ended = run(dir.path(), arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(ended.err.contains(expected), "{}", ended.err);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
}

#[test]
fn new_uses_an_sdk_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mine")).unwrap();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-sdk").canonicalize().unwrap();
    let ended = run(dir.path(), &["new", "mine", "--sdk", sdk.to_str().unwrap()]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let manifest = fs::read_to_string(dir.path().join("mine/Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("path = {sdk:?}")), "{manifest}");
    assert!(!dir.path().join("mine/sluicegate-sdk").exists());
}

/// Where the scaffold is made. Always the same place, so that what it depends on is compiled once; it is a folder in
/// the repository's target, which shows that the scaffold does not mind the workspace around it.
fn workshop() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("policies");
    let _ = fs::remove_dir_all(dir.join("my-policy"));
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn from_nothing_to_a_policy_that_the_proxy_takes() {
    let dir = workshop();
    let target = dir.join("target");
    let made = run(&dir, &["new", "my-policy"]);
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""));
    assert!(made.out.contains("sluicegate build my-policy"), "{}", made.out);
    // The versions that this repository is tested with, whatever the registry has by now.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    fs::copy(lock, dir.join("my-policy/Cargo.lock")).unwrap();

    let mut test = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    test.args(["test", "--color=never"]).current_dir(dir.join("my-policy"));
    test.env("CARGO_TARGET_DIR", &target).env_remove("RUSTC_WORKSPACE_WRAPPER");
    let test = end(test);
    assert_eq!(test.code, Some(0), "{}{}", test.out, test.err);
    assert!(test.out.contains("3 passed"), "{}", test.out);
    assert!(!test.err.contains("warning"), "{}", test.err);

    let build = |arguments: &[&str]| {
        let mut build = sluicegate(&dir, arguments);
        build.env("CARGO_TARGET_DIR", &target).env("CARGO_TERM_COLOR", "never");
        end(build)
    };
    let built = build(&["build", "my-policy"]);
    assert_eq!(built.code, Some(0), "{}{}", built.out, built.err);
    assert!(built.out.contains("my-policy/my_policy.wasm: ") && built.out.contains("ok: "), "{}", built.out);

    let checked = run(&dir, &["check", "my-policy/my_policy.wasm", "--config", r#"{"choices": 4}"#]);
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""), "{}", checked.out);
    let served = dir.join("my-policy/serve.toml");
    fs::write(&served, configuration(r#"{ file = "my_policy.wasm", config = { choices = 3 } }"#)).unwrap();
    let taken = run(&dir, &["run", "--check", "--config", "my-policy/serve.toml"]);
    assert_eq!((taken.code, taken.err.as_str()), (Some(0), ""));

    // A version that the proxy would refuse does not take the place of the one that works.
    let before = fs::read(dir.join("my-policy/my_policy.wasm")).unwrap();
    let source = dir.join("my-policy/src/lib.rs");
    let good = fs::read_to_string(&source).unwrap();
    fs::write(&source, good.replace("export!(LeastLoaded);", "")).unwrap();
    let refused = build(&["build", "my-policy"]);
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(
        refused.err.contains("refused: missing_export") && refused.err.contains("stays as it was"),
        "{}",
        refused.err
    );
    fs::write(&source, good.replace("fn two()", "fn 2()")).unwrap();
    let broken = build(&["build", "my-policy"]);
    assert_eq!(broken.code, Some(1));
    assert!(broken.err.contains("src/lib.rs:") && broken.err.contains("could not be built"), "{}", broken.err);
    assert_eq!(fs::read(dir.join("my-policy/my_policy.wasm")).unwrap(), before);
}

#[test]
fn build_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let crate_dir = dir.path().join("library");
    fs::create_dir_all(crate_dir.join("src")).unwrap();
    fs::write(crate_dir.join("src/lib.rs"), "").unwrap();
    let manifest = "[package]\nname = \"library\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(crate_dir.join("Cargo.toml"), manifest).unwrap();
    fs::create_dir(dir.path().join("group")).unwrap();
    fs::write(dir.path().join("group/Cargo.toml"), "[workspace]\nmembers = []\nresolver = \"3\"\n").unwrap();
    for (arguments, expected) in [
        (&["build"][..], ". has no Cargo.toml"),
        (&["build", "library"], "crate-type = [\"cdylib\", \"rlib\"]"),
        (&["build", "group"], "holds no crate but a workspace"),
    ] {
        let ended = run(dir.path(), arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}");
        assert!(ended.err.contains(expected), "{}", ended.err);
    }
    let mut without_cargo = sluicegate(dir.path(), &["build", "library"]);
    without_cargo.env_remove("CARGO").env("PATH", dir.path());
    let ended = end(without_cargo);
    assert!(ended.code == Some(1) && ended.err.contains("https://rustup.rs"), "{}", ended.err);
}

#[test]
#[cfg(unix)]
fn build_says_that_the_target_is_missing() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::write(dir.path().join("src/lib.rs"), "").unwrap();
    let manifest = "[package]\nname = \"library\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";
    fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    // A compiler whose targets are somewhere else.
    let rustc = dir.path().join("rustc");
    fs::write(&rustc, "#!/bin/sh\necho /nowhere\n").unwrap();
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sluicegate(dir.path(), &["build"]);
    command.env("RUSTC", &rustc);
    let ended = end(command);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.err.contains("rustup target add wasm32-unknown-unknown"), "{}", ended.err);
}

fn configuration(policy: &str) -> String {
    let cluster = |name| format!("[cluster.{name}]\nendpoints = [\"127.0.0.1:9001\"]\npolicy = {policy}\n");
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\ncluster = \"one\"\n";
    format!("{listener}{}{}", cluster("one"), cluster("two"))
}

#[test]
fn a_configuration_is_checked_with_all_its_policies() {
    let dir = folder_with(b"<html>");
    let check = |policy| {
        fs::write(dir.path().join("proxy.toml"), configuration(policy)).unwrap();
        run(dir.path(), &["run", "--check", "--config", "proxy.toml"])
    };
    let good = check("\"p2c\"");
    assert_eq!((good.code, good.out.as_str(), good.err.as_str()), (Some(0), "ok: 2 clusters, 1 route\n", ""));
    let unknown = check("\"p3c\"");
    assert!(unknown.code == Some(1) && unknown.err.contains("cluster.one.policy"), "{}", unknown.err);
    let bad = check("{ file = \"policy.wasm\" }");
    assert_eq!((bad.code, bad.out.as_str()), (Some(1), ""));
    for cluster in ["one", "two"] {
        let expected = format!("cluster.{cluster}.policy: policy.wasm is refused: not WebAssembly");
        assert!(bad.err.contains(&expected), "{}", bad.err);
    }
}
