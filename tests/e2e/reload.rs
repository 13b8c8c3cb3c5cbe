//! The configuration, changed while requests flow.

use std::fs;

use sluicegate_tests::{Load, Origin, Proxy, eventually, get, wasm};

use crate::config;

#[test]
fn endpoints_come_and_go() {
    let origins = Origin::several(4);
    let proxy = Proxy::start(&config("\"round-robin\"", &origins[..2]), |_| {});
    let load = Load::start(proxy.address, 8);
    for (some, count) in [(&origins[..], 4), (&origins[2..], 2), (&origins[1..3], 2), (&origins[..1], 1)] {
        proxy.reconfigure(&config("\"round-robin\"", some));
        eventually("the endpoints change", || {
            let endpoints = &proxy.status()["clusters"]["api"]["endpoints"];
            let first = endpoints[0]["address"] == some[0].address.to_string();
            (first && endpoints.as_array().unwrap().len() == count).then_some(())
        });
        // Who is new gets requests; who is gone gets none.
        let before: Vec<u64> = origins.iter().map(Origin::served).collect();
        eventually("all of them serve", || {
            some.iter().all(|origin| origin.served() > served_before(&origins, &before, origin)).then_some(())
        });
    }
    let gone = origins[3].served();
    let before = load.so_far().good;
    eventually("more requests", || (load.so_far().good > before + 100).then_some(()));
    assert_eq!(origins[3].served(), gone);
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

fn served_before(origins: &[Origin], before: &[u64], origin: &Origin) -> u64 {
    let index = origins.iter().position(|other| other.address == origin.address).unwrap();
    before[index]
}

#[test]
fn what_was_saved_over_does_not_come_into_force_later() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let refused = |text: &str| {
        let seen = proxy.log().len();
        proxy.reconfigure(text);
        proxy.wait_after(seen, "a refusal", |line| line["level"] == "ERROR");
    };
    let later = config("{ file = \"later.wasm\" }", &origins);
    refused(&later);
    refused("nonsense");
    fs::write(proxy.path("later.wasm"), wasm::builtin("random", "fast")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["policy"], "p2c");
    // What is asked for once more is had.
    proxy.reconfigure(&later);
    proxy.wait_for_generation(2);
}

#[test]
fn routes_and_clusters_come_and_go() {
    let origins = Origin::several(2);
    let first = config("\"p2c\"", &origins[..1]);
    let proxy = Proxy::start(&first, |_| {});
    let load = Load::start(proxy.address, 8);
    let second = format!(
        "{first}[[route]]\nhost = \"other.test\"\npath = \"/v2\"\ncluster = \"other\"\n\
         [cluster.other]\npolicy = \"random\"\nendpoints = [\"{}\"]\n",
        origins[1].address
    );
    let ask = || get(proxy.address, "/v2/x", "OTHER.test:80").unwrap().1;
    assert_eq!(ask(), origins[0].address.to_string());
    proxy.reconfigure(&second);
    eventually("the route is there", || (ask() == origins[1].address.to_string()).then_some(()));
    assert_eq!(get(proxy.address, "/v2x", "other.test").unwrap().1, origins[0].address.to_string());
    proxy.reconfigure(&first);
    eventually("the route is gone", || (ask() == origins[0].address.to_string()).then_some(()));
    eventually("the cluster is gone", || proxy.status()["clusters"]["other"].is_null().then_some(()));
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn a_policy_is_configured_anew() {
    let origins = Origin::several(3);
    let policy = |choices: &str| config(&format!("{{ name = \"p2c\", config = {{ choices = {choices} }} }}"), &origins);
    let proxy = Proxy::start(&policy("2"), |_| {});
    let load = Load::start(proxy.address, 8);
    proxy.reconfigure(&policy("3"));
    proxy.wait_for_generation(2);
    assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["config"]["choices"], 3);
    // What the policy refuses is refused whole, and the old configuration goes on.
    proxy.reconfigure(&policy("99"));
    let line =
        proxy.wait_for("a refusal", |line| line["message"].as_str().is_some_and(|text| text.contains("choices")));
    assert!(line["message"].as_str().unwrap().contains("cluster.api.policy: p2c is refused"), "{line}");
    assert_eq!(proxy.status()["clusters"]["api"]["policy"]["active"]["generation"], 2);
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn a_bad_edit_is_refused_with_all_its_errors() {
    let origins = Origin::several(1);
    let good = config("\"p2c\"", &origins);
    let proxy = Proxy::start(&good, |_| {});
    let load = Load::start(proxy.address, 4);
    proxy.reconfigure("[[route]]\ncluster = \"nowhere\"\n[cluster.api]\npolicy = \"p3c\"\nendpoints = [\"x\"]\n");
    let refused = |line: &serde_json::Value| line["message"].as_str().is_some_and(|text| text.contains("refused"));
    let line = proxy.wait_for("a refusal", refused);
    let text = line["message"].as_str().unwrap();
    for part in ["nowhere", "p3c", "endpoints[0]", "sluicegate.toml:"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(proxy.log().iter().all(|line| line["message"] != "configuration applied"));
    assert_eq!(get(proxy.address, "/", "x").unwrap().0, 200);
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn a_refused_configuration_takes_effect_once_its_policy_is_there() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    proxy.reconfigure(&config("{ file = \"later.wasm\" }", &origins));
    proxy.wait_for("a refusal", |line| line["message"].as_str().is_some_and(|text| text.contains("later.wasm")));
    assert_eq!(get(proxy.address, "/", "x").unwrap().0, 200);
    fs::write(proxy.path("later.wasm"), wasm::builtin("random", "fast")).unwrap();
    proxy.wait_for("the new policy", |line| line["message"] == "policy in service" && line["policy"] == "later.wasm");
}

#[test]
fn what_needs_a_restart_is_said() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let text = fs::read_to_string(proxy.path("sluicegate.toml")).unwrap();
    fs::write(proxy.path("sluicegate.toml"), text.replace("workers = 2", "workers = 1")).unwrap();
    proxy.wait_for("a warning", |line| line["message"].as_str().is_some_and(|text| text.contains("runtime.workers")));
}
