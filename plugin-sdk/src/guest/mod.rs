//! Inside the proxy: the contract's imports and exports.
//!
//! Nothing in here is meant to be called by a policy; [`export!`](crate::export) needs it to be public.

mod bindings;
mod imports;
mod seat;
mod source;

pub use bindings::{
    policy::{self, exports::sluicegate::policy::balancer},
    with_feedback::{self, exports::sluicegate::policy::feedback},
    with_probing::{self, exports::sluicegate::policy::probing},
    with_state::{self, exports::sluicegate::policy::state},
    with_timer::{self, exports::sluicegate::policy::timer},
};
pub use seat::Seat;

pub(crate) use imports::{CounterHandle, GaugeHandle, SharedHandle, need_body_prefix, need_load_reports};
pub(crate) use source::Source;

/// Sends a line to the proxy's log.
pub(crate) fn log(level: crate::Level, message: &str) {
    use bindings::policy::sluicegate::policy::host;

    let level = match level {
        crate::Level::Error => host::Level::Error,
        crate::Level::Warn => host::Level::Warn,
        crate::Level::Info => host::Level::Info,
        crate::Level::Debug => host::Level::Debug,
    };
    host::log(level, message);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __guest_hook {
    (feedback, $policy:ident) => {
        impl $crate::guest::feedback::Guest for Guest {
            fn on_result(
                now: u64,
                id: u64,
                outcome: $crate::guest::feedback::Outcome,
                status: u32,
                connect_us: u32,
                first_byte_us: u32,
                total_us: u32,
            ) {
                let outcome = outcome.into();
                let result =
                    $crate::AttemptResult { endpoint: id, outcome, status, connect_us, first_byte_us, total_us };
                SEAT.on_result(&result, now);
            }
        }

        $crate::guest::with_feedback::export_feedback!(Guest with_types_in $crate::guest::with_feedback);
    };
    (probing, $policy:ident) => {
        impl $crate::guest::probing::Guest for Guest {
            fn on_probe(now: u64, id: u64, ok: bool, round_trip_us: u32, load: u64, latency_us: u64) {
                SEAT.on_probe(&$crate::ProbeResult::from_numbers(id, ok, round_trip_us, load, latency_us), now);
            }
        }

        $crate::guest::with_probing::export_probing!(Guest with_types_in $crate::guest::with_probing);
    };
    (timer, $policy:ident) => {
        impl $crate::guest::timer::Guest for Guest {
            fn tick(now: u64) -> u64 {
                SEAT.tick(now)
            }
        }

        $crate::guest::with_timer::export_timer!(Guest with_types_in $crate::guest::with_timer);
    };
    (state, $policy:ident) => {
        impl $crate::guest::state::Guest for Guest {
            fn schema() -> u32 {
                <$policy as $crate::State>::SCHEMA
            }

            fn save() -> ::std::vec::Vec<u8> {
                SEAT.save()
            }

            fn restore(
                schema: u32,
                saved: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), ::std::string::String> {
                SEAT.restore(schema, &saved)
            }
        }

        $crate::guest::with_state::export_state!(Guest with_types_in $crate::guest::with_state);
    };
    // `__hook` has said what is wrong.
    ($other:ident, $policy:ident) => {};
}

impl From<feedback::Outcome> for crate::Outcome {
    #[inline]
    fn from(outcome: feedback::Outcome) -> Self {
        match outcome {
            feedback::Outcome::Answered => Self::Answered,
            feedback::Outcome::ConnectFailed => Self::ConnectFailed,
            feedback::Outcome::Broken => Self::Broken,
            feedback::Outcome::TimedOut => Self::TimedOut,
            feedback::Outcome::Cancelled => Self::Cancelled,
        }
    }
}
