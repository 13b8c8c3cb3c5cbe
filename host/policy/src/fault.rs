//! What a policy can do wrong while it serves.

use std::{fmt, time::Duration};

use wasmtime::WasmBacktrace;

use crate::asked::cut;

/// A policy's call that gave no usable answer. The request it was made for is served by the fallback.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The call ran longer than its deadline.
    #[error("`{callback}` ran longer than its deadline of {deadline:?}{trace}")]
    Timeout {
        /// The contract's name of the call.
        callback: &'static str,
        /// How long it had.
        deadline: Duration,
        /// Where it was then.
        trace: Trace,
    },
    /// WebAssembly stopped the call: an explicit abort, an access out of bounds, a division by zero, ...
    #[error("`{callback}` trapped: {reason}")]
    Trap {
        /// The contract's name of the call.
        callback: &'static str,
        /// WebAssembly's words, and the policy's own where it had a last message, and where it was.
        reason: String,
    },
    /// The call recursed too deep.
    #[error("`{callback}` overflowed its stack")]
    StackOverflow {
        /// The contract's name of the call.
        callback: &'static str,
    },
    /// The call asked for more memory, or a larger table, than a policy gets.
    #[error("`{callback}` asked for {asked} {unit}: the limit is {limit}")]
    Memory {
        /// The contract's name of the call.
        callback: &'static str,
        /// What it would have come to.
        asked: usize,
        /// What the limit is.
        limit: usize,
        /// Of what: bytes of memory, or table elements.
        unit: &'static str,
    },
    /// The answer names no endpoint.
    #[error("`pick` answered {index}, but there are only {count} endpoints")]
    BadIndex {
        /// The answer.
        index: u32,
        /// How many endpoints there were.
        count: u32,
    },
    /// What a pick said beside its answer can't be done. The request goes on without.
    #[error("`pick` set a header that it can't: {reason}")]
    BadReply {
        /// What, and why not.
        reason: String,
    },
}

impl Fault {
    /// A short, stable name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Trap { .. } => "trap",
            Self::StackOverflow { .. } => "stack_overflow",
            Self::Memory { .. } => "memory_limit",
            Self::BadIndex { .. } => "bad_index",
            Self::BadReply { .. } => "bad_reply",
        }
    }

    /// Whether the instance is in an unknown state, so that a new one has to take its place.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::BadIndex { .. } | Self::BadReply { .. })
    }
}

/// The functions that a call was in when it ended, innermost first, as far as the module's name section names them.
#[derive(Clone, Debug, Default)]
pub struct Trace(Vec<String>);

/// Enough to see where it was; a line of a log is not the place for more.
const FRAMES: usize = 8;
const NAME_BYTES: usize = 120;

/// What stands between the place of a panic and the trap.
const PANICKING: [&str; 6] =
    ["__rustc::", "std::panicking::", "std::sys::", "core::panicking::", "core::option::", "core::result::"];

impl Trace {
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Self::default() };
        let names = backtrace.frames().iter().filter_map(|frame| frame.func_name()).map(readable);
        Self(names.skip_while(|name| PANICKING.iter().any(|prefix| name.starts_with(prefix))).take(FRAMES).collect())
    }
}

/// A function's name, as its author wrote it where the language is Rust.
fn readable(name: &str) -> String {
    cut(format!("{:#}", rustc_demangle::demangle(name)), NAME_BYTES)
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; in {}", self.0.join(" < ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_their_author_wrote_them() {
        assert_eq!(readable("_ZN3p2c4pick17h0123456789abcdefE"), "p2c::pick");
        assert_eq!(readable("_RNvNtCs1234_7mycrate3foo3bar"), "mycrate::foo::bar");
        assert_eq!(readable("less_loaded"), "less_loaded");
        assert_eq!(Trace(vec!["a".into(), "b".into()]).to_string(), "; in a < b");
    }
}
