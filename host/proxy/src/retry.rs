//! What of a cluster's requests is tried again, and how much of it.

use std::fmt;

use sluicegate_core::{Backoff, RetryBudget};

/// When and how a request is tried again, on another endpoint.
///
/// Whatever is configured, a request of which something was sent is only sent again if that is safe: if its method is
/// idempotent (RFC 9110, section 9.2.2), if the endpoint says that it did nothing, or if the operator says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// What a request is tried again after.
    pub on: RetryOn,
    /// How long to wait before it. A request whose connection could not be made does not wait.
    pub backoff: Backoff,
    /// How many of the cluster's requests may be retries at the same time. A request whose connection could not be made is
    /// none: nobody has done anything for it yet.
    pub budget: RetryBudget,
    /// How much of a request's body is kept to be sent again. A request with more than that is not.
    pub body_bytes: usize,
    /// Whether requests are sent again whatever their method.
    pub non_idempotent: bool,
}

impl RetrySettings {
    /// The default.
    pub const DEFAULT: Self = Self {
        on: RetryOn::DEFAULT,
        // `Backoff::default` and `RetryBudget::default`, which say why, where a constant is needed.
        backoff: Backoff { base_ns: 25_000_000, max_ns: 250_000_000 },
        budget: RetryBudget { percent: 20, min_concurrent: 3 },
        // Forms and calls, not uploads; a thousand such requests at a time are 64 MiB.
        body_bytes: 64 << 10,
        non_idempotent: false,
    };
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Something that a request may be tried again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCondition {
    /// No connection could be made.
    ConnectFailure,
    /// The endpoint refused the request without doing anything for it (RFC 9113, section 8.7).
    RefusedStream,
    /// The connection broke before there was an answer.
    Reset,
    /// The attempt's own time was over.
    AttemptTimeout,
    /// The endpoint did not answer in time.
    ResponseTimeout,
    /// An answer with this status, from 400 to 599.
    Status(u16),
    /// An answer to a gRPC call with this status, from 1 to 16. All such calls are POSTs; to name it is to say that they
    /// may be sent again.
    GrpcStatus(u8),
}

/// For metrics: all causes of retries, in the order of [`RetryCondition::cause`].
pub(crate) const CAUSES: [&str; 7] =
    ["connect_failure", "refused_stream", "reset", "attempt_timeout", "response_timeout", "status", "grpc_status"];

impl RetryCondition {
    /// Where it is in [`CAUSES`].
    pub(crate) const fn cause(self) -> usize {
        match self {
            Self::ConnectFailure => 0,
            Self::RefusedStream => 1,
            Self::Reset => 2,
            Self::AttemptTimeout => 3,
            Self::ResponseTimeout => 4,
            Self::Status(_) => 5,
            Self::GrpcStatus(_) => 6,
        }
    }

    /// Its place in the set, if it has one.
    const fn bit(self) -> Option<usize> {
        match self {
            Self::Status(status @ 400..=599) => Some(status as usize - 400),
            Self::GrpcStatus(status @ 1..=16) => Some(200 + status as usize),
            Self::Status(_) | Self::GrpcStatus(_) => None,
            other => Some(220 + other.cause()),
        }
    }
}

/// A set of conditions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RetryOn([u64; 4]);

impl RetryOn {
    /// Nothing.
    pub const NONE: Self = Self([0; 4]);

    /// What says nothing about the request itself, only about the endpoint that it happened to go to. A limit on an
    /// attempt's time is there to be followed by another attempt.
    pub const DEFAULT: Self = Self::NONE
        .with(RetryCondition::ConnectFailure)
        .with(RetryCondition::RefusedStream)
        .with(RetryCondition::Reset)
        .with(RetryCondition::AttemptTimeout);

    /// This and one more. A status that an answer can't have, or that is no error, changes nothing.
    #[must_use]
    pub const fn with(mut self, condition: RetryCondition) -> Self {
        if let Some(bit) = condition.bit() {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
        self
    }

    /// Whether it is in the set.
    pub fn contains(&self, condition: RetryCondition) -> bool {
        condition.bit().is_some_and(|bit| self.0[bit / 64] >> (bit % 64) & 1 == 1)
    }

    /// Everything in the set.
    fn conditions(&self) -> impl Iterator<Item = RetryCondition> {
        use RetryCondition::{AttemptTimeout, ConnectFailure, RefusedStream, Reset, ResponseTimeout};
        [ConnectFailure, RefusedStream, Reset, AttemptTimeout, ResponseTimeout]
            .into_iter()
            .chain((400..=599).map(RetryCondition::Status))
            .chain((1..=16).map(RetryCondition::GrpcStatus))
            .filter(|condition| self.contains(*condition))
    }
}

impl fmt::Debug for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.conditions()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_a_place_of_its_own() {
        let all =
            (0..=u16::MAX).map(RetryCondition::Status).chain((0..=u8::MAX).map(RetryCondition::GrpcStatus)).chain([
                RetryCondition::ConnectFailure,
                RetryCondition::RefusedStream,
                RetryCondition::Reset,
                RetryCondition::AttemptTimeout,
                RetryCondition::ResponseTimeout,
            ]);
        let mut count = 0;
        for condition in all {
            let set: Vec<_> = RetryOn::NONE.with(condition).conditions().collect();
            assert!(set.is_empty() || set == [condition], "{condition:?}: {set:?}");
            count += set.len();
        }
        assert_eq!(count, 200 + 16 + 5);
    }

    #[test]
    fn the_defaults_are_the_core_s() {
        assert_eq!(RetrySettings::DEFAULT.backoff, Backoff::default());
        assert_eq!(RetrySettings::DEFAULT.budget, RetryBudget::default());
    }
}
