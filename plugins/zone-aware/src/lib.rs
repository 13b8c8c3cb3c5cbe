//! Zone-aware: keep requests in the proxy's own zone, as far as its endpoints can bear them.
//!
//! The arithmetic is Envoy's zone-aware routing (`ZoneAwareLoadBalancerBase::regenerateLocalityRoutingStructures`; its
//! documentation has it under "Zone aware routing"). Every zone has a share of the proxies, and so of the requests that
//! arrive, and a share of the endpoints, by weight. Where a zone's endpoints have at least the share of its proxies,
//! all requests stay. Where not, the part stays that the endpoints can bear, and the rest goes to the zones that have
//! endpoints to spare, in proportion to what they can spare: each endpoint gets about the same as without zones.
//! Shares are counted in ten-thousandths, as there.
//!
//! Within a zone the less loaded of two endpoints drawn at random is taken, as `p2c` does. A retry draws its zone anew, and
//! leaves it only where the request has been to all of that zone's endpoints.

use std::collections::BTreeMap;

use serde::Deserialize;
use sluicegate_sdk::{ConfigError, Endpoint, Endpoints, Pick, Policy, Request, Rng, Sample, Setup, export};

mod spill;

use spill::{Shares, Spill};

/// What can be configured.
#[derive(Clone, Debug, Deserialize)]
pub struct ZoneAwareConfig {
    /// The zone that this proxy is in.
    zone: String,
    /// How many proxies each zone has, or which share of the requests arrives there. When nothing is said, each zone that
    /// has endpoints, and this proxy's, has the same.
    #[serde(default)]
    proxies: BTreeMap<String, u32>,
    /// With fewer endpoints than these, zones do not matter: too few to be fair with.
    #[serde(default = "six")]
    min_endpoints: u32,
    /// How many endpoints of the zone are looked at, from 1 to [`Sample::MAX_CHOICES`].
    #[serde(default = "two")]
    choices: u32,
}

fn six() -> u32 {
    6
}

fn two() -> u32 {
    2
}

/// The policy.
#[derive(Clone, Debug)]
pub struct ZoneAware {
    config: ZoneAwareConfig,
    rng: Rng,
    // The indexes of each zone's endpoints; the first zone is the proxy's own. Empty when zones do not matter.
    zones: Vec<Vec<u32>>,
    spill: Spill,
}

impl Policy for ZoneAware {
    type Config = ZoneAwareConfig;

    fn new(config: ZoneAwareConfig, setup: Setup) -> Result<Self, ConfigError> {
        let choices = 1..=Sample::MAX_CHOICES;
        if config.zone.is_empty() {
            return Err(ConfigError::at("zone", "has to name the zone that this proxy is in"));
        }
        if !config.proxies.is_empty() && config.proxies.get(&config.zone).copied().unwrap_or(0) == 0 {
            let message = format_args!("has to have the zone `{}`, where this proxy is", config.zone);
            return Err(ConfigError::at("proxies", message));
        }
        if !choices.contains(&config.choices) {
            return Err(ConfigError::out_of_range("choices", config.choices, choices));
        }
        let rng = Rng::new(setup.seed);
        Ok(Self { config, rng, zones: Vec::new(), spill: Spill::default() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.zones.clear();
        self.spill = Spill::default();
        if endpoints.len() < self.config.min_endpoints {
            return;
        }
        let mut numbers = BTreeMap::new();
        let mut shares = Vec::new();
        // Proxies in zones without any endpoint take in their part of the requests, too.
        for name in [&self.config.zone].into_iter().chain(self.config.proxies.keys()) {
            number_of(name, &self.config.proxies, &mut numbers, &mut shares);
        }
        for endpoint in endpoints.iter() {
            let number = number_of(&endpoint.zone(), &self.config.proxies, &mut numbers, &mut shares);
            shares[number].endpoints += u64::from(endpoint.weight());
            self.zones.resize_with(shares.len(), Vec::new);
            self.zones[number].push(endpoint.index());
        }
        self.spill = Spill::new(&shares);
    }

    fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
        if let Some(zone) = self.spill.zone(&mut self.rng).and_then(|zone| self.zones.get(zone)) {
            let least = endpoints.sample_of(zone, &mut self.rng, self.config.choices).min_by_key(Endpoint::load);
            if least.is_some() {
                return least.into();
            }
        }
        endpoints.least_of(&mut self.rng, self.config.choices, Endpoint::load).into()
    }
}

/// The number of a zone, which gets the next one when it has none.
fn number_of(
    zone: &str,
    proxies: &BTreeMap<String, u32>,
    numbers: &mut BTreeMap<String, u32>,
    shares: &mut Vec<Shares>,
) -> usize {
    if let Some(number) = numbers.get(zone) {
        return *number as usize;
    }
    let proxies = if proxies.is_empty() { 1 } else { proxies.get(zone).copied().unwrap_or(0) };
    numbers.insert(zone.to_owned(), shares.len() as u32);
    shares.push(Shares { proxies: u64::from(proxies), endpoints: 0 });
    shares.len() - 1
}

export!(ZoneAware);

#[cfg(test)]
mod tests;
