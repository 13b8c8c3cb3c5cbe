//! What the end-to-end tests are made of: origins, the proxy's own binary, clients, and policies that misbehave.

#![allow(clippy::disallowed_methods, clippy::missing_panics_doc)] // Tests may look at the clock, and fail loudly.

mod certificates;
mod client;
mod echo;
mod names;
mod native;
mod origin;
pub mod patient;
pub mod peers;
mod proxy;
pub mod wasm;

pub use certificates::Authority;
pub use client::{Load, Tally, ask, get};
pub use echo::Echo;
pub use names::NameServer;
pub use native::NativeCluster;
pub use origin::Origin;
pub use patient::Patient;
pub use proxy::{Proxy, binary, eventually};
