//! Starting and stopping.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use sluicegate_tests::{Load, Origin, Proxy, eventually, get};

use crate::config;

#[test]
fn drains_on_a_signal() {
    let origins = vec![Origin::start(Duration::from_millis(300))];
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    assert_eq!(proxy.admin("/ready"), (200, "ready\n".into()));
    let load = Load::start(proxy.address, 8);
    eventually("requests under way", || {
        let endpoints = &proxy.status()["clusters"]["api"]["endpoints"];
        (endpoints[0]["in_flight"] == 8).then_some(())
    });
    proxy.signal();
    eventually("it says so", || proxy.log().iter().any(|line| line["message"] == "draining").then_some(()));
    let stopped = proxy.wait_for("stopped", |line| line["message"] == "stopped");
    assert_eq!(stopped["connections_cut"], 0);
    let (code, _) = proxy.stop();
    assert_eq!(code, Some(0));
    // Requests that were under way got their answers; only new connections are refused.
    let failed = load.stop().failed;
    assert!(failed.iter().all(|error| error.starts_with("connect") || error.starts_with("kept-alive")), "{failed:?}");
}

/// Starts in the folder of the last proxy, and says whether the policy came from the cache.
#[test]
fn a_hang_up_ends_nothing() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let pid = rustix::process::Pid::from_raw(proxy.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    proxy.wait_for("a word", |line| line["message"].as_str().is_some_and(|text| text.starts_with("SIGHUP")));
    assert_eq!(get(proxy.address, "/", "test").unwrap().0, 200);
}

fn restart(dir: tempfile::TempDir, origins: &[Origin]) -> (bool, Proxy) {
    let proxy = Proxy::start_in(dir, &config("\"p2c\"", origins));
    let line = proxy.wait_for_generation(1);
    assert_eq!(get(proxy.address, "/", "x").unwrap().0, 200);
    (line["cached"].as_bool().unwrap(), proxy)
}

#[test]
fn a_restart_compiles_nothing() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    assert_eq!(proxy.wait_for_generation(1)["cached"], false);
    let (_, dir) = proxy.stop();
    let (cached, proxy) = restart(dir, &origins);
    assert!(cached);
    drop(proxy);
}

#[test]
fn a_damaged_or_foreign_artifact_is_compiled_anew() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let (_, mut dir) = proxy.stop();
    let damage: [fn(&std::path::Path); 4] = [
        |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| fs::write(path, b"short").unwrap(),
        |path| fs::write(path, []).unwrap(),
        |path| fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap(),
    ];
    for harm in damage {
        let entries = fs::read_dir(dir.path().join("cache")).unwrap();
        let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(paths.len(), 1, "one artifact, and nothing left over: {paths:?}");
        harm(&paths[0]);
        let (cached, proxy) = restart(dir, &origins);
        assert!(!cached);
        proxy.wait_for("a warning", |line| line["message"].as_str().is_some_and(|text| text.contains("cache")));
        // What was wrong has been replaced.
        let (_, stopped) = proxy.stop();
        let (cached, proxy) = restart(stopped, &origins);
        assert!(cached);
        dir = proxy.stop().1;
    }
}

#[test]
fn a_configuration_that_is_wrong_from_the_start_ends_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    fs::write(&path, "[[listener]]\naddress = \"nowhere\"\n").unwrap();
    let output =
        std::process::Command::new(sluicegate_tests::binary()).args(["run", "--config"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("bad.toml:2:11: listener[0].address"), "{errors}");
}

#[test]
fn the_example_configuration_is_right() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/sluicegate.toml");
    let check =
        std::process::Command::new(sluicegate_tests::binary()).args(["run", "--check", "-c"]).arg(example).output();
    let output = check.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// More of them than are tried out at a time, and each is named.
#[test]
fn all_policies_that_are_wrong_are_said_at_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\ncluster = \"c0\"\n".to_owned();
    for number in 0..10 {
        fs::write(dir.path().join(format!("{number}.wasm")), format!("no wasm {number}")).unwrap();
        let policy = if number == 5 { "\"p2c\"".into() } else { format!("{{ file = \"{number}.wasm\" }}") };
        config += &format!("[cluster.c{number}]\npolicy = {policy}\nendpoints = [\"127.0.0.1:1\"]\n");
    }
    let path = dir.path().join("bad.toml");
    fs::write(&path, config).unwrap();
    let check =
        std::process::Command::new(sluicegate_tests::binary()).args(["run", "--check", "-c"]).arg(path).output();
    let errors = String::from_utf8(check.unwrap().stderr).unwrap();
    let named = |number: &u32| errors.find(&format!("cluster.c{number}.policy: "));
    let places: Vec<_> = (0..10).filter_map(|number| named(&number)).collect();
    assert!(places.len() == 9 && places.is_sorted() && named(&5).is_none(), "{errors}");
}
