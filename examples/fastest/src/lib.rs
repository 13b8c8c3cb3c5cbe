//! Sends each request to whoever answers fastest: an example of a policy that hears how requests went (`feedback`)
//! and whose knowledge outlives a swap (`state`).
//!
//! Not for production: it sends everything to one endpoint until that one is slower than the others.

use sluicegate_sdk::{
    AttemptResult, ConfigError, Endpoint, Endpoints, Ewma, Feedback, NoConfig, PerEndpoint, Pick, Policy, Request,
    RestoreError, Setup, State, export,
};

/// How much the newest answer counts.
const SHARE: f64 = 0.1;

/// The policy.
pub struct Fastest {
    latency_us: PerEndpoint<Ewma>,
}

impl Policy for Fastest {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> {
        Ok(Self { latency_us: PerEndpoint::default() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.latency_us.follow(endpoints, |_| Ewma::new(SHARE));
    }

    fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
        // Nothing is known of new endpoints, which makes them worth a try.
        let latency = |endpoint: &Endpoint| self.latency_us[endpoint.index()].get().unwrap_or(0.0);
        endpoints.candidates().min_by(|a, b| latency(a).total_cmp(&latency(b))).into()
    }
}

impl Feedback for Fastest {
    fn on_result(&mut self, result: &AttemptResult, _now: u64) {
        if let Some(latency) = self.latency_us.get_mut(result.endpoint) {
            latency.add(f64::from(result.total_us));
        }
    }
}

impl State for Fastest {
    type Saved = Vec<(u64, f64)>;
    const SCHEMA: u32 = 1;

    fn save(&self) -> Self::Saved {
        self.latency_us.iter().filter_map(|(id, latency)| Some((id, latency.get()?))).collect()
    }

    fn restore(&mut self, saved: Self::Saved, _endpoints: &Endpoints) -> Result<(), RestoreError> {
        for (id, average) in saved {
            // Whoever has left in the meantime is not missed.
            if let Some(latency) = self.latency_us.get_mut(id) {
                *latency = Ewma::from(average, SHARE);
            }
        }
        Ok(())
    }
}

export!(Fastest, feedback, state);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluicegate_sdk::{
        Outcome,
        harness::{Harness, SimCluster, SimRequest},
    };

    use super::*;

    #[test]
    fn what_it_knows_outlives_a_swap() {
        let mut harness = Harness::<Fastest>::new("{}", SimCluster::of(2)).unwrap();
        for milliseconds in [20, 10] {
            let attempt = harness.send(&mut SimRequest::get("/")).unwrap();
            harness.advance(Duration::from_millis(milliseconds));
            harness.finish(attempt, Outcome::Answered, 200);
        }
        assert_eq!(harness.pick(), Some(1));
        let (mut next, restored) = harness.swap::<Fastest>("{}").unwrap();
        assert_eq!(restored, Ok(()));
        assert_eq!(next.pick(), Some(1));
    }
}
