//! Policies that are tried, and changed by hand, through the admin API and the command line.

use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};
use sluicegate_tests::{
    Load, Origin, Proxy, binary, eventually,
    wasm::{self, ByHand},
};
use socket2::{Domain, Socket, Type};

use crate::config;

/// Nobody is rolled back for its latency, which on a busy machine may be anything.
const ANY_LATENCY: f64 = 3.6e6;

pub(crate) fn done(proxy: &Proxy, path: &str, body: &Value) -> Value {
    let (status, answer) = proxy.post(path, body);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

pub(crate) fn policy(proxy: &Proxy) -> Value {
    serde_json::from_str(&proxy.admin("/policies/api").1).unwrap()
}

fn trial(proxy: &Proxy) -> Value {
    policy(proxy)["trial"].clone()
}

/// The events of the history, the latest first.
fn events(proxy: &Proxy) -> Vec<String> {
    let history: Value = serde_json::from_str(&proxy.admin("/policies/api/history").1).unwrap();
    history["history"].as_array().unwrap().iter().map(|change| change["event"].as_str().unwrap().to_owned()).collect()
}

/// A proxy whose policy always picks the first endpoint.
fn first_always(origins: &[Origin]) -> Proxy {
    Proxy::start(&config("{ file = \"first.wasm\" }", origins), |dir| {
        fs::write(dir.join("first.wasm"), ByHand::default().module()).unwrap();
        fs::write(dir.join("second.wasm"), ByHand { pick: "i32.const 1", ..ByHand::default() }.module()).unwrap();
    })
}

/// An address where nobody listens, nor can anybody else, as long as the socket is there.
fn nobody() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address.to_string())
}

#[test]
fn a_shadow_sees_all_requests_and_decides_none() {
    for lane in ["fast", "portable"] {
        let origins = Origin::several(2);
        let proxy = first_always(&origins);
        fs::write(proxy.path("round-robin.wasm"), wasm::builtin("round-robin", lane)).unwrap();
        let load = Load::start(proxy.address, 4);
        let file = proxy.path("round-robin.wasm");
        done(&proxy, "/policies/api/shadow", &json!({ "file": file }));
        assert_eq!(trial(&proxy)["candidate"]["lane"], lane);
        let trial =
            eventually("it is asked", || Some(trial(&proxy)).filter(|trial| trial["picks"].as_u64() > Some(500)));
        // Round robin agrees with "always the first" every other time, as long as the workers' requests are many.
        let agreement = trial["agreement_percent"].as_f64().unwrap();
        assert!((45.0..55.0).contains(&agreement), "{trial}");
        let spread = trial["spread"].as_array().unwrap();
        let of = |index: usize, side: &str| spread[index][side].as_u64().unwrap();
        assert_eq!((of(1, "active"), spread.len()), (0, 2), "{trial}");
        assert!(of(0, "candidate") > 100 && of(1, "candidate") > 100, "{trial}");
        assert!(trial["cost_ns"]["p50"].as_u64() > Some(0), "{trial}");
        assert_eq!((&trial["faults"], &trial["kind"]), (&json!(0), &json!("shadow")));
        let metrics = proxy.admin("/metrics").1;
        assert!(metrics.contains("sluicegate_policy_shadow_picks_total{"), "{metrics}");
        assert_eq!(origins[1].served(), 0, "its picks are not used");
        done(&proxy, "/policies/api/rollback", &json!({}));
        assert!(policy(&proxy)["trial"].is_null());
        assert_eq!(policy(&proxy)["active"]["generation"], 1);
        assert_eq!(load.stop().failed, Vec::<String>::new());
        assert_eq!(events(&proxy), ["shadow_ended", "shadow_started", "swapped"]);
    }
}

#[test]
fn a_shadow_that_traps_costs_no_request() {
    let origins = Origin::several(2);
    let proxy = first_always(&origins);
    let pick = "(if (i32.gt_u (global.get $turn) (i32.const 100)) (then (unreachable))) (i32.const 0)";
    fs::write(proxy.path("traps.wasm"), ByHand { pick, ..ByHand::default() }.module()).unwrap();
    let load = Load::start(proxy.address, 4);
    done(&proxy, "/policies/api/shadow", &json!({ "file": proxy.path("traps.wasm") }));
    eventually("its trial ends", || policy(&proxy)["trial"].is_null().then_some(()));
    let history: Value = serde_json::from_str(&proxy.admin("/policies/api/history").1).unwrap();
    let last = &history["history"][0];
    assert_eq!((&last["event"], &last["generation"]), (&json!("shadow_ended"), &json!(2)));
    assert!(last["why"].as_str().unwrap().contains("5 faults"), "{last}");
    let tally = load.stop();
    assert_eq!(tally.failed, Vec::<String>::new());
    let metrics = proxy.admin("/metrics").1;
    for reason in ["no_policy", "fault", "declined"] {
        let none = format!("sluicegate_policy_fallbacks_total{{cluster=\"api\",reason=\"{reason}\"}} 0");
        assert!(metrics.contains(&none), "the active policy has picked all along: {metrics}");
    }
}

#[test]
fn a_good_canary_is_promoted_step_by_step() {
    let origins = Origin::several(2);
    let proxy = first_always(&origins);
    let load = Load::start(proxy.address, 8);
    let steps = json!([{ "percent": 20, "hold_s": 0 }, { "percent": 50, "hold_s": 0 }, { "percent": 100 }]);
    let mut body = json!({ "file": proxy.path("second.wasm"), "steps": steps, "min_requests": 50 });
    body["min_latency_increase_ms"] = json!(ANY_LATENCY);
    done(&proxy, "/policies/api/canary", &body);
    // The candidate's requests are those that the second origin gets.
    eventually("it gets its share", || (origins[1].served() > 0).then_some(()));
    eventually("it is promoted", || (policy(&proxy)["active"]["generation"] == 2).then_some(()));
    let first = origins[0].served();
    let before = load.so_far().good;
    eventually("more requests", || (load.so_far().good > before + 200).then_some(()));
    assert!(origins[0].served() <= first + 8, "all requests are the candidate's now");
    assert_eq!(load.stop().failed, Vec::<String>::new());
    assert_eq!(events(&proxy), ["promoted", "canary_advanced", "canary_started", "swapped"]);
    // A former generation can be gone back to, and compiles nothing.
    let answer = done(&proxy, "/policies/api/rollback", &json!({}));
    assert_eq!(answer, json!({ "generation": 1, "ended_trial_of": null }));
}

#[test]
fn a_canary_that_picks_a_failing_endpoint_is_rolled_back() {
    let origins = Origin::several(1);
    let (_held, failing) = nobody();
    let settings = format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {{ file = \"first.wasm\" }}\nendpoints = [\"{}\", \"{}\"]\n",
        origins[0].address, failing
    );
    let proxy = Proxy::start(&settings, |dir| {
        fs::write(dir.join("first.wasm"), ByHand::default().module()).unwrap();
        fs::write(dir.join("second.wasm"), ByHand { pick: "i32.const 1", ..ByHand::default() }.module()).unwrap();
    });
    let load = Load::start(proxy.address, 8);
    let steps = json!([{ "percent": 10, "hold_s": 3600 }]);
    let body = json!({ "file": proxy.path("second.wasm"), "steps": steps, "min_latency_increase_ms": ANY_LATENCY });
    done(&proxy, "/policies/api/canary", &body);
    let last = eventually("it is rolled back", || {
        let history: Value = serde_json::from_str(&proxy.admin("/policies/api/history").1).unwrap();
        Some(history["history"][0].clone()).filter(|change| change["event"] == "canary_rolled_back")
    });
    let why = last["why"].as_str().unwrap();
    assert!(why.contains("100.00% of its requests fail, 0.00% of the others"), "{why}");
    let policy = policy(&proxy);
    assert_eq!((&policy["active"]["generation"], policy["trial"].is_null()), (&json!(1), true));
    // Retries hide it from the clients.
    assert_eq!(load.stop().failed, Vec::<String>::new());
    let metrics = proxy.admin("/metrics").1;
    assert!(metrics.contains("result=\"canary_rolled_back\"} 1"), "{metrics}");
}

#[test]
fn a_canary_that_picks_a_slow_endpoint_is_rolled_back() {
    let origins = vec![Origin::start(Duration::ZERO), Origin::start(Duration::from_millis(300))];
    let proxy = first_always(&origins);
    let load = Load::start(proxy.address, 16);
    let steps = json!([{ "percent": 50, "hold_s": 3600 }]);
    done(&proxy, "/policies/api/canary", &json!({ "file": proxy.path("second.wasm"), "steps": steps }));
    let last = eventually("it is rolled back", || {
        let history: Value = serde_json::from_str(&proxy.admin("/policies/api/history").1).unwrap();
        Some(history["history"][0].clone()).filter(|change| change["event"] == "canary_rolled_back")
    });
    assert!(last["why"].as_str().unwrap().contains("to the first byte is above"), "{last}");
    assert_eq!(policy(&proxy)["active"]["generation"], 1);
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn feedback_goes_to_the_generation_that_picked() {
    // Each of them traps when it hears of an endpoint that it never picks: the first one, or the second one.
    let hears = |wrong: &str, pick: &'static str| {
        let items = format!(
            r#"(import "sluicegate:policy/endpoints@0.1.0" "id" (func $id (param i32) (result i64)))
               (global $wrong (mut i64) (i64.const 0))
               (func (export "sluicegate:policy/feedback@0.1.0#on-result") (param i64 i64 i32 i32 i32 i32 i32)
                   (if (i64.eq (local.get 1) (call $id (i32.const {wrong}))) (then (unreachable))))"#
        );
        // A rehearsal picks among them, and is told of what it picked.
        ByHand { items: Box::leak(items.into_boxed_str()), pick, ..ByHand::default() }.module()
    };
    let origins = Origin::several(2);
    let proxy = Proxy::start(&config("{ file = \"first.wasm\" }", &origins), |dir| {
        fs::write(dir.join("first.wasm"), hears("1", "i32.const 0")).unwrap();
        fs::write(dir.join("second.wasm"), hears("0", "i32.const 1")).unwrap();
    });
    let load = Load::start(proxy.address, 8);
    let steps = json!([{ "percent": 40, "hold_s": 3600 }]);
    let body = json!({ "file": proxy.path("second.wasm"), "steps": steps, "min_latency_increase_ms": ANY_LATENCY });
    done(&proxy, "/policies/api/canary", &body);
    eventually("both have results", || {
        let trial = trial(&proxy);
        let of = |side: &str| trial[side]["requests"].as_u64().unwrap_or(0);
        (of("active") > 200 && of("candidate_results") > 200).then_some(())
    });
    done(&proxy, "/policies/api/promote", &json!({}));
    let before = load.so_far().good;
    eventually("more requests", || (load.so_far().good > before + 100).then_some(()));
    assert_eq!(load.stop().failed, Vec::<String>::new());
    let metrics = proxy.admin("/metrics").1;
    assert!(!metrics.contains("sluicegate_policy_faults_total{"), "{metrics}");
}

#[test]
fn any_kept_generation_is_back_without_a_compile() {
    let origins = Origin::several(2);
    let proxy = first_always(&origins);
    let load = Load::start(proxy.address, 4);
    for (number, name) in (2..).zip(["p2c", "random", "round-robin"]) {
        let answer = done(&proxy, "/policies/api/swap", &json!({ "policy": name }));
        assert_eq!(answer["generation"], number);
    }
    // The file it came from is gone; its code is kept.
    fs::remove_file(proxy.path("first.wasm")).unwrap();
    assert_eq!(done(&proxy, "/policies/api/rollback", &json!({ "generation": 1 }))["generation"], 1);
    let before = (load.so_far().good, origins[1].served());
    eventually("more requests", || (load.so_far().good > before.0 + 200).then_some(()));
    assert!(origins[1].served() <= before.1 + 4, "the first policy picks the first endpoint");
    let (status, answer) = proxy.post("/policies/api/rollback", &json!({ "generation": 7 }));
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("not_kept")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("these are: 2, 3, 4"), "{answer}");
    let history: Value = serde_json::from_str(&proxy.admin("/policies/api/history").1).unwrap();
    let last = &history["history"][0];
    assert_eq!(
        (&last["event"], &last["why"], &last["load_ms"]),
        (&json!("rolled_back"), &json!("rollback by hand"), &json!(0.0))
    );
    assert_eq!(policy(&proxy)["since"]["why"], "rollback by hand");
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn bad_calls_say_what_is_wrong_and_change_nothing() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let wrong_pin = json!({ "file": proxy.path("sluicegate.toml"), "sha256": "00".repeat(32) });
    for (path, body, status, text) in [
        ("nowhere/swap", json!({ "policy": "p2c" }), 404, "no cluster \"nowhere\"; there are: api"),
        ("api/swop", json!({}), 404, "swap, shadow, canary"),
        ("api/swap", json!({}), 400, "name a built-in `policy`, or a `file`"),
        ("api/swap", json!({ "policy": "p2c", "file": "/x" }), 400, "name a built-in"),
        ("api/swap", json!({ "policy": "p3c" }), 400, "no built-in policy is called \"p3c\""),
        ("api/swap", json!({ "file": "x.wasm" }), 400, "absolute path"),
        ("api/swap", json!({ "file": "/nowhere/x.wasm" }), 409, "can't read /nowhere/x.wasm"),
        ("api/swap", json!({ "policy": "random", "sha256": "00" }), 400, "is for a `file`"),
        ("api/swap", wrong_pin, 409, "and not 0000"),
        ("api/swap", json!({ "file": proxy.path("sluicegate.toml") }), 409, "not WebAssembly"),
        ("api/swap", json!({ "policy": "p2c", "config": { "choices": 99 } }), 409, "choices"),
        ("api/swap", json!({ "policy": "p2c", "config": 3 }), 400, "`config` must be an object, not 3"),
        ("api/swap", json!({ "polcy": "p2c" }), 400, "`polcy` is not known here"),
        ("api/shadow", json!({ "policy": "p2c" }), 409, "serves already"),
        ("api/shadow", json!({ "policy": "random", "percent": 0 }), 400, "`percent` must be a number from 0.001"),
        ("api/canary", json!({ "policy": "random", "steps": [] }), 400, "at least one"),
        ("api/canary", json!({ "policy": "random", "steps": [{ "percent": 100 }] }), 400, "the promotion"),
        (
            "api/canary",
            json!({ "policy": "random", "steps": [{ "percent": 9 }, { "percent": 5 }] }),
            400,
            "more percent",
        ),
        ("api/canary", json!({ "policy": "random", "by": "luck" }), 400, "\"random\" or \"hash\""),
        ("api/promote", json!({}), 409, "nothing is on trial"),
        ("api/promote", json!({ "x": 1 }), 400, "must be empty"),
        ("api/rollback", json!({}), 409, "no former generation"),
        ("api/rollback", json!({ "generation": -1 }), 400, "an integer from 1"),
        ("api/history", json!({}), 405, "use GET"),
    ] {
        let (found, answer) = proxy.post(&format!("/policies/{path}"), &body);
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(found == status && message.contains(text), "{path} {body}: {found} {answer}");
    }
    assert_eq!(proxy.admin("/policies/api/swap").0, 405);
    assert_eq!(events(&proxy), ["swapped"]);
}

pub(crate) fn sluicegate(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(binary()).args(arguments).env_remove("SLUICEGATE_ADMIN_TOKEN").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_does_all_of_it() {
    let origins = Origin::several(2);
    let proxy = first_always(&origins);
    let load = Load::start(proxy.address, 4);
    let admin = format!("http://{}", proxy.admin);
    let run = |arguments: &[&str]| {
        let (ok, out, err) = sluicegate(&[&["policy", "--admin", &admin], arguments].concat());
        assert!(ok, "{arguments:?}: {err}");
        out
    };
    let second = proxy.path("second.wasm").display().to_string();
    assert!(run(&["list"]).contains("first.wasm"));
    assert!(run(&["shadow", "api", &second]).contains("generation 2 is on trial"));
    eventually("it is asked", || (trial(&proxy)["picks"].as_u64() > Some(0)).then_some(()));
    let shown = run(&["show", "api"]);
    for part in ["on trial", "shadow since", "agreement 0.0 %", "CANDIDATE"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(run(&["promote", "api"]).contains("generation 2 serves all requests"));
    let plan = ["--steps", "10,50", "--hold", "3600", "--max-latency-ratio", "1000"];
    assert!(run(&[&["canary", "api", "p2c"][..], &plan].concat()).contains("generation 3"));
    assert!(run(&["show", "api"]).contains("step 1 of 2: 10"));
    assert!(run(&["rollback", "api"]).contains("generation 3 is not on trial any more; generation 2 serves"));
    assert!(run(&["rollback", "api", "--to", "1"]).contains("generation 1 serves again"));
    assert!(run(&["swap", "api", "random"]).contains("generation 4 serves"));
    let history: Value = serde_json::from_str(&run(&["history", "api", "--json"])).unwrap();
    assert_eq!(history["history"].as_array().unwrap().len(), 7);
    let text = run(&["history", "api"]);
    assert!(text.starts_with("AT ") && text.contains("canary_rolled_back") && text.contains("by hand"), "{text}");
    assert_eq!(load.stop().failed, Vec::<String>::new());

    let (ok, _, err) = sluicegate(&["policy", "--admin", &admin, "swap", "api", "p3c"]);
    assert!(!ok && err.contains("no built-in policy is called \"p3c\""), "{err}");
    let (_held, nobody) = nobody();
    let (ok, _, err) = sluicegate(&["policy", "--admin", &nobody, "list"]);
    assert!(!ok && err.contains("does the proxy run there"), "{err}");
}

#[test]
fn a_canary_by_hash_keeps_each_user_on_one_side() {
    let origins = Origin::several(2);
    let text = config("{ file = \"first.wasm\" }", &origins);
    let text = text.replacen("[[route]]\n", "[[route]]\nhash = [{ header = \"x-user\" }]\n", 1);
    let proxy = Proxy::start(&text, |dir| {
        fs::write(dir.join("first.wasm"), ByHand::default().module()).unwrap();
        fs::write(dir.join("second.wasm"), ByHand { pick: "i32.const 1", ..ByHand::default() }.module()).unwrap();
    });
    let answer = |user: u32| {
        let request = http::Request::get("/").header("host", "test").header("x-user", user.to_string());
        sluicegate_tests::ask(proxy.address, request.body(String::new()).unwrap()).unwrap().into_body()
    };
    let steps = json!([{ "percent": 50, "hold_s": 3600 }]);
    let mut body = json!({ "file": proxy.path("second.wasm"), "steps": steps, "by": "hash" });
    body["min_latency_increase_ms"] = json!(ANY_LATENCY);
    done(&proxy, "/policies/api/canary", &body);
    let on_trial = (0..40).filter(|user| {
        let first = answer(*user);
        // Connections meet either worker.
        assert!((0..8).all(|_| answer(*user) == first), "user {user}");
        first == origins[1].address.to_string()
    });
    let count = on_trial.count();
    assert!((8..=32).contains(&count), "{count} of 40");
}
