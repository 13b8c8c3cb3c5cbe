//! Subset: keep to a few of many endpoints, so chosen that a fleet of proxies spreads evenly over all of them.
//!
//! When every proxy has connections to every endpoint, both sides pay for all of them, and each connection is idle most of
//! the time. Here the proxies agree on who uses which, without talking: this is Twitter's deterministic aperture
//! (Finagle, `com.twitter.finagle.loadbalancer.aperture.DeterministicAperture`; Blankenship and Oanta, "Deterministic
//! Aperture: A distributed, load balancing algorithm", 2019).
//!
//! Put the endpoints on one ring, all with the same width, and the proxies on another one of the same length. A proxy
//! uses what lies beside it, from where it begins, as far as it takes to see `aperture` endpoints, rounded up to whole
//! widths of a proxy: then all proxies together lie on every endpoint equally often. Endpoints at the ends, of which
//! only a part lies in there, are drawn that much more seldom. Of two endpoints that are drawn by width the less
//! loaded is taken.
//!
//! Endpoints are in the order of their ids, which is the same for all proxies and mixes zones and machines.

use serde::Deserialize;
use sluicegate_sdk::{ConfigError, Endpoint, Endpoints, Pick, Policy, Request, Rng, Setup, export};

mod arc;

use arc::Arc;

/// What can be configured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct SubsetConfig {
    /// How many proxies there are.
    #[serde(default = "one")]
    proxies: u32,
    /// Which of them this is, from 0.
    #[serde(default)]
    proxy: u32,
    /// How many endpoints a proxy uses, at least, if there are so many. Finagle's default.
    #[serde(default = "twelve")]
    aperture: u32,
}

fn one() -> u32 {
    1
}

fn twelve() -> u32 {
    12
}

/// The policy.
#[derive(Clone, Debug)]
pub struct Subset {
    config: SubsetConfig,
    rng: Rng,
    arc: Arc,
    // All endpoints, on the ring.
    ring: Vec<u32>,
    // Those in the aperture.
    aperture: Vec<u32>,
}

impl Policy for Subset {
    type Config = SubsetConfig;

    fn new(config: SubsetConfig, setup: Setup) -> Result<Self, ConfigError> {
        for (key, value) in [("proxies", config.proxies), ("aperture", config.aperture)] {
            if !(1..=MOST).contains(&value) {
                return Err(ConfigError::out_of_range(key, value, 1..=MOST));
            }
        }
        if config.proxy >= config.proxies {
            let message = format_args!("{} is not below `proxies`, which is {}", config.proxy, config.proxies);
            return Err(ConfigError::at("proxy", message));
        }
        let rng = Rng::new(setup.seed);
        Ok(Self { config, rng, arc: Arc::default(), ring: Vec::new(), aperture: Vec::new() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        let mut ids: Vec<(u64, u32)> = endpoints.iter().map(|endpoint| (endpoint.id(), endpoint.index())).collect();
        ids.sort_unstable();
        self.ring = ids.into_iter().map(|(_, index)| index).collect();
        let SubsetConfig { proxies, proxy, aperture } = self.config;
        self.arc = Arc::new(proxies, proxy, endpoints.len(), aperture);
        self.aperture = self.arc.places().map(|place| self.ring[place as usize]).collect();
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        if request.attempt() == 0 {
            return self.less_loaded(endpoints).into();
        }
        // A retry is rare enough to mind no widths, and goes outside when there is nobody left inside.
        let inside = endpoints.sample_of(&self.aperture, &mut self.rng, 2).min_by_key(Endpoint::load);
        if inside.is_some() {
            return inside.into();
        }
        endpoints.least_of(&mut self.rng, 2, Endpoint::load).into()
    }
}

const MOST: u32 = 65_535;

impl Subset {
    fn less_loaded<'a>(&mut self, endpoints: &Endpoints<'a>) -> Option<Endpoint<'a>> {
        let (first, second) = self.arc.draw_two(&mut self.rng)?;
        let [first, second] = [first, second].map(|place| endpoints.get(self.ring[place as usize]));
        [first?, second?].into_iter().min_by_key(Endpoint::load)
    }
}

export!(Subset);

#[cfg(test)]
mod tests;
