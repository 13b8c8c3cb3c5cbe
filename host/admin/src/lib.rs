//! What operators and monitoring see of the proxy: a recorder for the `metrics` facade, its rendering for
//! Prometheus, and the admin listener.
//!
//! The other crates only know the facade (`metrics::counter!` and its like). They register handles where a cluster,
//! an endpoint or a policy generation is set up, and keep them: **a series lives as long as somebody holds a handle
//! to it**, so one that is registered, recorded and dropped on the spot starts at zero again after the next scrapes.
//!
//! - [`Telemetry`] is where all shards come together: it makes [`Shard`]s, renders them, and sums them up.
//! - [`Shard`] is the recorder of one worker thread.
//! - [`serve`] answers `/metrics`, `/ready` and `/status`.

mod cell;
mod prometheus;
mod recorder;
mod registry;
mod server;

pub use recorder::{AlreadyInstalled, REJECTED, Shard, Telemetry};
pub use registry::MAX_SERIES;
pub use server::{MAX_CONNECTIONS, Status, serve};
