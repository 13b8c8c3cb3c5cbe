//! The built-in policies, in the real proxy.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpStream,
};

use hyper::Request;
use sluicegate_tests::{Origin, Proxy, ask, eventually, get};

use crate::config;

/// A cluster for each policy, with these endpoints, and a route to it by its name, keyed by a header.
fn clusters(policies: &[(&str, &str)], origins: &[Origin]) -> String {
    let endpoints: Vec<String> =
        origins.iter().map(|origin| format!("{{ address = \"{}\", zone = \"a\" }}", origin.address)).collect();
    let endpoints = endpoints.join(", ");
    let cluster = |(name, config): &(&str, &str)| {
        format!(
            "[[route]]\npath = \"/{name}\"\ncluster = \"{name}\"\nhash = [{{ header = \"x-user\" }}]\n\
             [cluster.{name}]\npolicy = {{ name = \"{name}\", config = {config} }}\nendpoints = [{endpoints}]\n"
        )
    };
    policies.iter().map(cluster).collect()
}

/// Who answers this user.
fn home(proxy: &Proxy, policy: &str, user: &str) -> String {
    let request = Request::get(format!("/{policy}")).header("host", "h").header("x-user", user);
    let response = ask(proxy.address, request.body(String::new()).unwrap()).unwrap();
    assert_eq!(response.status(), 200, "{policy}: {response:?}");
    response.into_body()
}

#[test]
fn each_serves_and_leaves_nothing_to_the_fallback() {
    let config = |name| match name {
        "sticky" => "{ key = \"000102030405060708090a0b0c0d0e0f\" }",
        "zone-aware" => "{ zone = \"a\" }",
        _ => "{}",
    };
    let policies: Vec<(&str, &str)> = sluicegate_builtins::names().map(|name| (name, config(name))).collect();
    let origins = Origin::several(3);
    let proxy = Proxy::start(&clusters(&policies, &origins), |_| {});
    for (name, _) in policies {
        for _ in 0..10 {
            assert_eq!(get(proxy.address, &format!("/{name}"), "h").unwrap().0, 200, "{name}");
        }
    }
    let metrics = proxy.admin("/metrics").1;
    let fallbacks = metrics.lines().filter(|line| line.contains("fallback") && !line.starts_with('#'));
    assert!(fallbacks.clone().all(|line| line.ends_with(" 0")), "{:?}", fallbacks.collect::<Vec<_>>());
}

/// Every connection may meet another worker: both have to know where a key belongs.
#[test]
fn keys_have_a_home_and_only_those_of_one_that_dies_move() {
    let policies = ["bounded-load", "maglev", "rendezvous", "ring-hash"];
    let mut origins = Origin::several(5);
    // One request at a time leaves the bound no room, should the one before still be counted.
    let config = |name| (name, if name == "bounded-load" { "{ epsilon = 100 }" } else { "{}" });
    let proxy = Proxy::start(&clusters(&policies.map(config), &origins), |_| {});
    let users: Vec<String> = (0..20).map(|number| format!("user-{number}")).collect();
    let homes = |policy| -> BTreeMap<&str, String> {
        users.iter().map(|user| (user.as_str(), home(&proxy, policy, user))).collect()
    };
    let before = policies.map(homes);
    for (policy, before) in policies.into_iter().zip(&before) {
        assert_eq!(&homes(policy), before, "{policy}");
        let used: BTreeSet<&String> = before.values().collect();
        assert!(used.len() > 1, "{policy}: {before:?}");
    }
    // It is refused at once, and the retry goes to the key's second.
    let dead = origins.remove(2);
    let address = dead.address.to_string();
    drop(dead);
    eventually("it is gone", || TcpStream::connect(address.as_str()).is_err().then_some(()));
    for (policy, before) in policies.into_iter().zip(&before) {
        let after = homes(policy);
        assert_eq!(homes(policy), after, "{policy}: the second home is always the same");
        for (user, home) in before {
            assert_eq!(after[user] == *home, *home != address, "{policy}: {user} was at {home}, is at {}", after[user]);
        }
    }
}

#[test]
fn what_was_learnt_outlives_another_configuration() {
    let orca = ("orca-weighted", "{ weight_update_period_ms = 500 }");
    for (name, changed) in [("peak-ewma", "{ decay_ms = 2000 }"), ("c3", "{ alpha = 0.5 }"), orca] {
        let origins = Origin::several(3);
        let proxy = Proxy::start(&config(&format!("\"{name}\""), &origins), |_| {});
        for _ in 0..10 {
            assert_eq!(get(proxy.address, "/", "h").unwrap().0, 200);
        }
        proxy.reconfigure(&config(&format!("{{ name = \"{name}\", config = {changed} }}"), &origins));
        assert_eq!(proxy.wait_for_generation(2)["state"], "carried over", "{name}");
        assert_eq!(get(proxy.address, "/", "h").unwrap().0, 200);
    }
}
