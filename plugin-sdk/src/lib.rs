//! Write load-balancing policies for Sluicegate.
//!
//! A policy answers one question, *which endpoint gets this request?* It is a small WebAssembly module that the
//! proxy loads, asks once per request, and replaces while traffic flows. This page goes from an empty crate to a
//! policy that is tested, built, and swapped without forgetting what it has learnt.
//!
//! # An empty crate
//!
//! A plugin is a library, built twice: natively for its tests, and as a wasm module for the proxy.
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! sluicegate-sdk = { path = "../plugin-sdk" }
//! serde = { version = "1", features = ["derive"] }
//!
//! [profile.release] # Small modules load fast.
//! codegen-units = 1
//! lto = "fat"
//! panic = "abort"
//! strip = "debuginfo"
//! ```
//!
//! # A policy
//!
//! This one draws a few endpoints at random, and takes the one with the fewest requests in flight:
//!
//! ```
//! use serde::Deserialize;
//! use sluicegate_sdk::*;
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     #[serde(default = "two")]
//!     choices: u32,
//! }
//!
//! fn two() -> u32 {
//!     2
//! }
//!
//! struct PowerOfChoices {
//!     choices: u32,
//!     rng: Rng,
//! }
//!
//! impl Policy for PowerOfChoices {
//!     type Config = Config;
//!
//!     fn new(config: Config, setup: Setup) -> Result<Self, ConfigError> {
//!         if config.choices == 0 {
//!             return Err(ConfigError::at("choices", "must be at least 1"));
//!         }
//!         Ok(Self { choices: config.choices, rng: Rng::new(setup.seed) })
//!     }
//!
//!     fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
//!         endpoints.least_of(&mut self.rng, self.choices, |e| e.in_flight()).into()
//!     }
//! }
//!
//! export!(PowerOfChoices);
//!
//! // A test needs no wasm and no proxy: a harness calls the policy, with a simulated cluster around it.
//! use sluicegate_sdk::harness::{Harness, SimCluster};
//!
//! let mut harness = Harness::<PowerOfChoices>::new(r#"{"choices": 3}"#, SimCluster::of(3))?;
//! harness.set(0, Signal::InFlight, 9);
//! harness.set(2, Signal::InFlight, 7);
//! assert_eq!(harness.pick(), Some(1), "all three are looked at, and this one is idle");
//!
//! // Operators make mistakes. The SDK finds the ones that the type shows, and names them.
//! let refused = |config| Harness::<PowerOfChoices>::new(config, SimCluster::of(3)).unwrap_err().to_string();
//! assert_eq!(refused(r#"{"choices": 0}"#), "`choices`: must be at least 1");
//! assert_eq!(refused(r#"{"choices": "many"}"#), "`choices`: expected u32, found \"many\"");
//! assert_eq!(refused(r#"{"choice": 3}"#), "unknown key `choice`: the only one is `choices`");
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! What a policy sees is what it may pick: endpoints that are unhealthy or draining are not shown, and when a request
//! is retried, the ways to choose leave out the endpoints that it has been to.
//!
//! # Into the proxy
//!
//! ```sh
//! cargo test
//! cargo build --release --target wasm32-unknown-unknown
//! ```
//!
//! The module is in `target/wasm32-unknown-unknown/release`. Build it again while the proxy runs: the proxy sees the
//! new file, rehearses it with the real configuration and the real endpoints, and switches to it between two
//! requests, or says why it does not. A policy that panics is heard in the proxy's log, with file and line, and the
//! request that it failed is balanced by the proxy itself.
//!
//! # Learning, and not forgetting
//!
//! A policy that implements [`Feedback`] hears how every attempt went. One that implements [`State`] hands what it
//! knows to its successor. Both are named in [`export!`], because the proxy pays for what a policy uses and for
//! nothing else. This one sends each request to whoever answers fastest:
//!
//! ```
//! use sluicegate_sdk::*;
//!
//! struct Fastest {
//!     latency_us: PerEndpoint<Ewma>,
//! }
//!
//! const SHARE: f64 = 0.1;
//!
//! impl Policy for Fastest {
//!     type Config = NoConfig;
//!
//!     fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> {
//!         Ok(Self { latency_us: PerEndpoint::default() })
//!     }
//!
//!     fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
//!         self.latency_us.follow(endpoints, |_| Ewma::new(SHARE));
//!     }
//!
//!     fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
//!         // Nothing is known of new endpoints, which makes them worth a try.
//!         let latency = |e: &Endpoint| self.latency_us[e.index()].get().unwrap_or(0.0);
//!         endpoints.candidates().min_by(|a, b| latency(a).total_cmp(&latency(b))).into()
//!     }
//! }
//!
//! impl Feedback for Fastest {
//!     fn on_result(&mut self, result: &AttemptResult, _now: u64) {
//!         if let Some(latency) = self.latency_us.get_mut(result.endpoint) {
//!             latency.add(f64::from(result.total_us));
//!         }
//!     }
//! }
//!
//! impl State for Fastest {
//!     type Saved = Vec<(u64, f64)>;
//!     const SCHEMA: u32 = 1;
//!
//!     fn save(&self) -> Self::Saved {
//!         self.latency_us.iter().filter_map(|(id, latency)| Some((id, latency.get()?))).collect()
//!     }
//!
//!     fn restore(&mut self, saved: Self::Saved, _endpoints: &Endpoints) -> Result<(), RestoreError> {
//!         for (id, average) in saved {
//!             // Whoever has left in the meantime is not missed.
//!             if let Some(latency) = self.latency_us.get_mut(id) {
//!                 *latency = Ewma::from(average, SHARE);
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! export!(Fastest, feedback, state);
//!
//! use std::time::Duration;
//! use sluicegate_sdk::harness::{Harness, SimCluster, SimRequest};
//!
//! let mut harness = Harness::<Fastest>::new("{}", SimCluster::of(2))?;
//! for milliseconds in [20, 10] {
//!     let attempt = harness.send(&mut SimRequest::get("/")).unwrap();
//!     harness.advance(Duration::from_millis(milliseconds));
//!     harness.finish(attempt, Outcome::Answered, 200);
//! }
//! assert_eq!(harness.pick(), Some(1));
//!
//! // Endpoints come and go, and what is known of those that stay is kept.
//! harness.change(|cluster| cluster.reverse());
//! assert_eq!(harness.pick(), Some(0));
//!
//! // The next version of the policy knows what this one knew.
//! let (mut next, restored) = harness.swap::<Fastest>("{}")?;
//! assert_eq!(restored, Ok(()));
//! assert_eq!(next.pick(), Some(0));
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! # Saying more than where
//!
//! A pick may say where the request goes next should the first endpoint fail, or that it goes to a second one as well
//! if the first one is slow ([`Pick::then`], [`Pick::hedge`]). Through [`Request::reply`] it sets headers, rejects the
//! request, or explains itself. What several workers should know together is [`Shared`]; what an operator should see,
//! a [`Counter`] or a [`Gauge`]. This one keeps a client where its cookie says, and counts how often that goes wrong:
//!
//! ```
//! use sluicegate_sdk::*;
//!
//! struct Cookies {
//!     strayed: Counter,
//!     rng: Rng,
//! }
//!
//! impl Policy for Cookies {
//!     type Config = NoConfig;
//!
//!     fn new(_: NoConfig, setup: Setup) -> Result<Self, ConfigError> {
//!         Ok(Self { strayed: setup.counter("strayed"), rng: Rng::new(setup.seed) })
//!     }
//!
//!     fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
//!         let wanted = request.cookie("endpoint");
//!         let id = wanted.as_ref().and_then(|id| u64::from_str_radix(id, 16).ok());
//!         if let Some(same) = endpoints.candidates().find(|endpoint| Some(endpoint.id()) == id) {
//!             return same.into();
//!         }
//!         self.strayed.add(u64::from(wanted.is_some()));
//!         let Some(new) = endpoints.sample(&mut self.rng, 1).next() else { return Pick::DECLINE };
//!         request.reply().set_response_header("set-cookie", &format!("endpoint={:x}; HttpOnly", new.id()));
//!         new.into()
//!     }
//! }
//!
//! export!(Cookies);
//!
//! use sluicegate_sdk::harness::{Harness, SimCluster, SimRequest};
//!
//! let mut harness = Harness::<Cookies>::new("{}", SimCluster::of(5))?;
//! let first = harness.pick();
//! let (name, value) = harness.reply().response_headers[0].clone();
//! assert_eq!(name, "set-cookie");
//! let id = value.trim_start_matches("endpoint=").trim_end_matches("; HttpOnly");
//! assert_eq!(harness.pick_for(&SimRequest::get("/").cookie("endpoint", id)), first);
//! assert!(harness.reply().response_headers.is_empty(), "it has its cookie already");
//! harness.pick_for(&SimRequest::get("/").cookie("endpoint", "123"));
//! assert_eq!(harness.world().counter("strayed"), Some(1));
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! # Asking, and doing things in one's own time
//!
//! A policy may have the proxy [probe](Endpoint::probe) an endpoint, and hears what came of it by [`Probing`]. It is
//! called from time to time by [`Timer`]. This one knows the load of all endpoints before a request comes:
//!
//! ```
//! use std::time::Duration;
//! use sluicegate_sdk::*;
//!
//! #[derive(Default)]
//! struct Asking {
//!     load: PerEndpoint<u64>,
//! }
//!
//! impl Policy for Asking {
//!     type Config = NoConfig;
//!
//!     fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> {
//!         Ok(Self::default())
//!     }
//!
//!     fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
//!         self.load.follow(endpoints, |_| 0);
//!     }
//!
//!     fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
//!         endpoints.candidates().min_by_key(|endpoint| self.load[endpoint.index()]).into()
//!     }
//! }
//!
//! impl Timer for Asking {
//!     fn tick(&mut self, endpoints: &Endpoints, _now: u64) -> Option<Duration> {
//!         endpoints.iter().for_each(|endpoint| endpoint.probe());
//!         Some(Duration::from_millis(100))
//!     }
//! }
//!
//! impl Probing for Asking {
//!     fn on_probe(&mut self, probe: &ProbeResult, _endpoints: &Endpoints, _now: u64) {
//!         if let Some(load) = self.load.get_mut(probe.endpoint) {
//!             // Who does not answer is not to be picked while others do.
//!             *load = probe.load.filter(|_| probe.ok).unwrap_or(u64::MAX);
//!         }
//!     }
//! }
//!
//! export!(Asking, probing, timer);
//!
//! use sluicegate_sdk::harness::{Harness, SimCluster};
//!
//! let mut harness = Harness::<Asking>::new("{}", SimCluster::of(3))?;
//! harness.set(0, Signal::QueueDepth, 5);
//! harness.set(1, Signal::QueueDepth, 2);
//! harness.set(2, Signal::QueueDepth, 9);
//! assert_eq!(harness.pick(), Some(0), "nothing is known yet");
//! // The first tick has come; the cluster answers, and would be asked again after 100 ms.
//! harness.advance(Duration::from_millis(2));
//! assert_eq!(harness.pick(), Some(1));
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! # What a pick costs
//!
//! Calling a policy costs about as much as a few cache misses. To stay there:
//!
//! - [`len`](Endpoints::len), [`id`](Endpoint::id) and [`weight`](Endpoint::weight) are read from the plugin's own
//!   memory, and so is all that comes with the [`Request`] itself.
//! - A live value ([`in_flight`](Endpoint::in_flight), [`read`](Endpoint::read)) asks the proxy, which is quick but
//!   not free: read it once, as `min_by_key` does, and not in every comparison, as `min_by` would.
//! - To look at all endpoints, [`scan`](Endpoints::scan): one question for 64 of them.
//! - Strings (a header, a label, a zone) are copied. What belongs to endpoints is best read once, in
//!   [`endpoints_changed`](Policy::endpoints_changed).
//!
//! # Determinism
//!
//! There is no clock and no randomness but what the proxy passes in, so a policy that is called in the same way
//! picks in the same way, natively and in the proxy. Keep it so: no `HashMap` whose order matters, no `static`s, and
//! [`ln`] and [`exp`] instead of the methods of `f64`, which are the platform's.

mod config;
mod endpoints;
mod ewma;
mod export;
mod hash;
mod load_bound;
mod log;
mod math;
mod md5;
mod meters;
mod per_endpoint;
mod plugin;
mod policy;
mod reply;
mod request;
mod ring;
mod rng;
mod sample;
mod shared;
mod source;
mod weighted;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod harness;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;

pub use endpoints::{Endpoint, Endpoints, Load, Signal};
pub use ewma::{Ewma, PeakEwma};
pub use hash::{hash, mix};
pub use load_bound::LoadBound;
pub use log::{Level, log};
pub use math::{exp, ln};
pub use meters::{Counter, Gauge};
pub use per_endpoint::PerEndpoint;
pub use plugin::Plugin;
pub use policy::{
    AttemptResult, ConfigError, Feedback, NoConfig, Outcome, Pick, Policy, ProbeResult, Probing, RestoreError, Setup,
    State, Timer,
};
pub use reply::Reply;
pub use request::Request;
pub use ring::Ring;
pub use rng::Rng;
pub use sample::{Sample, Tried};
pub use shared::Shared;
pub use weighted::WeightedTable;

// For `export!`.
#[doc(hidden)]
pub mod __private {
    pub use crate::plugin::{restore_bytes, save_bytes};
}
