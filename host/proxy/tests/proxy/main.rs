//! The proxy from the outside: real sockets on both sides.

mod answers;
mod bodies;
mod costs;
mod failures;
mod forwarding;
mod http2;
mod live;
mod retries;
mod support;
