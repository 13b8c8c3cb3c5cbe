//! Prequal: ask a few endpoints how they are, ahead of time, and take the fastest one that is not too busy.
//!
//! This is "Load is not what you should balance: Introducing Prequal" (Wydrowski, Kleinberg, Rumble and Archer, NSDI 2024,
//! section 4), in its asynchronous mode. Every request sets off probes of `probe_rate` random endpoints, whose answers
//! (requests in flight, and the latency that goes with so many) come into a pool for the requests after it. A request goes
//! by the hot-cold lexicographic rule:
//!
//! - An endpoint is *hot* if it has more requests in flight than the `q_rif` quantile of what recent probes have found.
//! - Of the cold endpoints in the pool, the one with the least latency is taken; if all are hot, the one with the fewest
//!   requests in flight.
//! - With fewer than two answers in the pool, it is the less loaded of two endpoints drawn at random, by the proxy's own
//!   counts (the paper's fallback is any at random).
//!
//! An answer gets worse with age and use, so (section 4, "Probe reuse and removal"):
//!
//! - A request that is sent to an endpoint counts as one more in flight there.
//! - An answer is used up to `b` times, where `b` is such that the pool does not run dry: with `m` places, `n` endpoints,
//!   and `delta` for what is lost,
//!
//!   ```text
//!   b = max(1, (1 + delta) / ((1 - m / n) * probe_rate - remove_rate))
//!   ```
//!
//!   A fraction is drawn. Where the divisor is not above 0, the pool has place for all that can be known, and an answer is
//!   good until the next one of its endpoint.
//! - With each request, `remove_rate` answers are taken out: in turn the oldest, and the worst by the same rule, or the pool
//!   would fill up with what nobody wants. The last two stay.
//! - An answer of more than `max_age_ms` is forgotten.
//!
//! An endpoint that fails at once looks idle and fast, and would draw all requests to it ("sinkholing", section 4). So one
//! that has failed more than a fifth of its latest requests is taken only where all others in the pool are so, too; without
//! requests, that share is halved every five seconds.
//!
//! After `max_idle_ms` without a request, probes are sent all the same, so that the next one finds something.
//!
//! What the endpoint does not say (`named_metrics.queue_depth` and `latency_us` of a load report), the proxy says of it: its
//! requests in flight by the proxy's count, and the average time to its first byte, or, before the first request, the time
//! that the probe took. Endpoints that fail a probe leave the pool. The paper has no weights, and here they count in the
//! fallback only.

mod pool;

use std::{f64::consts::LN_2, time::Duration};

use serde::Deserialize;
use sluicegate_sdk::{
    ConfigError, Counter, Endpoint, Endpoints, PerEndpoint, Pick, Policy, ProbeResult, Probing, Request, Rng, Setup,
    Signal, Timer, exp, export,
};

use self::pool::{Answer, Busyness, Pool};

/// What can be configured: the parameters of the paper, with the values of its evaluation (section 5).
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct PrequalConfig {
    /// Probes for each request, also parts of one: `r_probe`.
    #[serde(default = "three")]
    probe_rate: f64,
    /// How many answers are taken out with each request: `r_remove`.
    #[serde(default = "one")]
    remove_rate: f64,
    /// How many answers are kept: `m`.
    #[serde(default = "sixteen")]
    pool_size: u32,
    /// From which quantile of the requests in flight an endpoint is hot: `Q_RIF`, 2^-0.25.
    #[serde(default = "q_rif")]
    q_rif: f64,
    /// How much more often than it would last an answer is used.
    #[serde(default = "one")]
    delta: f64,
    /// How long an answer is good.
    #[serde(default = "second")]
    max_age_ms: u64,
    /// After how long without a request probes are sent by themselves. The paper has no number for it; half of what an
    /// answer is good for leaves the pool filled.
    #[serde(default = "half_second")]
    max_idle_ms: u64,
}

fn three() -> f64 {
    3.0
}

fn one() -> f64 {
    1.0
}

fn sixteen() -> u32 {
    16
}

fn q_rif() -> f64 {
    0.84
}

fn second() -> u64 {
    1000
}

fn half_second() -> u64 {
    500
}

/// The policy.
#[derive(Clone, Debug)]
pub struct Prequal {
    config: PrequalConfig,
    rng: Rng,
    pool: Pool,
    busyness: Busyness,
    hot_from: u32,
    places: PerEndpoint<Errors>,
    /// How often an answer is used; none: until there is a newer one.
    uses: Option<f64>,
    probes_due: f64,
    removals_due: f64,
    takes_worst: bool,
    asked_at: u64,
    fallbacks: Counter,
    all_hot: Counter,
    failed_probes: Counter,
}

const MS: u64 = 1_000_000;
const MINUTE_MS: u64 = 60_000;

impl Policy for Prequal {
    type Config = PrequalConfig;

    fn new(config: PrequalConfig, setup: Setup) -> Result<Self, ConfigError> {
        let sizes = 2..=Pool::MOST as u32;
        if !sizes.contains(&config.pool_size) {
            return Err(ConfigError::out_of_range("pool_size", config.pool_size, sizes));
        }
        for (key, value, least, most) in [
            ("probe_rate", config.probe_rate, 0.0, 8.0),
            ("remove_rate", config.remove_rate, 0.0, 8.0),
            ("q_rif", config.q_rif, 0.0, 1.0),
            ("delta", config.delta, 0.0, 100.0),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::at(key, format_args!("has to be from {} to {}", least as u32, most as u32)));
            }
        }
        for (key, value) in [("max_age_ms", config.max_age_ms), ("max_idle_ms", config.max_idle_ms)] {
            if !(1..=MINUTE_MS).contains(&value) {
                return Err(ConfigError::out_of_range(key, value, 1..=MINUTE_MS));
            }
        }
        let [fallbacks, all_hot, failed_probes] =
            ["fallbacks", "all_hot", "failed_probes"].map(|name| setup.counter(name));
        Ok(Self {
            config,
            rng: Rng::new(setup.seed),
            pool: Pool::of(config.pool_size),
            busyness: Busyness::new(),
            hot_from: 0,
            places: PerEndpoint::default(),
            uses: None,
            probes_due: 0.0,
            removals_due: 0.0,
            takes_worst: false,
            asked_at: 0,
            fallbacks,
            all_hot,
            failed_probes,
        })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.places.follow(endpoints, |endpoint| Errors::of(&endpoint));
        let PrequalConfig { probe_rate, remove_rate, pool_size, delta, .. } = self.config;
        let count = f64::from(endpoints.len().max(1));
        let unknown = 1.0 - f64::from(pool_size).min(count) / count;
        let rate = unknown * probe_rate - remove_rate;
        // Below, it is what rounding has left of nothing.
        self.uses = (rate > 1e-9).then(|| ((1.0 + delta) / rate).max(1.0));
        let places = &self.places;
        self.pool.retain(|answer| {
            let index = places.index_of(answer.endpoint);
            answer.index = index.unwrap_or(0);
            index.is_some()
        });
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        let picked = self.choose(request, endpoints);
        if request.attempt() == 0 {
            self.remove_some();
            self.ask(endpoints, request.now());
        }
        picked
    }
}

impl Prequal {
    fn choose(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        self.forget_old(request.now());
        let tried = request.tried();
        if self.pool.answers().len() >= 2
            && let Some(best) = self.pool.best(self.hot_from, |index| !tried.contains(index))
        {
            let Answer { index, in_flight, .. } = self.pool.answers()[best];
            if in_flight >= self.hot_from {
                self.all_hot.add(1);
            }
            self.pool.use_up(best);
            return Pick::index(index);
        }
        self.fallbacks.add(1);
        endpoints.least_of(&mut self.rng, 2, Endpoint::load).into()
    }

    fn forget_old(&mut self, now: u64) {
        let max_age = self.config.max_age_ms * MS;
        // They are in the order in which they came.
        if self.pool.answers().first().is_some_and(|answer| now.saturating_sub(answer.at) > max_age) {
            self.pool.retain(|answer| now.saturating_sub(answer.at) <= max_age);
        }
    }

    fn remove_some(&mut self) {
        self.removals_due += self.config.remove_rate;
        while self.removals_due >= 1.0 {
            self.removals_due -= 1.0;
            let place = if self.takes_worst { self.pool.worst(self.hot_from) } else { Some(0) };
            self.takes_worst = !self.takes_worst;
            // Two are what makes a choice.
            if let Some(place) = place.filter(|_| self.pool.answers().len() > 2) {
                self.pool.remove(place);
            }
        }
    }

    fn ask(&mut self, endpoints: &Endpoints, now: u64) {
        self.asked_at = now;
        self.probes_due += self.config.probe_rate;
        let whole = self.probes_due as u32;
        self.probes_due -= f64::from(whole);
        endpoints.sample(&mut self.rng, whole).for_each(|endpoint| endpoint.probe());
    }

    /// How often an answer may be used: on average what is worked out, and a whole number each time.
    fn draw_uses(&mut self) -> u32 {
        let Some(uses) = self.uses else { return u32::MAX };
        let (whole, bits) = (uses as u32, self.rng.next_u64() >> 11);
        whole.saturating_add(u32::from((bits as f64) < (uses - f64::from(whole)) * (1_u64 << 53) as f64))
    }
}

/// How an endpoint's requests went lately: one that fails at once looks idle and fast, and would draw all requests to it
/// ("sinkholing", section 4).
#[derive(Clone, Copy, Debug)]
struct Errors {
    answered: u64,
    failed: u64,
    /// The share that failed.
    share: f64,
    at: u64,
}

impl Errors {
    /// From which share on it is avoided, as long as there are others.
    const AVOIDED: f64 = 0.2;
    /// Without requests it is halved in this time, so that some are sent again. In nanoseconds.
    const HALF_LIFE: f64 = 5e9;
    /// So many requests say all that there is to say.
    const ENOUGH: f64 = 8.0;

    fn of(endpoint: &Endpoint) -> Self {
        let [good, bad, late] = [Signal::Successes, Signal::Failures, Signal::Timeouts].map(|what| endpoint.read(what));
        Self { answered: good, failed: bad.saturating_add(late), share: 0.0, at: 0 }
    }

    /// Looks at what has become of requests since the last look. Whether it fails too many.
    fn take_in(&mut self, endpoint: &Endpoint, now: u64) -> bool {
        let seen = Self::of(endpoint);
        let failed = seen.failed.saturating_sub(self.failed) as f64;
        let all = failed + seen.answered.saturating_sub(self.answered) as f64;
        let mut share = self.share;
        if all > 0.0 {
            share += (failed / all - share) * (all / Self::ENOUGH).min(1.0);
        } else {
            share *= exp(-LN_2 * now.saturating_sub(self.at) as f64 / Self::HALF_LIFE);
        }
        *self = Self { share, at: now, ..seen };
        share > Self::AVOIDED
    }
}

impl Probing for Prequal {
    fn on_probe(&mut self, probe: &ProbeResult, endpoints: &Endpoints, now: u64) {
        let found = self.places.index_of(probe.endpoint).and_then(|index| endpoints.get(index));
        let Some(endpoint) = found.filter(|_| probe.ok) else {
            self.failed_probes.add(u64::from(!probe.ok));
            self.pool.forget(probe.endpoint);
            return;
        };
        let number = |said: u64| u32::try_from(said).unwrap_or(u32::MAX);
        let in_flight = probe.load.map_or_else(|| endpoint.in_flight(), number);
        let latency_us = probe.latency_us.map_or_else(
            || match number(endpoint.read(Signal::LatencyUs)) {
                0 => probe.round_trip_us,
                average => average,
            },
            number,
        );
        self.busyness.add(in_flight);
        self.hot_from = self.busyness.hot_from(self.config.q_rif);
        let uses = self.draw_uses();
        let index = endpoint.index();
        let fails = self.places[index].take_in(&endpoint, now);
        self.pool.add(Answer { endpoint: probe.endpoint, index, in_flight, latency_us, at: now, uses, fails });
    }
}

impl Timer for Prequal {
    fn tick(&mut self, endpoints: &Endpoints, now: u64) -> Option<Duration> {
        let idle = self.config.max_idle_ms * MS;
        if self.asked_at == 0 || now.saturating_sub(self.asked_at) >= idle {
            self.forget_old(now);
            // Enough for a choice, whatever the rate.
            let asked = (self.config.probe_rate as u32).max(2);
            self.asked_at = now;
            endpoints.sample(&mut self.rng, asked).for_each(|endpoint| endpoint.probe());
        }
        Some(Duration::from_nanos(idle))
    }
}

export!(Prequal, probing, timer);

#[cfg(test)]
mod tests;
