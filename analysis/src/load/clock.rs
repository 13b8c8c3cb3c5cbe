//! The generator's clock and alarm: the kernel's monotonic clock, to the nanosecond.
//!
//! tokio's own timers are a millisecond wide, which is more than a proxy takes for a request. A `timerfd` fires when it
//! is told to. tokio's registration of a file descriptor is the one use of `unsafe` here.

#![allow(unsafe_code)]

use std::{io, os::fd::OwnedFd};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Nanoseconds of the monotonic clock.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Processor time of this thread, in nanoseconds.
pub(super) fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Wakes its task at a moment.
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // SAFETY: an `OwnedFd` is open and the same until it is dropped, and the `AsyncFd` has it until then.
        Ok(Self(unsafe { AsyncFd::register(timer) }?))
    }

    /// Returns at that time of [`now_ns`], or a moment after it.
    pub(super) async fn at(&self, ns: u64) -> io::Result<()> {
        // A time of 0 would turn it off.
        let ns = ns.max(1);
        let value = Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval: never, it_value: value })?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            match rustix::io::read(&self.0, &mut count) {
                Ok(_) => return Ok(()),
                // What was ready was an earlier alarm.
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
