//! When requests are due.

use std::time::Duration;

use sluicegate_core::Rng;

/// How requests are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Independently of each other, as those of many users are: the times between them are exponential.
    Poisson,
    /// At equal distances.
    Constant,
    /// As soon as an answer has come: a closed loop, for the most that a server can do. Its latencies are blind to
    /// stalls.
    Closed,
}

/// A time with one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Phase {
    /// Requests a second.
    pub(crate) rate: f64,
    /// How long.
    pub(crate) time: Duration,
}

/// The due times of a plan, in nanoseconds from its start.
pub(crate) struct Schedule {
    arrivals: Arrivals,
    phases: std::vec::IntoIter<Phase>,
    phase: Option<Phase>,
    /// When the phase ends.
    end: f64,
    at: f64,
    rng: Rng,
}

impl Schedule {
    pub(crate) fn new(arrivals: Arrivals, phases: Vec<Phase>, seed: u64) -> Self {
        let mut phases = phases.into_iter();
        let phase = phases.next();
        let end = phase.map_or(0.0, |phase| phase.time.as_nanos() as f64);
        Self { arrivals, phases, phase, end, at: 0.0, rng: Rng::new(seed) }
    }

    /// A step of 1 is a mean distance. The distances of a Poisson process are exponential.
    fn step(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Poisson => exponential(&mut self.rng),
            Arrivals::Constant | Arrivals::Closed => 1.0,
        }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let mut steps = self.step();
        loop {
            let phase = self.phase?;
            let distance = 1e9 / phase.rate;
            let at = self.at + steps * distance;
            if at < self.end {
                self.at = at;
                return Some(at as u64);
            }
            // What is left of the step goes on at the next phase's rate: time is stretched, and chance is not.
            steps -= (self.end - self.at) / distance;
            self.at = self.end;
            self.phase = self.phases.next();
            self.end += self.phase.map_or(0.0, |phase| phase.time.as_nanos() as f64);
        }
    }
}

/// Exponentially distributed with a mean of 1, by inversion.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    // 53 bits make a number in (0, 1].
    let uniform = ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -uniform.ln()
}
