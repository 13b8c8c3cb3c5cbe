//! The data path's clock.
//!
//! A pair of `std` clock reads costs twice as much as a call into a policy. The processor's time-stamp counter,
//! read directly, costs a quarter of that, so every call can be timed and no sampling is needed. On processors
//! whose counter may stop or change its speed, and on other architectures, `std`'s clock is read instead.
//!
//! The reads are not serialising: a few instructions may move across them. That blurs a single measurement by less
//! than the counter's own cost, which [`Clock::overhead_ns`] states and the policy histograms leave out.

use std::time::{Duration, Instant};

/// Nanoseconds since the clock was made. Copies agree with each other, on every thread. Each is a pointer to what was
/// measured once, which stays for as long as the process does: every request and attempt has a copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock(&'static Calibration);

#[derive(Debug)]
struct Calibration {
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
    /// Calibrates the counter against `std`'s clock, for two milliseconds: long enough for one part in 100,000, where
    /// nothing comes between.
    // The only place that reads std's clock for the data path.
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        let mut clock = Calibration { origin: Instant::now(), counter: None, overhead_ns: 0 };
        if tsc::is_steady() {
            let first = Bracket::tightest(clock.origin);
            while clock.origin.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
            clock.counter = Counter::between(&first, &Bracket::tightest(clock.origin));
        }
        clock.overhead_ns = (0..1000)
            .map(|_| {
                let start = clock.now();
                clock.now() - start
            })
            .min()
            .unwrap_or(0);
        Self(Box::leak(Box::new(clock)))
    }

    /// Now, in nanoseconds.
    #[inline]
    pub fn now(&self) -> u64 {
        self.0.now()
    }

    /// What a pair of reads shows when nothing lies between them, in nanoseconds.
    pub fn overhead_ns(&self) -> u64 {
        self.0.overhead_ns
    }

    /// What is read: the processor's counter, or `std`'s clock.
    pub fn source(&self) -> &'static str {
        if self.0.counter.is_some() { "tsc" } else { "std" }
    }
}

impl Calibration {
    #[inline]
    fn now(&self) -> u64 {
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
}

/// A time by `std`'s clock that lies between two reads of the counter: how far apart these are says how much can be wrong
/// with it.
#[derive(Clone, Copy, Debug)]
struct Bracket {
    before: u64,
    /// Nanoseconds since the clock's origin.
    at: u64,
    after: u64,
}

impl Bracket {
    /// The best of some: a thread that is put aside in the middle of one, for milliseconds, is not in all of them.
    #[allow(clippy::disallowed_methods)]
    fn tightest(origin: Instant) -> Self {
        let take = || {
            let before = tsc::read();
            let at = origin.elapsed().as_nanos() as u64;
            Self { before, at, after: tsc::read() }
        };
        let first = take();
        (0..15).fold(first, |best, _| {
            let next = take();
            if next.width() < best.width() { next } else { best }
        })
    }

    /// Very large for one whose thread has moved to a processor whose counter is behind.
    fn width(&self) -> u64 {
        self.after.wrapping_sub(self.before)
    }

    fn middle(&self) -> u64 {
        self.before + self.width() / 2
    }
}

/// By how much a calibration may be wrong: one part in so many.
const PRECISION: u64 = 1000;

impl Counter {
    /// None if one of them is too wide to tell how fast the counter is.
    fn between(first: &Bracket, last: &Bracket) -> Option<Self> {
        let ticks = last.before.checked_sub(first.after).filter(|ticks| *ticks > 0)?;
        if first.width().saturating_add(last.width()) / 2 > ticks / PRECISION {
            return None;
        }
        let (origin, ns) = (first.middle(), last.at.checked_sub(first.at)?);
        let scale = (u128::from(ns) << 32) / u128::from(last.middle() - origin);
        u64::try_from(scale).ok().map(|scale| Self { origin, scale })
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
    fn only_reads_that_belong_together_calibrate() {
        const SECOND: u64 = 1_000_000_000;
        // Two ticks are a nanosecond.
        let bracket = |at, before, after| Bracket { before, at, after };
        let scale = |first, last| Counter::between(&first, &last).map(|counter| counter.scale);
        let (first, last) = (bracket(0, 1000, 1100), bracket(2_000_000, 4_001_000, 4_001_100));
        assert_eq!(scale(first, last), Some(1 << 31));
        assert_eq!(Counter::between(&first, &last).unwrap().origin, 1050);
        // The thread was put aside for a millisecond between two reads, or has come to another processor.
        assert_eq!(scale(bracket(0, 1000, 2_001_000), last), None);
        assert_eq!(scale(first, bracket(2_000_000, 2_001_000, 4_001_100)), None);
        assert_eq!(scale(first, bracket(2_000_000, 4_001_000, 4_000_000)), None);
        assert_eq!(scale(bracket(0, 5_000_000, 5_000_100), last), None);
        assert_eq!(scale(first, first), None);
        // A clock that goes backwards, or a counter that hardly moves.
        assert_eq!(scale(bracket(SECOND, 1000, 1100), last), None);
        assert_eq!(scale(bracket(0, 0, 0), bracket(u64::MAX, 1, 1)), None);
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
