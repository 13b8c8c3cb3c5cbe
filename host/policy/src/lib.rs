//! The engine: loads, checks, runs, times and replaces WebAssembly policies.
//!
//! The only crate that knows wasmtime. A policy's way through it:
//!
//! 1. [`Engine::load`] turns bytes into an [`Artifact`]: compiled (or taken from the cache of compiled artifacts),
//!    and inspected against the contract.
//! 2. [`Supervisor::swap`] rehearses it with the real configuration and endpoints, off the workers, and only then
//!    publishes a [`Generation`] of it: an [`Instance`] for each worker's [`Seat`].
//! 3. The worker calls it through the seat, which times every call, serves the request by the native fallback when
//!    the policy can't, and reports faults.
//! 4. The supervisor rebuilds instances that died, and rolls back a generation that faults too often. It also puts
//!    candidates on trial beside the one that serves.

mod artifact;
mod asked;
mod cache;
mod clock;
mod compiling;
mod deadline;
mod engine;
mod fallback;
mod fault;
mod functions;
mod generation;
mod headers;
mod history;
mod lane;
mod limiter;
pub mod measure;
mod meters;
mod metrics;
mod picks;
mod refusal;
mod request;
mod seat;
mod shared;
mod state;
mod supervisor;
#[cfg(test)]
mod testing;
mod trial;

pub use self::metrics::describe as describe_metrics;
pub use artifact::{Artifact, Digest, LaneKind};
pub use asked::{Asked, Hedge, Needs, Rejection, Reply};
pub use clock::Clock;
pub use compiling::MAX_COMPILES;
pub use engine::{Engine, Limits};
pub use fault::{Fault, Trace};
pub use generation::{Generation, GenerationSpec, Instance, Plugin, Rehearsal};
pub use headers::{FORWARDED_HOST, OwnLines, RequestHeaders};
pub use history::{Cause, Change, Event, Times};
pub use lane::{Exports, Lane, Saved, Uses};
pub use picks::{LOOKED_AT_NS, SeenPick};
pub use refusal::Refusal;
pub use request::{RequestHead, RequestParts};
pub use seat::{DECLINE, Installed, Picked, Prober, Report, Seat, SeatHandle, SeatInbox, WorkerGone, seat};
pub use supervisor::{Loaded, Supervisor, SupervisorStatus, Swapped, TrialSpec, TrialStatus, Vetting};
pub use trial::{Draw, Tally};
