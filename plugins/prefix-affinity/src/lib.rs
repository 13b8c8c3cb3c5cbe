//! Prompts that begin alike go to the same endpoint, unless that is full.
//!
//! A server of a large language model keeps what it has worked out for the beginning of a prompt (its KV cache), and a
//! prompt that begins in the same way is answered sooner there, at a fraction of the cost. The policy does not know what a
//! server keeps, but what was sent to it, which is nearly the same:
//!
//! - The beginning of the request's body is cut into blocks, and each has a hash that goes on from the one before. This is how
//!   vLLM knows its blocks ("Automatic Prefix Caching"), and how the prefix plugin of Kubernetes' Gateway API Inference
//!   Extension knows them ahead of servers ("Prefix Cache Aware Routing Proposal"), from which are the
//!   sizes: 64 bytes for vLLM's 16 tokens, and 256 blocks.
//! - For each block, the endpoint is kept to which a request with it went last. The longest beginning that is known decides,
//!   if it is at least `min_match` of the request's (SGLang's router, policy `cache_aware`, has the same threshold and
//!   default): for less, a free endpoint is worth more, and all prompts begin alike up to the system's own.
//! - A request goes there as long as there is room: less than `1 + epsilon` times the share, by weight, of all requests in
//!   flight ([`LoadBound`]), or fewer than `slack` requests, by its weight to the mean. SGLang's router compares the busiest with
//!   the least busy, in absolute numbers and by a factor, to the same end. Else it goes to the least loaded.
//! - What is not known goes where the route's key would have it, by rendezvous hashing (see [`mix`]), within the same bound;
//!   and where there is no key, to the less loaded of two endpoints drawn at random. Every worker learns by itself: a route
//!   that is keyed by conversation makes them agree from the first request on.
//!
//! What a request began with is noted for the endpoint that it goes to. All memory is taken when the policy is configured; a
//! pick asks for none but the contract's own copy of the body's beginning.

mod prefix;

use serde::Deserialize;
use sluicegate_sdk::{
    ConfigError, Counter, Endpoint, Endpoints, LoadBound, PerEndpoint, Pick, Policy, Request, Rng, Setup, Tried,
    export, mix,
};

use self::prefix::{Seen, hash_blocks};

/// What can be configured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct PrefixAffinityConfig {
    /// How many bytes a block has.
    #[serde(default = "block_bytes")]
    block_bytes: u32,
    /// How many blocks of a request are looked at. The proxy waits for all of these bytes, or for the end of the body.
    #[serde(default = "max_blocks")]
    max_blocks: u32,
    /// Which part of a request's blocks has to be known.
    #[serde(default = "half")]
    min_match: f64,
    /// How many blocks are remembered in each worker: a power of two.
    #[serde(default = "capacity")]
    capacity: u32,
    /// How much more than its share an endpoint may have: 0.5 is half as much again.
    #[serde(default = "half")]
    epsilon: f64,
    /// An endpoint with fewer requests than these in flight is not full, whatever its share.
    #[serde(default = "slack")]
    slack: u32,
}

fn block_bytes() -> u32 {
    64
}

fn max_blocks() -> u32 {
    256
}

fn half() -> f64 {
    0.5
}

fn capacity() -> u32 {
    1 << 16
}

fn slack() -> u32 {
    8
}

/// The policy.
#[derive(Clone, Debug)]
pub struct PrefixAffinity {
    config: PrefixAffinityConfig,
    rng: Rng,
    bound: LoadBound,
    // The ids; there is nothing else to know of an endpoint.
    places: PerEndpoint<()>,
    mean_weight: u64,
    seen: Seen,
    // Of the request that is being balanced.
    hashes: Vec<u64>,
    owners: Vec<u64>,
    hits: Counter,
    misses: Counter,
    spills: Counter,
}

/// What the contract gives of a body.
const MAX_BYTES: u32 = 64 << 10;

impl Policy for PrefixAffinity {
    type Config = PrefixAffinityConfig;

    fn new(config: PrefixAffinityConfig, setup: Setup) -> Result<Self, ConfigError> {
        for (key, value, range) in [
            ("block_bytes", config.block_bytes, 16..=4096),
            ("max_blocks", config.max_blocks, 1..=1024),
            ("capacity", config.capacity, 1024..=1 << 20),
            ("slack", config.slack, 0..=65_535),
        ] {
            if !range.contains(&value) {
                return Err(ConfigError::out_of_range(key, value, range));
            }
        }
        let bytes = config.block_bytes * config.max_blocks;
        if bytes > MAX_BYTES {
            let message =
                format_args!("with blocks of {} bytes these are {bytes}: more than {MAX_BYTES}", config.block_bytes);
            return Err(ConfigError::at("max_blocks", message));
        }
        if !config.capacity.is_power_of_two() {
            return Err(ConfigError::at("capacity", format_args!("{} is no power of two", config.capacity)));
        }
        if !(0.0..=1.0).contains(&config.min_match) {
            return Err(ConfigError::at("min_match", "has to be from 0 to 1"));
        }
        if !(0.01..=100.0).contains(&config.epsilon) {
            return Err(ConfigError::at("epsilon", "has to be from 0.01 to 100"));
        }
        setup.needs_body_prefix(bytes);
        let [hits, misses, spills] = ["hits", "misses", "spills"].map(|name| setup.counter(name));
        Ok(Self {
            rng: Rng::new(setup.seed),
            bound: LoadBound::new(1.0 + config.epsilon),
            places: PerEndpoint::default(),
            mean_weight: 1,
            seen: Seen::with_room_for(config.capacity),
            hashes: Vec::with_capacity(config.max_blocks as usize),
            owners: Vec::with_capacity(config.max_blocks as usize),
            hits,
            misses,
            spills,
            config,
        })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.places.follow(endpoints, |_| ());
        self.bound.follow(endpoints);
        let weights: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight())).sum();
        self.mean_weight = (weights / u64::from(endpoints.len().max(1))).max(1);
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        self.bound.read_next(endpoints);
        let PrefixAffinityConfig { block_bytes, max_blocks, .. } = self.config;
        let body = request.body(0, block_bytes * max_blocks);
        hash_blocks(&body, block_bytes as usize, max_blocks as usize, &mut self.hashes);
        let picked = self.choose(request, endpoints);
        if let Some(endpoint) = &picked {
            self.seen.tick();
            self.hashes.iter().for_each(|hash| self.seen.note(*hash, endpoint.id()));
        }
        picked.into()
    }
}

impl PrefixAffinity {
    fn choose<'a>(&mut self, request: &Request, endpoints: &Endpoints<'a>) -> Option<Endpoint<'a>> {
        let tried = request.tried();
        let known = self.longest_match(&tried).and_then(|index| endpoints.get(index));
        // A request counts once.
        if !self.hashes.is_empty() && request.attempt() == 0 {
            let counter = if known.is_some() { &self.hits } else { &self.misses };
            counter.add(1);
        }
        let wanted = match known {
            None if request.hash() != 0 => {
                endpoints.candidates().max_by_key(|endpoint| mix(request.hash() ^ endpoint.id()))
            }
            known => known,
        };
        let Some(wanted) = wanted else {
            return endpoints.least_of(&mut self.rng, 2, Endpoint::load);
        };
        let slack = u64::from(self.config.slack) * u64::from(wanted.weight()) / self.mean_weight;
        if self.bound.has_room(&wanted) || u64::from(wanted.in_flight()) < slack {
            return Some(wanted);
        }
        self.spills.add(1);
        self.bound.read_all(endpoints);
        endpoints.least_loaded()
    }

    /// The index of the endpoint that has seen the most of this request's beginning, of those where it can go.
    fn longest_match(&mut self, tried: &Tried) -> Option<u32> {
        self.owners.clear();
        self.owners.extend(self.hashes.iter().map_while(|hash| self.seen.endpoint(*hash)));
        let least = self.config.min_match * self.hashes.len() as f64;
        let mut longest_first = self.owners.iter().enumerate().rev().take_while(|(nth, _)| (nth + 1) as f64 >= least);
        longest_first.find_map(|(_, id)| self.places.index_of(*id).filter(|index| !tried.contains(*index)))
    }
}

export!(PrefixAffinity);

#[cfg(test)]
mod tests;
