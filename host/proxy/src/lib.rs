//! The data plane: the only crate that forwards traffic.
//!
//! A request's walk has one file for each step: [`listener`] -> [`connection`] -> [`request`] -> [`route`] ->
//! [`exchange`] -> [`respond`]. Each worker is a thread of its own with its own listeners, connections and seats,
//! so nothing on that walk takes a contended lock, crosses a thread or counts a shared reference.
//!
//! The control side adds clusters, waits until their policies are seated, and sets the routes last; it removes
//! them in the reverse order.

mod attempt;
mod body;
mod client_body;
mod cluster;
mod connect;
mod connection;
mod date;
mod endpoint;
mod endpoint_stream;
mod exchange;
mod failure;
mod forwarding;
mod grpc;
mod handle;
mod headers;
mod identity;
mod io;
mod kept;
mod limits;
mod listener;
mod load;
mod max_forwards;
mod metrics;
mod mirror;
mod multiplexed;
mod prober;
mod rare;
mod record;
mod reply;
mod request;
mod respond;
mod retry;
mod route;
mod sockets;
mod stream;
mod tcp;
mod timer;
mod tunnel;
mod upload;
mod upstream;
mod watch;
mod websocket;
mod worker;
mod workers;

pub use cluster::ClusterSettings;
pub use connect::{ProxyProtocol, UpstreamProtocol, UpstreamTls, is_of_this_side};
pub use forwarding::{Forwarding, Trace};
pub use handle::{ControlError, WorkerHandle};
pub use limits::ClientLimits;
pub use listener::ListenerSettings;
pub use load::ClusterLoad;
pub use metrics::describe;
pub use prober::ProbeSettings;
pub use respond::ERROR_HEADER;
pub use retry::{RetryCondition, RetryOn, RetrySettings};
pub use route::{
    BadPattern, BadTemplate, FixedResponse, HashKey, HeaderChanges, HeaderMatch, HostMatch, Mirror, PathChange,
    PathMatch, Pattern, Redirect, Route, RouteMatch, RouteTable, Target, Template,
};
pub use sockets::OpenSocket;
pub use workers::{SpawnError, StartError, ThreadStart, WorkerOptions, Workers, spawn_workers, spawn_workers_on};
