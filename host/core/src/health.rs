//! Active health checks: what probes say of an endpoint, and when to probe next.

use crate::Rng;

/// How endpoints are probed. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSpec {
    /// The time from a probe's result to the next probe.
    pub interval_ns: u64,
    /// How far that time may be off, to either side, in percent of it, up to 100.
    pub jitter_percent: u32,
    /// How long a probe may take. One that takes longer has failed.
    pub timeout_ns: u64,
    /// How many probes in a row must pass before an unhealthy endpoint is healthy again.
    pub healthy_threshold: u32,
    /// How many probes in a row must fail before a healthy endpoint is unhealthy.
    pub unhealthy_threshold: u32,
}

/// The thresholds are HAProxy's (`rise 2`, `fall 3`): one lost probe says little, and coming back takes two so that an
/// endpoint that flaps stays out. Every 5 s, as in NGINX Plus, and a timeout of 1 s, as in Kubernetes: a dead endpoint
/// is out after about 15 s, for two requests in ten seconds. Proxies that start together would probe in step for
/// ever: 10% is enough to spread them within a minute and keeps what the interval promises.
impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            interval_ns: 5_000_000_000,
            jitter_percent: 10,
            timeout_ns: 1_000_000_000,
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        }
    }
}

impl HealthSpec {
    /// When to probe a new endpoint for the first time: at once, but for the breadth of the jitter, so that a cluster
    /// of many endpoints does not begin with all of its probes in one moment.
    pub fn first_probe(&self, now: u64, rng: &mut Rng) -> u64 {
        now.saturating_add(rng.below_u64(self.jitter_ns().saturating_mul(2)))
    }

    /// When to probe again, after a result that came at `now`.
    pub fn next_probe(&self, now: u64, rng: &mut Rng) -> u64 {
        let jitter = self.jitter_ns();
        let least = self.interval_ns - jitter;
        now.saturating_add(least).saturating_add(rng.below_u64(jitter.saturating_mul(2).saturating_add(1)))
    }

    /// Not above the interval.
    fn jitter_ns(&self) -> u64 {
        (u128::from(self.interval_ns) * u128::from(self.jitter_percent.min(100)) / 100) as u64
    }
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The answer was the expected one.
    Passed,
    /// No connection, no answer, or the wrong one.
    Failed,
    /// No answer in time. It counts like any other failure, and has a name of its own for the metrics.
    TimedOut,
}

/// What probes have changed about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The first result was a good one. The endpoint was taken for healthy already: who may be picked is the same.
    Confirmed,
    /// It is healthy again.
    Recovered,
    /// It is unhealthy from now on.
    Failed,
}

/// What probes have said of one endpoint so far.
///
/// An endpoint that was never probed counts as healthy: a proxy that has just started must not turn away the requests
/// that it was started for. The first result then decides at once, whichever it is, and the thresholds hold from the
/// second on. This is HAProxy's `init-state up`; a first success also decides at once in Envoy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    state: State,
    /// How many results in a row have spoken against the state.
    against: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

impl Health {
    /// Whether requests may be sent to it, as far as probes can tell.
    pub fn is_healthy(&self) -> bool {
        self.state != State::Unhealthy
    }

    /// Whether there was a result yet.
    pub fn is_known(&self) -> bool {
        self.state != State::Unknown
    }

    /// Takes in a probe's result. A threshold of 0 is the same as 1.
    pub fn record(&mut self, probe: Probe, spec: &HealthSpec) -> Option<Transition> {
        let passed = probe == Probe::Passed;
        let threshold = match self.state {
            State::Unknown => 1,
            State::Healthy if !passed => spec.unhealthy_threshold,
            State::Unhealthy if passed => spec.healthy_threshold,
            State::Healthy | State::Unhealthy => {
                self.against = 0;
                return None;
            }
        };
        self.against += 1;
        if self.against < threshold {
            return None;
        }
        let before = self.state;
        *self = Self { state: if passed { State::Healthy } else { State::Unhealthy }, against: 0 };
        Some(match (before, passed) {
            (_, false) => Transition::Failed,
            (State::Unknown, true) => Transition::Confirmed,
            (_, true) => Transition::Recovered,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Rng;

    /// Results: `+` passed, `-` failed, `t` timed out. Expected, after each: `C`onfirmed, `R`ecovered, `F`ailed, `.`
    fn check(results: &str, expected: &str) {
        let mut health = Health::default();
        let mut record = |result| match health.record(probe(result), &HealthSpec::default()) {
            None => '.',
            Some(Transition::Confirmed) => 'C',
            Some(Transition::Recovered) => 'R',
            Some(Transition::Failed) => 'F',
        };
        assert_eq!(results.chars().map(&mut record).collect::<String>(), expected, "{results}");
    }

    fn probe(result: char) -> Probe {
        match result {
            '+' => Probe::Passed,
            '-' => Probe::Failed,
            _ => Probe::TimedOut,
        }
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        check("+++", "C..");
        check("+---", "C..F");
        check("+--+--+---", "C........F");
        check("+---++", "C..F.R");
        check("+---+-+-++", "C..F.....R");
    }

    #[test]
    fn the_first_result_decides() {
        check("-", "F");
        check("-++---", "F.R..F");
        assert!(Health::default().is_healthy() && !Health::default().is_known());
    }

    #[test]
    fn a_timeout_is_a_failure() {
        check("+ttt", "C..F");
        check("+-t-", "C..F");
        check("t+t++", "F...R");
    }

    #[test]
    fn a_threshold_of_none_is_one() {
        let spec = HealthSpec { healthy_threshold: 0, unhealthy_threshold: 0, ..HealthSpec::default() };
        let mut health = Health::default();
        let results = [Probe::Passed, Probe::Failed, Probe::Passed].map(|probe| health.record(probe, &spec));
        assert_eq!(results, [Transition::Confirmed, Transition::Failed, Transition::Recovered].map(Some));
    }

    proptest! {
        #[test]
        fn the_state_follows_the_last_results(
            results in prop::collection::vec(prop::sample::select(vec!['+', '-', 't']), 1..60),
            healthy_threshold in 1..5_u32,
            unhealthy_threshold in 1..5_u32,
        ) {
            let spec = HealthSpec { healthy_threshold, unhealthy_threshold, ..HealthSpec::default() };
            let mut health = Health::default();
            let mut runs = (0, 0);
            for (index, result) in results.into_iter().map(probe).enumerate() {
                let passed = result == Probe::Passed;
                let before = health.is_healthy();
                runs = if passed { (runs.0 + 1, 0) } else { (0, runs.1 + 1) };
                let transition = health.record(result, &spec);
                // A run as long as its threshold leaves no doubt; a shorter one changes nothing.
                let expected = match () {
                    () if index == 0 => passed,
                    () if runs.0 >= healthy_threshold => true,
                    () if runs.1 >= unhealthy_threshold => false,
                    () => before,
                };
                prop_assert_eq!(health.is_healthy(), expected);
                prop_assert!(health.is_known());
                let reported = transition.filter(|transition| *transition != Transition::Confirmed).is_some();
                prop_assert_eq!(reported, before != expected, "every change is told of, and nothing else");
            }
        }

        #[test]
        fn the_next_probe_is_an_interval_away_give_or_take_the_jitter(
            interval_ns: u64, jitter_percent in 0..300_u32, now: u64, seed: u64,
        ) {
            let spec = HealthSpec { interval_ns, jitter_percent, ..HealthSpec::default() };
            let jitter = (u128::from(interval_ns) * u128::from(jitter_percent.min(100)) / 100) as u64;
            let mut rng = Rng::new(seed);
            let (first, next) = (spec.first_probe(now, &mut rng), spec.next_probe(now, &mut rng));
            prop_assert!(first >= now && first - now <= jitter.saturating_mul(2));
            prop_assert!(next >= now.saturating_add(interval_ns - jitter));
            prop_assert!(next <= now.saturating_add(interval_ns).saturating_add(jitter));
        }
    }

    #[test]
    fn jitter_goes_to_both_sides() {
        let spec = HealthSpec::default();
        let mut rng = Rng::new(1);
        let probes: Vec<u64> = (0..1000).map(|_| spec.next_probe(0, &mut rng)).collect();
        assert!(probes.iter().all(|at| (4_500_000_000..=5_500_000_000).contains(at)));
        let mean = probes.iter().sum::<u64>() / 1000;
        assert!((4_950_000_000..5_050_000_000).contains(&mean), "{mean}");
        assert!(probes.iter().any(|at| *at < 4_550_000_000) && probes.iter().any(|at| *at > 5_450_000_000));
    }
}
