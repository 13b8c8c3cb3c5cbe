//! What a policy can do wrong while it serves.

use std::time::Duration;

/// A policy's call that gave no usable answer. The request it was made for is served by the fallback.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The call ran longer than its deadline.
    #[error("`{callback}` ran longer than its deadline of {deadline:?}")]
    Timeout {
        /// The contract's name of the call.
        callback: &'static str,
        /// How long it had.
        deadline: Duration,
    },
    /// WebAssembly stopped the call: an explicit abort, an access out of bounds, a division by zero, ...
    #[error("`{callback}` trapped: {reason}")]
    Trap {
        /// The contract's name of the call.
        callback: &'static str,
        /// WebAssembly's words, and the policy's own where it had a last message.
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
