//! From a policy to a plugin.

/// Makes a policy the one that this crate's wasm module exports.
///
/// Optional hooks are exported when they are named, so that the proxy never makes a call for nothing:
/// `export!(MyPolicy, feedback)`, or any others of `feedback`, `probing`, `timer` and `state`, in any order. Naming a
/// hook that the policy does not implement is a compile error, and so is implementing one without naming it:
///
/// ```compile_fail
/// # use sluicegate_sdk::*;
/// # struct Deaf;
/// # impl Policy for Deaf {
/// #     type Config = NoConfig;
/// #     fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> { Ok(Self) }
/// #     fn pick(&mut self, _: &Request, _: &Endpoints) -> Pick { Pick::DECLINE }
/// # }
/// impl Feedback for Deaf {
///     fn on_result(&mut self, _result: &AttemptResult, _now: u64) {}
/// }
/// export!(Deaf); // error: `Deaf` implements `Feedback`: name `feedback` in its `export!`
/// ```
///
/// Natively nothing is exported, and the crate is an ordinary library that tests itself.
#[macro_export]
macro_rules! export {
    ($policy:ident $(, $hook:ident)* $(,)?) => {
        $crate::__plugin!($policy, $($hook)*);
        $crate::__guest!($policy, $($hook)*);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    ($policy:ident, $($hook:ident)*) => {
        const _: () = {
            impl $crate::Plugin for $policy {
                $($crate::__hook!($hook);)*
            }

            // An inherent constant is preferred to a trait's, but only where its bound holds: this is how the
            // compiler tells whether the policy implements a hook.
            #[allow(dead_code)]
            trait Lacks {
                const FEEDBACK: bool = false;
                const PROBING: bool = false;
                const TIMER: bool = false;
                const STATE: bool = false;
            }
            struct Has<P>(::core::marker::PhantomData<P>);
            impl<P> Lacks for Has<P> {}
            $crate::__has!(FEEDBACK, Feedback, "feedback", $policy, <$policy as $crate::Plugin>::FEEDBACK);
            $crate::__has!(PROBING, Probing, "probing", $policy, <$policy as $crate::Plugin>::PROBING);
            $crate::__has!(TIMER, Timer, "timer", $policy, <$policy as $crate::Plugin>::TIMER);
            $crate::__has!(STATE, State, "state", $policy, <$policy as $crate::Plugin>::STATE.is_some());
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __has {
    ($constant:ident, $hook:ident, $name:literal, $policy:ident, $named:expr) => {
        #[allow(dead_code)]
        impl<P: $crate::$hook> Has<P> {
            const $constant: bool = true;
        }
        ::core::assert!(
            <Has<$policy>>::$constant == $named,
            ::core::concat!(
                "`",
                ::core::stringify!($policy),
                "` implements `",
                ::core::stringify!($hook),
                "`: name `",
                $name,
                "` in its `export!`"
            )
        );
    };
}

/// What a hook adds to the policy's `Plugin`.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook {
    (feedback) => {
        const FEEDBACK: bool = true;

        fn deliver(&mut self, result: &$crate::AttemptResult, now: u64) {
            $crate::Feedback::on_result(self, result, now);
        }
    };
    (probing) => {
        const PROBING: bool = true;

        fn deliver_probe(&mut self, probe: &$crate::ProbeResult, endpoints: &$crate::Endpoints, now: u64) {
            $crate::Probing::on_probe(self, probe, endpoints, now);
        }
    };
    (timer) => {
        const TIMER: bool = true;

        fn do_tick(
            &mut self,
            endpoints: &$crate::Endpoints,
            now: u64,
        ) -> ::core::option::Option<::core::time::Duration> {
            $crate::Timer::tick(self, endpoints, now)
        }
    };
    (state) => {
        const STATE: ::core::option::Option<u32> = ::core::option::Option::Some(<Self as $crate::State>::SCHEMA);

        fn save_bytes(&self) -> ::std::vec::Vec<u8> {
            $crate::__private::save_bytes(self)
        }

        fn restore_bytes(
            &mut self,
            schema: u32,
            saved: &[u8],
            endpoints: &$crate::Endpoints,
        ) -> ::core::result::Result<(), $crate::RestoreError> {
            $crate::__private::restore_bytes(self, schema, saved, endpoints)
        }
    };
    ($other:ident) => {
        ::core::compile_error!(::core::concat!(
            "there is no hook `",
            ::core::stringify!($other),
            "`: there are `feedback`, `probing`, `timer` and `state`"
        ));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __guest {
    ($policy:ident, $($hook:ident)*) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            struct Guest;

            static SEAT: $crate::guest::Seat<$policy> = $crate::guest::Seat::new();

            impl $crate::guest::balancer::Guest for Guest {
                fn configure(
                    config: ::std::string::String,
                    seed: u64,
                    worker: u32,
                    workers: u32,
                ) -> ::core::result::Result<(), ::std::string::String> {
                    SEAT.configure(&config, $crate::Setup { seed, worker, workers })
                }

                fn endpoints_changed(now: u64) {
                    SEAT.endpoints_changed(now);
                }

                #[inline]
                fn pick(now: u64, hash: u64, attempt: u32) -> u32 {
                    SEAT.pick(now, hash, attempt)
                }
            }

            $crate::guest::policy::export_policy!(Guest with_types_in $crate::guest::policy);
            $($crate::__guest_hook!($hook, $policy);)*
        };
    };
}
