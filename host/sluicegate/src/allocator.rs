//! The allocator, and the way of free memory back to the system.

use std::time::Duration;

use mimalloc::MiMalloc;
use tokio::time::{MissedTickBehavior, interval};

/// A request makes a few dozen small allocations, all on its worker's thread: this allocator serves them from memory
/// of the thread's own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Gives back what has been free for a second, every second. The allocator does that by itself only while memory is
/// being freed, on the thread that frees: what connections leave behind that come to rest together would stay. To give
/// it back takes time, which is not a worker's in this way.
pub(crate) async fn give_back() {
    let mut turn = interval(Duration::from_secs(1));
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        collect();
    }
}

#[allow(unsafe_code)]
fn collect() {
    // SAFETY: it may be called at any time, on any thread; nothing that is in use is touched.
    unsafe { libmimalloc_sys::mi_collect(false) };
}
