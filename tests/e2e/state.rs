//! What a policy has learnt, carried over a swap.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use sluicegate_tests::{
    Load, Origin, Proxy, binary, eventually,
    wasm::{self, ByHand},
};

use crate::config;

/// The example policy, built as its author would, with `sluicegate build`.
fn fastest() -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let output = folder.join("fastest.wasm");
        let mut build = Command::new(binary());
        build.arg("build").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fastest"));
        build.arg("--output").arg(&output).env("CARGO_TARGET_DIR", folder.join("examples"));
        assert!(build.status().unwrap().success());
        output
    });
    fs::read(built).unwrap()
}

/// Other bytes, the same behaviour: with a custom section of its own.
fn again(mut module: Vec<u8>, number: u8) -> Vec<u8> {
    module.extend([0, 3, 1, b'n', number]);
    module
}

fn carried_over(lane: &str) {
    let module = |number| match lane {
        "portable" => wasm::component(&again(fastest(), number)),
        _ => again(fastest(), number),
    };
    let origins = vec![Origin::start(Duration::from_millis(30)), Origin::start(Duration::ZERO)];
    let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
        fs::write(dir.join("policy.wasm"), module(1)).unwrap();
    });
    let load = Load::start(proxy.address, 2);
    eventually("it knows who is fast", || (load.so_far().good > 100).then_some(()));
    let slow = origins[0].served();
    fs::write(proxy.path("policy.wasm"), module(2)).unwrap();
    assert_eq!(proxy.wait_for_generation(2)["state"], "carried over");
    let before = load.so_far().good;
    eventually("more requests", || (load.so_far().good > before + 100).then_some(()));
    assert_eq!(origins[0].served(), slow, "the successor has nothing to find out");
    assert_eq!(load.stop().failed, Vec::<String>::new());
    let metrics = proxy.admin("/metrics").1;
    assert!(metrics.contains("callback=\"on_result\",cluster=\"api\",generation=\"2\""), "{metrics}");
}

#[test]
fn in_the_fast_lane() {
    carried_over("fast");
}

#[test]
fn in_the_portable_lane() {
    carried_over("portable");
}

#[test]
fn a_refused_restore_starts_fresh_and_says_so() {
    let items = r#"
        (data (i32.const 48) "\40\00\00\00\02\00\00\00")
        (data (i32.const 64) "{}")
        (func (export "sluicegate:policy/state@0.1.0#schema") (result i32) i32.const 7)
        (func (export "sluicegate:policy/state@0.1.0#save") (result i32) i32.const 48)
        (func (export "sluicegate:policy/state@0.1.0#restore") (param i32 i32 i32) (result i32) i32.const 16)"#;
    let module = ByHand { items, ..ByHand::default() }.module();
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
        fs::write(dir.join("policy.wasm"), &module).unwrap();
    });
    let load = Load::start(proxy.address, 2);
    fs::write(proxy.path("policy.wasm"), again(module, 1)).unwrap();
    assert_eq!(proxy.wait_for_generation(2)["state"], "refused: no thanks");
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

/// A policy that does this when it is to hand on what it has learnt, after some requests: its successor serves
/// nevertheless and knows nothing, and the log and the status say why.
fn starts_fresh(label: &str, why: &str, save: &str) {
    let items = format!(
        r#"(data (i32.const 48) "\40\00\00\00\02\00\00\00")
        (data (i32.const 64) "{{}}")
        (func (export "sluicegate:policy/state@0.1.0#schema") (result i32) i32.const 7)
        (func (export "sluicegate:policy/state@0.1.0#save") (result i32)
            (if (i32.gt_u (global.get $turn) (i32.const 100)) (then {save})) (i32.const 48))
        (func (export "sluicegate:policy/state@0.1.0#restore") (param i32 i32 i32) (result i32) i32.const 0)"#
    );
    for lane in ["fast", "portable"] {
        let policy = ByHand { items: items.clone().leak(), ..ByHand::default() };
        let origins = Origin::several(2);
        let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
            fs::write(dir.join("policy.wasm"), policy.build(lane)).unwrap();
        });
        let load = Load::start(proxy.address, 4);
        sluicegate_tests::eventually("requests come", || (load.so_far().good > 500).then_some(()));
        fs::write(proxy.path("policy.wasm"), ByHand { pick: "i32.const 1", ..policy }.build(lane)).unwrap();
        proxy.wait_for_generation(2);
        let line = proxy.wait_for(label, |line| line["label"] == label);
        assert!(line["message"].as_str().unwrap().contains(why), "{lane}: {line}");
        assert_eq!(line["generation"], 1);
        assert_eq!(load.stop().failed, Vec::<String>::new());
        let status = &proxy.status()["clusters"]["api"]["policy"];
        assert_eq!(status["active"]["generation"], 2);
        assert!(status["last_fault"].as_str().unwrap().contains(why), "{status}");
    }
}

#[test]
fn a_save_that_loops_is_told_and_the_successor_starts_fresh() {
    starts_fresh("timeout", "`save` ran longer", "(loop $again (br $again))");
}

#[test]
fn a_save_that_traps_is_told_and_the_successor_starts_fresh() {
    starts_fresh("trap", "`save` trapped", "(unreachable)");
}
