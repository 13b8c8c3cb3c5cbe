//! What an author gets to see of a policy that runs: where it panicked and what called what, in the log and in the admin
//! listener's answers, and what it picked and why.

use serde_json::{Value, json};
use sluicegate_tests::{Echo, Proxy, eventually, wasm::ByHand};

use crate::contract::{both, get, start};

/// The source's line that the test policy panics in.
fn line_of_the_panic() -> usize {
    let source = include_str!("../policy/src/lib.rs");
    1 + source.lines().position(|line| line.contains("panic!(")).unwrap()
}

#[test]
fn a_panic_is_reported_with_message_file_line_and_functions() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "", "");
        // The request is served all the same.
        assert_eq!(get(&proxy, "panic the sky falls").status(), 200);
        let place = format!("src/lib.rs:{}", line_of_the_panic());
        let said = proxy.wait_for("the panic", |line| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("panic at ") && text.ends_with("the sky falls"))
        });
        assert!(said["message"].as_str().unwrap().contains(&place), "{said}");
        let fault = proxy.wait_for("the fault", |line| line["label"] == "trap");
        let status = eventually("the status has it", || {
            let status = proxy.status();
            let fault = status["clusters"]["api"]["policy"]["last_fault"].as_str()?;
            Some(fault.to_owned())
        });
        for text in [fault["message"].as_str().unwrap(), &status] {
            // The innermost function that is not the panic's own machinery is the policy's.
            let trace = text.split("; in ").nth(1).unwrap_or_else(|| panic!("{text}"));
            let innermost = trace.split(" < ").next().unwrap();
            assert!(innermost.contains("Obedient") && !trace.contains("panicking"), "{text}");
            assert!(
                text.contains("`pick` trapped") && text.contains(&place) && text.contains("the sky falls"),
                "{text}"
            );
        }
    });
}

/// The last picks, the latest first.
fn picks(proxy: &Proxy) -> Vec<Value> {
    let (status, text) = proxy.admin("/policies/api/picks");
    assert_eq!(status, 200, "{text}");
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["cluster"], "api");
    serde_json::from_value(answer["picks"].take()).unwrap()
}

#[test]
fn picks_and_their_explanations_are_shown_to_whoever_looks() {
    both(|lane| {
        let echo = Echo::start();
        let proxy = start(lane, &[echo.address], "", "");
        get(&proxy, "explain nobody reads this");
        assert_eq!(picks(&proxy), Vec::<Value>::new(), "nothing is recorded before somebody looks");
        get(&proxy, "explain it is the only one");
        get(&proxy, "reject 503 go away");
        get(&proxy, "");
        let seen = picks(&proxy);
        assert_eq!(seen.len(), 3, "{seen:#?}");
        let address = echo.address.to_string();
        for (pick, (endpoint, rejected, explanation)) in seen.iter().zip([
            (Some(&*address), None, None),
            (None, Some(503), None),
            (Some(&*address), None, Some("it is the only one")),
        ]) {
            assert_eq!(pick["endpoint"].as_str(), endpoint, "{pick:#}");
            assert_eq!(pick["rejected"].as_u64(), rejected, "{pick:#}");
            assert_eq!(pick["explanation"].as_str(), explanation, "{pick:#}");
            assert_eq!((&pick["generation"], &pick["attempt"]), (&1.into(), &0.into()), "{pick:#}");
        }
        assert_eq!(proxy.admin("/policies/nobody/picks").0, 404);
        assert_eq!(proxy.post("/policies/api/picks", &json!({})).0, 405);
    });
}

#[test]
fn only_the_last_picks_are_kept() {
    let echo = Echo::start();
    let proxy = start("fast", &[echo.address], "", "");
    picks(&proxy);
    for number in 0..200 {
        get(&proxy, &format!("explain {number}"));
    }
    let seen = picks(&proxy);
    // Each worker keeps as many.
    assert!(seen.len() >= 64 && seen.len() <= 128, "{}", seen.len());
    assert_eq!(seen[0]["explanation"], "199");
}

#[test]
fn what_loops_is_reported_with_where_it_is() {
    let looping = r#"(func $around_and_around (loop $again (br $again)))"#;
    let pick = "(if (i32.gt_u (global.get $turn) (i32.const 100)) (then (call $around_and_around))) (i32.const 0)";
    for lane in ["fast", "portable"] {
        let echo = Echo::start();
        let config = format!(
            "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {{ file = \"policy.wasm\" }}\nendpoints = [\"{}\"]\n",
            echo.address
        );
        let policy = ByHand { items: looping, pick, ..ByHand::default() };
        let proxy = Proxy::start(&config, |dir| std::fs::write(dir.join("policy.wasm"), policy.build(lane)).unwrap());
        // Each worker's instance counts its own picks, and a request's connection may go to either.
        for _ in 0..400 {
            assert_eq!(sluicegate_tests::get(proxy.address, "/", "h").unwrap().0, 200);
        }
        let line = proxy.wait_for("the fault", |line| line["label"] == "timeout");
        let message = line["message"].as_str().unwrap();
        assert!(message.ends_with("; in around_and_around < pick"), "{message}");
    }
}
