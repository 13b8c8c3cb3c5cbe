//! The control side of the proxy: what the operator wants, and the watch for when that changes.
//!
//! Nothing in here runs on a worker. [`config`] turns the operator's file into a validated [`config::Config`], and
//! [`watch`] says when that file, or a policy's, has new content.

pub mod config;
pub mod watch;
