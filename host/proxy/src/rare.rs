//! What few requests do is kept out of the way of what all of them do.
//!
//! A request runs some 17,000 instructions of ours, and the kernel's between them leave little of these in the processor's
//! first cache: what counts is how many lines of it they take up. So functions that a request's walk seldom comes to are
//! marked `#[cold]`, or `#[inline(never)]` where other traffic comes to them all the time, and stay out of those that it
//! always runs. It took 2% off what a request costs.

use std::{future::Future, pin::Pin};

/// A future that is rarely waited for. In a box, so that it does not make the future larger that waits for it, as every
/// request has one of those; and behind a pointer, so that its code is not in the midst of the code that they all run,
/// of which the processor's cache holds a part at a time.
#[cold]
#[inline(never)]
pub(crate) fn rare<'a, T>(future: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(future)
}
