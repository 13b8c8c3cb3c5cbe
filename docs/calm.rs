use serde::Deserialize;
use sluicegate_sdk::*;

/// What an operator may configure.
#[derive(Deserialize)]
pub struct Config {
    /// How long an endpoint is left alone after a failure.
    #[serde(default = "a_second")]
    rest_ms: u32,
}

fn a_second() -> u32 {
    1000
}

/// Of two endpoints, the one that did not just fail; of two alike, the less loaded one.
pub struct Calm {
    rest_ns: u64,
    rests_until: PerEndpoint<u64>,
    rng: Rng,
}

impl Policy for Calm {
    type Config = Config;

    fn new(config: Config, setup: Setup) -> Result<Self, ConfigError> {
        if config.rest_ms == 0 {
            return Err(ConfigError::at("rest_ms", "must be at least 1"));
        }
        let rest_ns = u64::from(config.rest_ms) * 1_000_000;
        Ok(Self { rest_ns, rests_until: PerEndpoint::default(), rng: Rng::new(setup.seed) })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.rests_until.follow(endpoints, |_| 0);
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        let rests = |endpoint: &Endpoint| self.rests_until[endpoint.index()] > request.now();
        let sample = endpoints.sample(&mut self.rng, 2);
        let best = sample.min_by_key(|endpoint| (rests(endpoint), endpoint.load()));
        if let Some(best) = best {
            let why = || if rests(&best) { "all that were looked at have failed" } else { "the less loaded one" };
            request.reply().explain(|| why().to_owned());
        }
        best.into()
    }
}

impl Feedback for Calm {
    fn on_result(&mut self, result: &AttemptResult, now: u64) {
        if !result.is_failure() {
            return;
        }
        // Who has left in the meantime is not missed.
        if let Some(until) = self.rests_until.get_mut(result.endpoint) {
            *until = now + self.rest_ns;
        }
    }
}

export!(Calm, feedback);
