//! The optional hooks are called when they are exported, and only then; and a retry is kept from where it has been.

use std::time::Duration;

use sluicegate_sdk::{
    AttemptResult, ConfigError, Endpoints, Feedback, NoConfig, Outcome, PerEndpoint, Pick, Plugin, Policy, Request,
    RestoreError, Rng, Setup, Signal, State, export,
    harness::{Harness, SimCluster, SimEndpoint, SimRequest},
};

/// Counts results for each endpoint, and notes everything that it is told.
#[derive(Default)]
struct Counter {
    results: PerEndpoint<u32>,
    last: Option<(AttemptResult, u64)>,
}

impl Policy for Counter {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.results.follow(endpoints, |_| 0);
    }

    fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
        endpoints.candidates().min_by_key(|endpoint| self.results[endpoint.index()]).into()
    }
}

impl Feedback for Counter {
    fn on_result(&mut self, result: &AttemptResult, now: u64) {
        self.last = Some((*result, now));
        if let Some(results) = self.results.get_mut(result.endpoint) {
            *results += 1;
        }
    }
}

impl State for Counter {
    type Saved = Vec<(u64, u32)>;
    const SCHEMA: u32 = 2;

    fn save(&self) -> Self::Saved {
        self.results.iter().map(|(id, results)| (id, *results)).collect()
    }

    fn restore(&mut self, saved: Self::Saved, _endpoints: &Endpoints) -> Result<(), RestoreError> {
        for (id, results) in saved {
            if let Some(place) = self.results.get_mut(id) {
                *place = results;
            }
        }
        Ok(())
    }
}

export!(Counter, state, feedback);

/// The next version of [`Counter`], with another layout. It can read the one before.
struct Total(u32);

impl Policy for Total {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> {
        Ok(Self(0))
    }

    fn pick(&mut self, _request: &Request, _endpoints: &Endpoints) -> Pick {
        Pick::DECLINE
    }
}

impl State for Total {
    type Saved = u32;
    const SCHEMA: u32 = 3;

    fn save(&self) -> u32 {
        self.0
    }

    fn restore(&mut self, saved: u32, _endpoints: &Endpoints) -> Result<(), RestoreError> {
        self.0 = saved;
        if saved > 12 { Err(RestoreError::new("more than twelve")) } else { Ok(()) }
    }

    fn convert(schema: u32, saved: &[u8]) -> Result<u32, RestoreError> {
        if schema != 2 {
            return Err(RestoreError::new(format!("schema {schema} is too old")));
        }
        let counts: Vec<(u64, u32)> =
            serde_json::from_slice(saved).map_err(|error| RestoreError::new(error.to_string()))?;
        Ok(counts.iter().map(|(_, count)| count).sum())
    }
}

export!(Total, state);

/// Exports nothing optional.
struct Plain(Rng);

impl Policy for Plain {
    type Config = NoConfig;

    fn new(_: NoConfig, setup: Setup) -> Result<Self, ConfigError> {
        Ok(Self(Rng::new(setup.seed)))
    }

    fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
        endpoints.sample(&mut self.0, 1).next().into()
    }
}

export!(Plain);

#[test]
fn what_is_exported_is_known() {
    assert_eq!((Counter::FEEDBACK, Counter::STATE), (true, Some(2)));
    assert_eq!((Total::FEEDBACK, Total::STATE), (false, Some(3)));
    assert_eq!((Plain::FEEDBACK, Plain::STATE), (false, None));
}

#[test]
fn a_result_says_what_happened_and_counts() {
    let mut harness = Harness::<Counter>::new("{}", SimCluster::of(2)).unwrap();
    harness.advance(Duration::from_millis(1));
    let attempt = harness.send(&mut SimRequest::get("/")).unwrap();
    harness.advance(Duration::from_millis(3));
    assert_eq!(harness.cluster()[0].read(Signal::InFlight), 1);
    harness.finish(attempt, Outcome::Answered, 200);
    let endpoint = harness.cluster()[0].id();
    let expected = AttemptResult {
        endpoint,
        outcome: Outcome::Answered,
        status: 200,
        connect_us: 0,
        first_byte_us: 3000,
        total_us: 3000,
    };
    assert_eq!(harness.policy().last, Some((expected, 4_000_000)));
    let read = |signal| harness.cluster()[0].read(signal);
    assert_eq!([Signal::InFlight, Signal::LatencyUs, Signal::Successes, Signal::AgeMs].map(read), [0, 3000, 1, 4]);
    assert_eq!(harness.pick(), Some(1));
}

#[test]
fn every_outcome_is_counted_where_the_proxy_counts_it() {
    let mut harness = Harness::<Counter>::new("{}", SimCluster::of(1)).unwrap();
    for (outcome, status) in [
        (Outcome::Answered, 404),
        (Outcome::Answered, 500),
        (Outcome::ConnectFailed, 0),
        (Outcome::Broken, 200),
        (Outcome::TimedOut, 0),
        (Outcome::Cancelled, 0),
    ] {
        let attempt = harness.send(&mut SimRequest::default()).unwrap();
        harness.finish(attempt, outcome, status);
    }
    let read = |signal| harness.cluster()[0].read(signal);
    let signals = [Signal::InFlight, Signal::Successes, Signal::Failures, Signal::Timeouts];
    assert_eq!(signals.map(read), [0, 1, 3, 1]);
}

#[test]
fn values_stay_with_their_endpoints() {
    let mut harness = Harness::<Counter>::new("{}", SimCluster::of(3)).unwrap();
    for _ in 0..4 {
        let attempt = harness.send(&mut SimRequest::default()).unwrap();
        harness.finish(attempt, Outcome::Answered, 200);
    }
    let counts = |harness: &Harness<Counter>| [0, 1].map(|index| harness.policy().results[index]);
    assert_eq!(counts(&harness), [2, 1]);
    let late = harness.send(&mut SimRequest::default()).unwrap();
    assert_eq!(late.index, 1);
    harness.change(|cluster| {
        cluster.remove(1);
        cluster.insert(0, SimEndpoint::new("10.9.9.9:80"));
    });
    harness.finish(late, Outcome::Answered, 200);
    assert_eq!(counts(&harness), [0, 2], "a new one first, and a late result of one that is gone hurts nobody");
    assert_eq!(harness.policy().results[2], 1);
}

#[test]
fn state_is_carried_over_and_converted() {
    let harness = |requests| {
        let mut harness = Harness::<Counter>::new("{}", SimCluster::of(3)).unwrap();
        for _ in 0..requests {
            let attempt = harness.send(&mut SimRequest::default()).unwrap();
            harness.finish(attempt, Outcome::Answered, 200);
        }
        harness
    };
    let (next, restored) = harness(4).swap::<Counter>("{}").unwrap();
    assert_eq!((restored, [0, 1, 2].map(|index| next.policy().results[index])), (Ok(()), [2, 1, 1]));

    let (next, restored) = harness(4).swap::<Total>("{}").unwrap();
    assert_eq!((restored, next.policy().0), (Ok(()), 4));

    let (fresh, restored) = harness(13).swap::<Total>("{}").unwrap();
    assert_eq!(restored.unwrap_err().to_string(), "more than twelve");
    assert_eq!(fresh.policy().0, 0, "nothing is left of what it had taken over");

    let (next, restored) = next.swap::<Counter>("{}").unwrap();
    assert_eq!(restored.unwrap_err().to_string(), "the state has schema 3, this version reads schema 2");

    let (next, restored) = next.swap::<Plain>("{}").unwrap();
    assert_eq!(restored.unwrap_err().to_string(), "this policy keeps no state");

    let (_, restored) = next.swap::<Counter>("{}").unwrap();
    assert_eq!(restored.unwrap_err().to_string(), "nothing was saved");
}

#[test]
fn a_retry_is_kept_from_where_it_has_been_even_after_a_change() {
    let mut harness = Harness::<Plain>::new("{}", SimCluster::of(4)).unwrap();
    for _ in 0..50 {
        let mut request = SimRequest::get("/");
        let first = harness.send(&mut request).unwrap();
        harness.change(|cluster| cluster.rotate_left(1));
        let second = harness.send(&mut request).unwrap();
        assert_ne!(first.endpoint, second.endpoint);
    }
}
