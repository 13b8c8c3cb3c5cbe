//! From a policy to a plugin.

/// Makes a policy the one that this crate's wasm module exports.
///
/// Optional hooks are exported when they are named, so that the proxy never makes a call for nothing:
/// `export!(MyPolicy, feedback)`, `export!(MyPolicy, state)` or `export!(MyPolicy, feedback, state)`. Naming a hook
/// that the policy does not implement is a compile error, and so is implementing one without naming it:
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
/// export!(Deaf); // error: `Deaf` implements `Feedback`: write `export!(Deaf, feedback)`
/// ```
///
/// Natively nothing is exported, and the crate is an ordinary library that tests itself.
#[macro_export]
macro_rules! export {
    ($policy:ident $(,)?) => {
        $crate::__plugin!($policy, false, None, {});
        $crate::__guest!($policy, {});
    };
    ($policy:ident, feedback $(,)?) => {
        $crate::__plugin!($policy, true, None, {
            $crate::__deliver!();
        });
        $crate::__guest!($policy, {
            $crate::__guest_feedback!();
        });
    };
    ($policy:ident, state $(,)?) => {
        $crate::__plugin!($policy, false, Some(<$policy as $crate::State>::SCHEMA), {
            $crate::__keep!();
        });
        $crate::__guest!($policy, {
            $crate::__guest_state!($policy);
        });
    };
    ($policy:ident, feedback, state $(,)?) => {
        $crate::__plugin!($policy, true, Some(<$policy as $crate::State>::SCHEMA), {
            $crate::__deliver!();
            $crate::__keep!();
        });
        $crate::__guest!($policy, {
            $crate::__guest_feedback!();
            $crate::__guest_state!($policy);
        });
    };
    ($policy:ident, state, feedback $(,)?) => {
        $crate::export!($policy, feedback, state);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    ($policy:ident, $feedback:expr, $state:expr, { $($hooks:tt)* }) => {
        const _: () = {
            impl $crate::Plugin for $policy {
                const FEEDBACK: bool = $feedback;
                const STATE: ::core::option::Option<u32> = $state;
                $($hooks)*
            }

            // An inherent constant is preferred to a trait's, but only where its bound holds: this is how the
            // compiler tells whether the policy implements a hook.
            #[allow(dead_code)]
            trait Lacks {
                const FEEDBACK: bool = false;
                const STATE: bool = false;
            }
            struct Has<P>(::core::marker::PhantomData<P>);
            impl<P> Lacks for Has<P> {}
            #[allow(dead_code)]
            impl<P: $crate::Feedback> Has<P> {
                const FEEDBACK: bool = true;
            }
            #[allow(dead_code)]
            impl<P: $crate::State> Has<P> {
                const STATE: bool = true;
            }
            ::core::assert!(
                <Has<$policy>>::FEEDBACK == <$policy as $crate::Plugin>::FEEDBACK,
                ::core::concat!(
                    "`", ::core::stringify!($policy), "` implements `Feedback`: write `export!(",
                    ::core::stringify!($policy), ", feedback)`"
                )
            );
            ::core::assert!(
                <Has<$policy>>::STATE == <$policy as $crate::Plugin>::STATE.is_some(),
                ::core::concat!(
                    "`", ::core::stringify!($policy), "` implements `State`: write `export!(",
                    ::core::stringify!($policy), ", state)`"
                )
            );
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __deliver {
    () => {
        fn deliver(&mut self, result: &$crate::AttemptResult, now: u64) {
            $crate::__private::deliver(self, result, now);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __keep {
    () => {
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
}

#[doc(hidden)]
#[macro_export]
macro_rules! __guest {
    ($policy:ident, { $($hooks:tt)* }) => {
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
            $($hooks)*
        };
    };
}
