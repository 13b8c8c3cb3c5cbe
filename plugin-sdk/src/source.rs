//! Where endpoints and requests get their values from, and where everything else is asked for: the proxy's imports in
//! a plugin, a trait object and a world of its own natively.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::native::{CounterHandle, GaugeHandle, SharedHandle, Source, need_body_prefix, need_load_reports};

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::guest::{CounterHandle, GaugeHandle, SharedHandle, Source, need_body_prefix, need_load_reports};
