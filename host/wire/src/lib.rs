//! Parsers of foreign bytes that decide what may pass.
//!
//! Nothing in here does I/O, reads a clock or knows a runtime: bytes come in as slices, and verdicts go out. Whatever
//! a network peer sends, none of it panics, and none of it takes memory without a bound.

pub mod forwarded;
pub mod framing;
pub mod http2;
pub mod load_report;
pub mod path;
pub mod proxy_protocol;
pub mod trace;
