//! The control side: everything that changes what the workers serve from.
//!
//! [`config`] turns one TOML file into a validated [`Config`](config::Config); [`watch`] reports when that file, or a
//! policy's, has changed; and a [`Plane`] brings the workers from one configuration to the next, with an actor for
//! each cluster. All of it runs on threads of its own: a worker only ever takes in what is ready to use.

mod actor;
mod api;
pub mod config;
mod discovery;
mod endpoints;
mod metrics;
mod plane;
mod policies;
mod probe;
mod run;
mod status;
pub mod tls;
mod trust;
pub mod watch;

pub use metrics::describe_metrics;
pub use plane::{Applied, ApplyError, Plane, PlaneOptions, try_out_all};
pub use run::{PlaneHandle, run};
pub use status::Board;
pub use trust::{PublicKey, signature_path};
