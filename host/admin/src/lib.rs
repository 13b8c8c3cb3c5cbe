//! What operators and monitoring see of the proxy: a recorder for the `metrics` facade, its rendering for
//! Prometheus, and the admin listener.
//!
//! The other crates only know the facade (`metrics::counter!` and its like). They register handles where a cluster,
//! an endpoint or a policy generation is set up, and keep them: **a series lives as long as somebody holds a handle
//! to it**, so one that is registered, recorded and dropped on the spot starts at zero again after the next scrapes.
//!
//! - [`Telemetry`] is where all shards come together: it makes [`Shard`]s, renders them, and sums them up.
//! - [`Shard`] is the recorder of one worker thread.
//! - [`serve`] answers `/metrics`, `/ready` and `/status`, and hands calls below `/policies` to the control side's
//!   [`Api`], if the [`Guard`] lets them in.

mod api;
mod cell;
mod guard;
mod prometheus;
mod recorder;
mod registry;
mod server;

pub use api::{Answer, Api, Call, MAX_BODY_BYTES, Problem};
pub use guard::Guard;
pub use recorder::{AlreadyInstalled, REJECTED, Shard, Telemetry};
pub use registry::MAX_SERIES;
pub use server::{Desk, Listener, MAX_CONNECTIONS, Status, serve};
