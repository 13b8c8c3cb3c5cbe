//! Policies replaced while requests flow.

use std::{fs, thread, time::Duration};

use serde_json::Value;
use sluicegate_tests::{
    Load, Origin, Proxy,
    wasm::{self, ByHand},
};

use crate::config;

/// Saves `round-robin` and `p2c` in turn under load: every save takes effect, and no request is lost.
fn swap_under_load(lane: &str) {
    let origins = Origin::several(3);
    let modules = [wasm::builtin("round-robin", lane), wasm::builtin("p2c", lane)];
    let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
        fs::write(dir.join("policy.wasm"), &modules[1]).unwrap();
    });
    let load = Load::start(proxy.address, 16);
    for turn in 0..20_u64 {
        let before = load.so_far().good;
        fs::write(proxy.path("new"), &modules[turn as usize % 2]).unwrap();
        fs::rename(proxy.path("new"), proxy.path("policy.wasm")).unwrap();
        proxy.wait_for_generation(turn + 2);
        sluicegate_tests::eventually("more requests", || (load.so_far().good > before + 50).then_some(()));
    }
    let active = &proxy.status()["clusters"]["api"]["policy"]["active"];
    assert_eq!((&active["generation"], &active["lane"]), (&21.into(), &lane.into()));
    let tally = load.stop();
    assert_eq!(tally.failed, Vec::<String>::new(), "of {} requests", tally.good);
    assert_eq!(tally.bodies.len(), origins.len(), "every origin has served: {:?}", tally.bodies);
    let metrics = proxy.admin("/metrics").1;
    assert!(metrics.contains("sluicegate_policy_swaps_total{cluster=\"api\",result=\"swapped\"} 21"), "{metrics}");
    let no_policy = "sluicegate_policy_fallbacks_total{cluster=\"api\",reason=\"no_policy\"} 0";
    assert!(metrics.contains(no_policy), "a swap leaves no gap for the fallback: {metrics}");
}

#[test]
fn in_the_fast_lane() {
    swap_under_load("fast");
}

#[test]
fn in_the_portable_lane() {
    swap_under_load("portable");
}

#[test]
fn from_one_lane_to_the_other() {
    let origins = Origin::several(2);
    let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
        fs::write(dir.join("policy.wasm"), wasm::builtin("random", "fast")).unwrap();
    });
    let load = Load::start(proxy.address, 8);
    fs::write(proxy.path("policy.wasm"), wasm::builtin("random", "portable")).unwrap();
    proxy.wait_for_generation(2);
    assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["lane"], "portable");
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn a_policy_that_compiles_for_long_holds_up_no_other_cluster() {
    let origins = Origin::several(1);
    let other = "[cluster.other]\npolicy = { file = \"other.wasm\" }\n";
    let text = config("{ file = \"policy.wasm\" }", &origins);
    let endpoints = text.lines().find(|line| line.starts_with("endpoints")).unwrap();
    let proxy = Proxy::start(&format!("{text}\n{other}{endpoints}\n"), |dir| {
        fs::write(dir.join("policy.wasm"), wasm::builtin("p2c", "fast")).unwrap();
        fs::write(dir.join("other.wasm"), wasm::builtin("p2c", "fast")).unwrap();
    });
    // Ten million instructions, for which it takes seconds on every processor that there is.
    let function = |number: usize| {
        let line = format!("(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 5)) (i32.const {number})))");
        format!("(func (param i32) (result i32) {} (local.get 0))", line.repeat(1000))
    };
    let slow = ByHand { items: (0..2000).map(function).collect::<String>().leak(), ..ByHand::default() };
    let save = |name: &str, module: &[u8]| {
        fs::write(proxy.path("new"), module).unwrap();
        fs::rename(proxy.path("new"), proxy.path(name)).unwrap();
    };
    let slow = slow.module();
    save("policy.wasm", &slow);
    thread::sleep(Duration::from_millis(300));
    let swapped = |cluster: &'static str, generation: u64| {
        move |line: &Value| {
            line["message"] == "policy in service" && line["cluster"] == cluster && line["generation"] == generation
        }
    };
    for (generation, name) in (2..).zip(["random", "round-robin", "p2c"]) {
        save("other.wasm", &wasm::builtin(name, "fast"));
        proxy.wait_for("the other cluster's swap", swapped("other", generation));
        assert!(!proxy.log().iter().any(swapped("api", 2)), "the compile was over before anything was to be seen");
    }
}

#[test]
fn a_component_that_merely_wraps_a_module_takes_the_fast_lane() {
    let origins = Origin::several(2);
    let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
        fs::write(dir.join("policy.wasm"), wasm::builtin("round-robin", "portable")).unwrap();
    });
    let load = Load::start(proxy.address, 4);
    assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["lane"], "portable");
    let wrapped = wasm::wrapped(sluicegate_builtins::get("round-robin").unwrap());
    fs::write(proxy.path("policy.wasm"), wrapped).unwrap();
    proxy.wait_for_generation(2);
    assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["lane"], "fast");
    let before: Vec<u64> = origins.iter().map(Origin::served).collect();
    sluicegate_tests::eventually("it picks both", || {
        origins.iter().zip(&before).all(|(origin, before)| origin.served() > before + 50).then_some(())
    });
    assert_eq!(load.stop().failed, Vec::<String>::new());
}
