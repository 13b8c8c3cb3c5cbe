//! Where endpoints and requests get their values from: the proxy's imports in a plugin, a trait object natively.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::native::Source;

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::guest::Source;
