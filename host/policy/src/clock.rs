//! The data path's clock.
//!
//! A pair of `std` clock reads costs twice as much as a call into a policy. The processor's time-stamp counter,
//! read directly, costs a quarter of that, so every call can be timed and no sampling is needed. On processors
//! whose counter may stop or change its speed, and on other architectures, `std`'s clock is read instead.
//!
//! The reads are not serialising: a few instructions may move across them. That blurs a single measurement by less
//! than the counter's own cost, which [`Clock::overhead_ns`] states and the policy histograms leave out.

use std::time::{Duration, Instant};

/// Nanoseconds since the clock was made. Copies agree with each other, on every thread.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    counter: Option<Counter>,
    overhead_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    origin: u64,
    /// Nanoseconds per tick, times 2^32.
    scale: u64,
}

impl Clock {
    /// Calibrates the counter against `std`'s clock, for two milliseconds: long enough for one part in 100,000.
    // The only place that reads std's clock for the data path.
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        let origin = Instant::now();
        let mut clock = Self { origin, counter: None, overhead_ns: 0 };
        if tsc::is_steady() {
            let first = tsc::read();
            while origin.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
            let (elapsed, last) = (origin.elapsed().as_nanos(), tsc::read());
            if last > first {
                let scale = (elapsed << 32) / u128::from(last - first);
                clock.counter = u64::try_from(scale).ok().map(|scale| Counter { origin: first, scale });
            }
        }
        clock.overhead_ns = (0..1000)
            .map(|_| {
                let start = clock.now();
                clock.now() - start
            })
            .min()
            .unwrap_or(0);
        clock
    }

    /// Now, in nanoseconds.
    #[inline]
    pub fn now(&self) -> u64 {
        match self.counter {
            Some(Counter { origin, scale }) => {
                // Counters of different processors may differ by a few ticks: time must not wrap below the origin.
                let ticks = tsc::read().saturating_sub(origin);
                ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
            }
            None => self.elapsed(),
        }
    }

    #[allow(clippy::disallowed_methods)]
    fn elapsed(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// What a pair of reads shows when nothing lies between them, in nanoseconds.
    pub fn overhead_ns(&self) -> u64 {
        self.overhead_ns
    }

    /// What is read: the processor's counter, or `std`'s clock.
    pub fn source(&self) -> &'static str {
        if self.counter.is_some() { "tsc" } else { "std" }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod tsc {
    use std::arch::x86_64::{__cpuid, _rdtsc};

    /// Whether the counter runs at one speed in every power state ("invariant TSC", CPUID 8000_0007h, EDX bit 8).
    pub(super) fn is_steady() -> bool {
        __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
    }

    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: every x86-64 processor has the instruction, and Linux lets user space execute it.
        unsafe { _rdtsc() }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod tsc {
    pub(super) fn is_steady() -> bool {
        false
    }

    pub(super) fn read() -> u64 {
        0
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn keeps_time_with_the_standard_clock() {
        let clock = Clock::start();
        let (start, reference) = (clock.now(), Instant::now());
        std::thread::sleep(Duration::from_millis(50));
        let (elapsed, expected) = (clock.now() - start, reference.elapsed().as_nanos() as u64);
        assert!(elapsed.abs_diff(expected) < 2_000_000, "{elapsed} ns on {}, {expected} ns on std", clock.source());
    }

    #[test]
    fn never_runs_backwards() {
        let clock = Clock::start();
        (0..10_000).fold(clock.now(), |before, _| {
            let now = clock.now();
            assert!(now >= before);
            now
        });
    }
}
