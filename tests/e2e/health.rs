//! Who may be picked: health checks, outliers, draining, priorities, slow start; with origins that are well and ill.

mod checks;

use std::{fs, net::SocketAddr, thread, time::Duration};

use serde_json::Value;
use sluicegate_tests::{
    Load, Origin, Patient, Proxy, eventually, get,
    patient::{CLOSED, HUNG},
    wasm::ByHand,
};

/// A configuration with one cluster, `api`, with these endpoints and more keys.
fn config(endpoints: &[String], rest: &str) -> String {
    format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"round-robin\"\nendpoints = [{}]\n{rest}\n",
        endpoints.join(", ")
    )
}

fn quoted(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<String> {
    addresses.into_iter().map(|address| format!("\"{address}\"")).collect()
}

const QUICK: &str = "interval_ms = 50\ntimeout_ms = 200\n";

/// What the status says of the endpoint at this place.
fn endpoint(proxy: &Proxy, index: usize) -> Value {
    proxy.status()["clusters"]["api"]["endpoints"][index].clone()
}

fn becomes(proxy: &Proxy, index: usize, state: &str) -> Value {
    eventually(&format!("endpoint {index} becomes {state}"), || {
        Some(endpoint(proxy, index)).filter(|endpoint| endpoint["state"] == state)
    })
}

fn logged(proxy: &Proxy, message: &str, address: SocketAddr) -> Value {
    proxy.wait_for(message, |line| line["message"] == message && line["endpoint"] == address.to_string())
}

/// The value of a metric's first line with these labels.
fn metric(proxy: &Proxy, start: &str) -> f64 {
    let text = proxy.admin("/metrics").1;
    let line = text.lines().find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("no {start} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn an_ill_endpoint_gets_no_requests_until_it_is_well() {
    let patients: Vec<Patient> = (0..3).map(|_| Patient::start()).collect();
    let [first, second, _] = &patients[..] else { unreachable!() };
    let health = format!("response_timeout_ms = 300\n[cluster.api.health]\npath = \"/health\"\n{QUICK}");
    let text = config(&quoted(patients.iter().map(|patient| patient.address)), &health);
    let proxy = Proxy::start(&text, |_| {});
    (0..3).for_each(|index| drop(becomes(&proxy, index, "healthy")));
    let load = Load::start(proxy.address, 4);
    let gauge = format!("sluicegate_endpoint_healthy{{cluster=\"api\",endpoint=\"{}\"}}", second.address);
    let counted = format!("sluicegate_endpoint_requests_total{{cluster=\"api\",endpoint=\"{}\"", second.address);
    for (illness, reason) in [(503, "status 503"), (HUNG, "no answer within 200ms"), (CLOSED, "no answer: ")] {
        second.becomes(illness);
        let ill = becomes(&proxy, 1, "unhealthy");
        assert!(ill["reason"].as_str().unwrap().starts_with(reason), "{ill}");
        assert_eq!(ill["shown_weight"], 0);
        assert_eq!(metric(&proxy, &gauge), 0.0);
        assert!(metric(&proxy, &counted) > 0.0, "what was counted is still there");
        let (before, others) = (second.served(), first.served());
        eventually("the others serve", || (first.served() > others + 50).then_some(()));
        assert!(second.served() <= before + 4, "only what was under way");
        second.becomes(200);
        becomes(&proxy, 1, "healthy");
        assert_eq!(metric(&proxy, &gauge), 1.0);
        eventually("it serves again", || (second.served() > before + 10).then_some(()));
    }
    let ill = logged(&proxy, "endpoint unhealthy", second.address);
    assert_eq!((ill["cause"].as_str(), ill["level"].as_str()), (Some("status 503"), Some("WARN")));
    logged(&proxy, "endpoint healthy again", second.address);
    assert!(metric(&proxy, "sluicegate_health_checks_total{cluster=\"api\",result=\"passed\"}") > 10.0);
    assert!(metric(&proxy, "sluicegate_health_checks_total{cluster=\"api\",result=\"timed_out\"}") >= 3.0);
    assert_eq!(proxy.admin("/ready").0, 200);
    drop(load);
}

#[test]
fn health_is_looked_after_while_a_policy_compiles() {
    let patients: Vec<Patient> = (0..2).map(|_| Patient::start()).collect();
    let health = format!("[cluster.api.health]\npath = \"/health\"\n{QUICK}");
    let text = config(&quoted(patients.iter().map(|patient| patient.address)), &health);
    let text = text.replace("\"round-robin\"", "{ file = \"policy.wasm\" }");
    let proxy = Proxy::start(&text, |dir| fs::write(dir.join("policy.wasm"), ByHand::default().module()).unwrap());
    becomes(&proxy, 1, "healthy");
    // Five million instructions, for which it takes seconds. No function is like another: those that are known are kept.
    let function = |number: usize| {
        let line = format!("(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.const {number})))");
        format!("(func (param i32) (result i32) {} (local.get 0))", line.repeat(1000))
    };
    let slow = ByHand { items: (0..1000).map(function).collect::<String>().leak(), ..ByHand::default() };
    fs::write(proxy.path("new.wasm"), slow.module()).unwrap();
    fs::rename(proxy.path("new.wasm"), proxy.path("policy.wasm")).unwrap();
    thread::sleep(Duration::from_millis(200));
    patients[1].becomes(503);
    becomes(&proxy, 1, "unhealthy");
    let swapped = |line: &Value| line["message"] == "policy in service" && line["generation"] == 2;
    assert!(!proxy.log().iter().any(swapped), "the compile was over before anything was to be seen");
}

#[test]
fn who_is_killed_is_noticed_by_its_port_and_everybody_is_used_when_all_are_gone() {
    let mut origins = Origin::several(3);
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let health = format!("[cluster.api.health]\nkind = \"tcp\"\n{QUICK}");
    let proxy = Proxy::start(&config(&quoted(addresses.clone()), &health), |_| {});
    (0..3).for_each(|index| drop(becomes(&proxy, index, "healthy")));
    drop(origins.remove(0));
    let gone = becomes(&proxy, 0, "unhealthy");
    assert!(gone["reason"].as_str().unwrap().contains("can't connect"), "{gone}");
    // Two of three are left: they get it all, and nothing fails.
    for _ in 0..20 {
        assert_ne!(get(proxy.address, "/", "x").unwrap().1, addresses[0].to_string());
    }
    // One of three is fewer than half: nobody's word counts any more.
    drop(origins.remove(0));
    becomes(&proxy, 1, "unhealthy");
    eventually("everybody is shown", || (endpoint(&proxy, 0)["shown_weight"] == 1).then_some(()));
    assert_eq!(proxy.status()["clusters"]["api"]["priorities"][0]["panicking"], true);
    // Those who don't answer cost a retry, and that is all.
    assert_eq!(get(proxy.address, "/", "x").unwrap().0, 200);
    // Without a panic threshold, the one that is left gets it all; and when it is gone, nobody does.
    let calm = config(&quoted(addresses), &format!("panic_threshold_percent = 0\n{health}"));
    proxy.reconfigure(&calm);
    eventually("only one is shown", || (endpoint(&proxy, 0)["shown_weight"] == 0).then_some(()));
    assert_eq!(endpoint(&proxy, 2)["shown_weight"], 1);
    drop(origins);
    becomes(&proxy, 2, "unhealthy");
    assert_eq!(get(proxy.address, "/", "x").unwrap().0, 503);
}

#[test]
fn who_flaps_stays_out_and_costs_no_request() {
    let patients: Vec<Patient> = (0..3).map(|_| Patient::start()).collect();
    // Each way takes several results in a row, so that the flapping itself does not come through.
    let health = "[cluster.api.health]\npath = \"/health\"\ninterval_ms = 10\nhealthy_threshold = 1000\n";
    let proxy = Proxy::start(&config(&quoted(patients.iter().map(|patient| patient.address)), health), |_| {});
    (0..3).for_each(|index| drop(becomes(&proxy, index, "healthy")));
    let load = Load::start(proxy.address, 4);
    patients[0].becomes(500);
    becomes(&proxy, 0, "unhealthy");
    let failed = load.so_far().failed.len();
    for _ in 0..10 {
        for answer in [200, CLOSED, 500] {
            patients[0].becomes(answer);
            thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(endpoint(&proxy, 0)["state"], "unhealthy");
    // No more than what was under way when it was found out.
    assert!(load.stop().failed.len() <= failed + 4);
    let changes = proxy.log().iter().filter(|line| line["message"] == "endpoint healthy again").count();
    assert_eq!(changes, 0);
}

#[test]
fn who_answers_badly_is_put_aside_and_comes_back() {
    let patients: Vec<Patient> = (0..3).map(|_| Patient::start()).collect();
    let outlier = "[cluster.api.outlier]\nconsecutive_failures = 3\nbase_ejection_ms = 3000\n";
    let text = config(&quoted(patients.iter().map(|patient| patient.address)), outlier);
    let proxy = Proxy::start(&text, |_| {});
    let load = Load::start(proxy.address, 4);
    eventually("all serve", || patients.iter().all(|patient| patient.served() > 10).then_some(()));
    assert_eq!(load.so_far().failed, Vec::<String>::new());
    patients[0].becomes(500);
    let ejected = becomes(&proxy, 0, "ejected");
    assert_eq!((ejected["reason"].as_str(), ejected["shown_weight"].as_u64()), (Some("consecutive_failures"), Some(0)));
    let count = "sluicegate_ejections_total{cause=\"consecutive_failures\",cluster=\"api\"}";
    assert_eq!(metric(&proxy, count), 1.0);
    // One of three is the most that may be out, however bad the others are.
    patients[1].becomes(500);
    let spared = "endpoint not ejected: too many others are (max_ejected_percent)";
    logged(&proxy, spared, patients[1].address);
    assert_eq!(endpoint(&proxy, 1)["shown_weight"], 1);
    patients.iter().for_each(|patient| patient.becomes(200));
    logged(&proxy, "endpoint back after its ejection", patients[0].address);
    let before = patients[0].served();
    eventually("it serves again", || (patients[0].served() > before + 10).then_some(()));
    assert!(load.stop().failed.iter().all(|failed| failed.starts_with("500")));
}

#[test]
fn a_draining_endpoint_finishes_what_it_has_and_gets_no_more() {
    let origins = [Origin::start(Duration::from_millis(500)), Origin::start(Duration::ZERO)];
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let text = |drain: &str| {
        config(&[format!("{{ address = \"{}\"{drain} }}", addresses[0]), format!("\"{}\"", addresses[1])], "")
    };
    let proxy = Proxy::start(&text(""), |_| {});
    let load = Load::start(proxy.address, 4);
    eventually("requests are under way", || (endpoint(&proxy, 0)["in_flight"].as_u64() > Some(1)).then_some(()));
    proxy.reconfigure(&text(", drain = true"));
    becomes(&proxy, 0, "draining");
    eventually("they are done, and their connections gone", || {
        let endpoint = endpoint(&proxy, 0);
        (endpoint["in_flight"] == 0 && endpoint["connections"] == 0).then_some(())
    });
    let served = origins[0].served();
    assert!(served >= 2);
    let before = load.so_far().good;
    eventually("the other one serves", || (load.so_far().good > before + 100).then_some(()));
    assert_eq!(origins[0].served(), served);
    proxy.reconfigure(&text(""));
    eventually("it is back", || (origins[0].served() > served).then_some(()));
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn the_next_priority_helps_out() {
    let patients: Vec<Patient> = (0..4).map(|_| Patient::start()).collect();
    let endpoints: Vec<String> = patients
        .iter()
        .enumerate()
        .map(|(index, patient)| format!("{{ address = \"{}\", priority = {} }}", patient.address, index / 2))
        .collect();
    let health = format!("panic_threshold_percent = 0\n[cluster.api.health]\npath = \"/health\"\n{QUICK}");
    // It follows the weights, which say how the load is spread over priorities.
    let text = config(&endpoints, &health).replace("round-robin", "random");
    let proxy = Proxy::start(&text, |_| {});
    (0..4).for_each(|index| drop(becomes(&proxy, index, "healthy")));
    let load = Load::start(proxy.address, 4);
    let served = |index: usize| patients[index].served();
    eventually("the first priority serves", || (served(0) > 50 && served(1) > 50).then_some(()));
    assert_eq!((served(2), served(3)), (0, 0));
    // Half of the first priority bears 70% of the load.
    patients[0].becomes(500);
    becomes(&proxy, 0, "unhealthy");
    let start = [served(1), served(2) + served(3)];
    eventually("many requests", || (served(1) > start[0] + 2000).then_some(()));
    let (first, second) = ((served(1) - start[0]) as f64, (served(2) + served(3) - start[1]) as f64);
    assert!((0.63..0.77).contains(&(first / (first + second))), "{first} {second}");
    patients[1].becomes(500);
    becomes(&proxy, 1, "unhealthy");
    let start = served(2);
    eventually("the second priority bears it all", || (served(2) > start + 50).then_some(()));
    patients.iter().for_each(|patient| patient.becomes(200));
    (0..2).for_each(|index| drop(becomes(&proxy, index, "healthy")));
    eventually("the first serves again", || (endpoint(&proxy, 2)["shown_weight"] == 0).then_some(()));
    drop(load);
}

#[test]
fn a_new_endpoint_warms_up() {
    let origins = Origin::several(2);
    let text = |count: usize| {
        let some = quoted(origins[..count].iter().map(|origin| origin.address));
        config(&some, "slow_start_ms = 4000").replace("round-robin", "random")
    };
    let proxy = Proxy::start(&text(1), |_| {});
    thread::sleep(Duration::from_millis(4000));
    let load = Load::start(proxy.address, 4);
    proxy.reconfigure(&text(2));
    let first = eventually("it is there", || endpoint(&proxy, 1)["shown_weight"].as_u64());
    assert!((1000..10_000).contains(&first), "{first} of 10000");
    eventually("its weight grows", || {
        let weight = endpoint(&proxy, 1)["shown_weight"].as_u64()?;
        (weight > first && weight < 10_000).then_some(())
    });
    eventually("it is warm", || (endpoint(&proxy, 1)["shown_weight"] == 1).then_some(()));
    assert_eq!(load.stop().failed, Vec::<String>::new());
}
