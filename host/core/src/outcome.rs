//! How an attempt went.

use crate::EndpointId;

/// What became of an attempt, from the proxy's point of view. The order is the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// An answer came, whole.
    Answered,
    /// No connection could be made.
    ConnectFailed,
    /// The connection broke before the answer was whole.
    Broken,
    /// The answer did not come in time.
    TimedOut,
    /// The client went away first.
    Cancelled,
}

impl Outcome {
    /// A short, stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ConnectFailed => "connect_failed",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a probe came to that a policy asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// Who was asked.
    pub endpoint: EndpointId,
    /// Whether it answered in time, with a status below 400.
    pub ok: bool,
    /// How long that took, in microseconds.
    pub round_trip_us: u32,
    /// Its requests in flight, by its own count, if it says so.
    pub load: Option<u64>,
    /// How long it takes to answer a request with that load, in microseconds, if it says so.
    pub latency_us: Option<u64>,
}

/// One attempt at one endpoint, over and done with. Times are in microseconds since the attempt began; what never
/// happened is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptResult {
    /// Who got it.
    pub endpoint: EndpointId,
    /// What became of it.
    pub outcome: Outcome,
    /// The status of the answer; 0 when none came.
    pub status: u16,
    /// When the connection stood; 0 when it was a reused one.
    pub connect_us: u32,
    /// When the answer's head came.
    pub first_byte_us: u32,
    /// When it was over.
    pub total_us: u32,
}
