use std::{net::SocketAddr, sync::Mutex};

use sluicegate_core::{AttemptResult, AvailabilitySpec, HealthSpec, Outcome, OutlierSpec, Signal, SlowStart};

use super::*;
use crate::config::{HealthCheck, Question};

const SECOND: u64 = 1_000_000_000;

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn specs(ports: &[u16]) -> Vec<EndpointSpec> {
    ports.iter().map(|port| EndpointSpec::new(address(*port))).collect()
}

/// One result decides, and there is no panic unless a test wants one.
fn checked() -> Eligibility {
    let spec = HealthSpec { healthy_threshold: 1, unhealthy_threshold: 1, ..HealthSpec::default() };
    Eligibility {
        health: Some(HealthCheck { question: Question::Tcp, port: None, spec }),
        availability: AvailabilitySpec { panic_percent: 0, ..AvailabilitySpec::default() },
        ..Eligibility::default()
    }
}

/// A cluster's endpoints, the picture that is shown, and what workers have reported.
struct Scene {
    endpoints: Endpoints,
    snapshot: ClusterSnapshot,
    suspects: Arc<Mutex<Vec<Suspect>>>,
}

impl Scene {
    fn new(rules: Eligibility, specs: &[EndpointSpec]) -> Self {
        let suspects = Arc::new(Mutex::new(Vec::new()));
        let reported = Arc::clone(&suspects);
        let report = Arc::new(move |suspect| reported.lock().unwrap().push(suspect));
        let mut endpoints = Endpoints::new("test", rules, report, 0);
        endpoints.set(specs, 0);
        let empty = ClusterSnapshot::empty("test");
        let snapshot = endpoints.show(&empty, 0).unwrap_or(empty);
        Self { endpoints, snapshot, suspects }
    }

    /// Whether the picture is another one now.
    fn show(&mut self, now: u64) -> bool {
        let next = self.endpoints.show(&self.snapshot, now);
        let changed = next.is_some();
        self.snapshot = next.unwrap_or_else(|| self.snapshot.showing(self.snapshot.endpoints().to_vec(), Vec::new()));
        changed
    }

    /// Ports and weights, as policies see them.
    fn shown(&self) -> Vec<(u16, u32)> {
        let endpoints = self.snapshot.endpoints().iter();
        endpoints.map(|endpoint| (endpoint.spec.address.port(), endpoint.spec.weight)).collect()
    }

    fn probe(&mut self, port: u16, passes: bool) -> bool {
        let (probe, failure) = if passes { (Probe::Passed, None) } else { (Probe::Failed, Some("status 500".into())) };
        self.endpoints.take_in(Event::Probed(Probed { endpoint: EndpointId::of(address(port)), probe, failure }), 0)
    }

    /// Has a worker see so many attempts fail; says whether anything changes.
    fn fail(&mut self, port: u16, times: u32, now: u64) -> bool {
        let endpoint = self.snapshot.endpoints().iter().find(|endpoint| endpoint.spec.address.port() == port).unwrap();
        let (outcome, id) = (Outcome::ConnectFailed, endpoint.id);
        let result = AttemptResult { endpoint: id, outcome, status: 0, connect_us: 0, first_byte_us: 0, total_us: 0 };
        (0..times).for_each(|_| endpoint.watch.as_ref().expect("a watched endpoint").record(&result));
        let suspects = std::mem::take(&mut *self.suspects.lock().unwrap());
        suspects.into_iter().any(|suspect| self.endpoints.take_in(Event::Suspected(suspect), now))
    }

    fn states(&self) -> Vec<(&'static str, Option<String>, u32)> {
        let views = self.endpoints.views(&self.snapshot);
        views
            .iter()
            .map(|view| (view.state, view.reason.as_ref().map(ToString::to_string), view.shown_weight))
            .collect()
    }
}

#[test]
fn who_is_unhealthy_is_hidden_and_comes_back_the_same() {
    let mut scene = Scene::new(checked(), &specs(&[1, 2, 3]));
    assert_eq!(scene.states()[0], ("unknown", None, 1));
    let _request = sluicegate_core::InFlight::begin(scene.endpoints.all()[1].live.clone());
    assert!(scene.probe(1, true) && !scene.show(0), "it was taken for healthy already");
    assert!(scene.probe(2, false) && scene.show(0));
    assert_eq!(scene.shown(), [(1, 1), (3, 1)]);
    assert_eq!(scene.snapshot.hidden()[0].spec.address.port(), 2);
    let unhealthy = ("unhealthy", Some("status 500".to_owned()), 0);
    assert_eq!(scene.states(), [("healthy", None, 1), unhealthy, ("unknown", None, 1)]);
    assert!(!scene.probe(2, false), "nothing new");
    assert!(scene.probe(2, true) && scene.show(0));
    assert_eq!(scene.shown(), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(scene.snapshot.read(1, Signal::InFlight, 0), Some(1), "its signals outlive that");
    assert_eq!(scene.states()[1], ("healthy", None, 1));
}

#[test]
fn what_is_known_outlives_a_change_of_the_list_and_nothing_else() {
    let mut scene = Scene::new(checked(), &specs(&[1, 2]));
    scene.probe(2, false);
    scene.endpoints.set(&specs(&[2, 3]), 0);
    assert!(scene.show(0));
    assert_eq!(scene.shown(), [(3, 1)]);
    assert!(!scene.probe(1, false), "it is gone");
    // Whoever leaves and comes back begins anew.
    scene.endpoints.set(&specs(&[3]), 0);
    scene.endpoints.set(&specs(&[2, 3]), 0);
    scene.show(0);
    assert_eq!(scene.shown(), [(2, 1), (3, 1)]);
    // Without health checks nobody would ever be let in again.
    scene.probe(2, false);
    scene.endpoints.set_rules(Eligibility::default(), 0);
    scene.show(0);
    assert_eq!(scene.shown(), [(2, 1), (3, 1)]);
}

#[test]
fn with_too_few_left_everybody_is_shown() {
    let rules = Eligibility { availability: AvailabilitySpec::default(), ..checked() };
    let mut scene = Scene::new(rules, &specs(&[1, 2, 3]));
    scene.probe(1, false);
    scene.show(0);
    assert_eq!(scene.shown(), [(2, 1), (3, 1)]);
    scene.probe(2, false);
    scene.show(0);
    assert_eq!(scene.shown(), [(1, 1), (2, 1), (3, 1)]);
    assert!(scene.endpoints.levels()[0].panicking);
    // Without panic, nobody is nobody.
    scene.endpoints.set_rules(checked(), 0);
    scene.probe(3, false);
    scene.show(0);
    assert_eq!(scene.shown(), []);
}

#[test]
fn draining_and_priorities_are_the_operators() {
    let mut specs = specs(&[1, 2, 3]);
    (specs[0].drain, specs[2].priority) = (true, 1);
    let mut scene = Scene::new(checked(), &specs);
    // Half of the first priority times 1.4: 70% of the load stays there.
    assert_eq!(scene.shown(), [(2, 10_000), (3, 4286)]);
    assert_eq!(scene.states()[0], ("draining", None, 0));
    specs[0].drain = false;
    scene.endpoints.set(&specs, 0);
    scene.show(0);
    assert_eq!(scene.shown(), [(1, 1), (2, 1)]);
    scene.probe(1, false);
    scene.probe(2, false);
    scene.show(0);
    assert_eq!(scene.shown(), [(3, 1)]);
}

#[test]
fn who_fails_too_often_is_put_aside_for_a_while() {
    let rules = || Eligibility { outlier: Some(OutlierSpec::default()), ..checked() };
    let mut scene = Scene::new(rules(), &specs(&[1, 2, 3]));
    assert!(scene.endpoints.needs_ticks());
    assert!(!scene.fail(2, 4, 0));
    assert!(scene.fail(2, 1, 0) && scene.show(0));
    assert_eq!(scene.shown(), [(1, 1), (3, 1)]);
    assert_eq!(scene.states()[1], ("ejected", Some("consecutive_gateway_failures".to_owned()), 0));
    assert!(!scene.fail(3, 5, 0), "one of three is the most");
    assert!(!scene.endpoints.tick(29 * SECOND));
    assert!(scene.endpoints.tick(30 * SECOND) && scene.show(30 * SECOND));
    assert_eq!(scene.shown(), [(1, 1), (2, 1), (3, 1)]);
    // Without detection there is nobody to let it back in, and nothing is counted.
    assert!(scene.fail(2, 5, 31 * SECOND) && scene.show(31 * SECOND));
    scene.endpoints.set_rules(checked(), 32 * SECOND);
    assert!(scene.show(32 * SECOND));
    assert_eq!(scene.shown(), [(1, 1), (2, 1), (3, 1)]);
    assert!(scene.snapshot.endpoints().iter().all(|endpoint| endpoint.watch.is_none()));
    assert!(!scene.endpoints.needs_ticks());
    // Other thresholds count from the next attempt on.
    let spec = OutlierSpec { consecutive_gateway_failures: 2, ..OutlierSpec::default() };
    scene.endpoints.set_rules(Eligibility { outlier: Some(spec), ..checked() }, 33 * SECOND);
    assert!(scene.show(33 * SECOND));
    assert!(scene.fail(1, 2, 33 * SECOND));
}

#[test]
fn who_comes_or_comes_back_warms_up() {
    let slow_start = SlowStart { window_ns: 10 * SECOND, ..SlowStart::default() };
    let mut scene = Scene::new(Eligibility { slow_start, ..checked() }, &specs(&[1, 2]));
    assert_eq!(scene.shown(), [(1, 1), (2, 1)], "those who come together are equal");
    assert!(scene.endpoints.needs_ticks());
    scene.show(10 * SECOND);
    assert!(!scene.endpoints.needs_ticks(), "all are warm");
    scene.endpoints.set(&specs(&[1, 2, 3]), 20 * SECOND);
    scene.show(20 * SECOND);
    assert_eq!(scene.shown(), [(1, 10_000), (2, 10_000), (3, 1000)]);
    assert!(scene.endpoints.tick(25 * SECOND) && scene.show(25 * SECOND));
    assert_eq!(scene.shown(), [(1, 10_000), (2, 10_000), (3, 5000)]);
    scene.show(30 * SECOND);
    assert_eq!(scene.shown(), [(1, 1), (2, 1), (3, 1)]);
    scene.probe(1, false);
    scene.show(40 * SECOND);
    scene.probe(1, true);
    scene.show(50 * SECOND);
    assert_eq!(scene.shown(), [(1, 1000), (2, 10_000), (3, 10_000)]);
}
