//! Functions that Rust leaves to the platform.
//!
//! `f64::ln` and its like are calls of the C library natively and of another one in wasm, and the last bit of their
//! answers differs: enough to pick another endpoint. Adding, multiplying, dividing and `f64::sqrt` are exact
//! everywhere and need no replacement.

/// The natural logarithm, the same in every lane.
///
/// ```
/// # use sluicegate_sdk::{exp, ln};
/// assert_eq!(ln(1.0), 0.0);
/// assert!((exp(ln(5.0)) - 5.0).abs() < 1e-12);
/// ```
pub fn ln(number: f64) -> f64 {
    libm::log(number)
}

/// *e* to this power, the same in every lane.
pub fn exp(power: f64) -> f64 {
    libm::exp(power)
}
