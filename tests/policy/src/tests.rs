use std::time::Duration;

use sluicegate_sdk::{
    Setup, Signal,
    harness::{Harness, SimCluster, SimEndpoint, SimReply, SimRequest},
};

use super::Obedient;

fn harness(config: &str) -> Harness<Obedient> {
    Harness::new(config, SimCluster::of(3)).unwrap()
}

fn told(harness: &mut Harness<Obedient>, commands: &str) -> (Option<u32>, SimReply) {
    let picked = harness.pick_for(&SimRequest::get("/").header("x-do", commands));
    (picked, harness.reply().clone())
}

fn header(harness: &mut Harness<Obedient>, commands: &str, name: &str) -> Option<String> {
    let (_, reply) = told(harness, commands);
    reply.response_headers.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[test]
fn a_pick_says_more_than_an_index() {
    let mut harness = harness("{}");
    let (picked, reply) =
        told(&mut harness, "to 1; then 2; then 0; hedge 2 50; explain because; response Set-Cookie a=b");
    assert_eq!(picked, Some(1));
    let expected = SimReply {
        then: vec![2, 0],
        hedge: Some((2, Duration::from_millis(50))),
        explanation: Some("because".into()),
        response_headers: vec![("set-cookie".into(), "a=b".into())],
        ..SimReply::default()
    };
    assert_eq!(reply, expected);
    let (picked, reply) = told(&mut harness, "reject 429 too many");
    assert_eq!((picked, reply.rejected), (None, Some((429, "too many".into()))));
    assert_eq!(told(&mut harness, "").1, SimReply::default(), "what was said is said once");
}

#[test]
#[should_panic(expected = "content-length is not for policies to set")]
fn what_the_proxy_would_not_do_fails_the_test() {
    told(&mut harness("{}"), "response content-length 1");
}

#[test]
fn time_passes_in_ticks() {
    let mut harness = harness(r#"{"tick_ms": 10}"#);
    assert_eq!(header(&mut harness, "tell", "x-ticks").as_deref(), Some("1"), "the first comes at once");
    harness.advance(Duration::from_millis(35));
    assert_eq!(header(&mut harness, "tell", "x-ticks").as_deref(), Some("4"));
}

#[test]
fn probes_are_answered_by_the_cluster() {
    let cluster = [SimEndpoint::new("10.0.0.1:80"), SimEndpoint::new("10.0.0.2:80").silent()];
    let mut harness = Harness::<Obedient>::new("{}", cluster).unwrap();
    harness.set(0, Signal::QueueDepth, 7);
    harness.set(0, Signal::LatencyUs, 900);
    told(&mut harness, "probe 0");
    assert_eq!(harness.probes().collect::<Vec<_>>(), [harness.cluster()[0].id()]);
    assert_eq!(header(&mut harness, "tell", "x-probe"), None);
    harness.advance(Duration::from_millis(5));
    assert_eq!(header(&mut harness, "tell", "x-probe").as_deref(), Some("true Some(7) Some(900)"));
    assert_eq!(header(&mut harness, "tell", "x-signals").as_deref(), Some("0 7 0 0 true"));
    told(&mut harness, "probe 1");
    harness.advance(Duration::from_millis(5));
    assert_eq!(header(&mut harness, "tell", "x-probe").as_deref(), Some("false None None"));
}

#[test]
fn instances_share_and_successors_go_on() {
    let mut one = harness("{}");
    let setup = Setup { seed: 1, worker: 1, workers: 2 };
    let mut other = one.beside("{}", setup, SimCluster::of(3)).unwrap();
    let share = |harness: &mut Harness<Obedient>| header(harness, "share", "x-shared").unwrap();
    assert_eq!([share(&mut one), share(&mut other), share(&mut one)], ["0", "1", "2"]);
    assert_eq!((one.world().counter("picks"), one.world().gauge("commands")), (Some(3), Some(1.0)));
    let (mut next, _) = one.swap::<Obedient>("{}").unwrap();
    assert_eq!(share(&mut next), "3");
    assert_eq!(next.world().counter("picks"), Some(1), "metrics are each version's own here");
}

#[test]
fn as_much_of_the_body_is_seen_as_was_needed() {
    let request = SimRequest::get("/").body("beginning and end").header("x-do", "body");
    for (config, expected) in
        [("{}", ""), (r#"{"body_prefix": 9}"#, "beginning"), (r#"{"body_prefix": 99}"#, "beginning and end")]
    {
        let mut harness = harness(config);
        harness.pick_for(&request);
        assert_eq!(harness.reply().response_headers, [("x-body".into(), expected.into())], "{config}");
    }
}
