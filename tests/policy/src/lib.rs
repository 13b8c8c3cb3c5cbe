//! A policy that does what each request tells it to, in its header `x-do`: everything in the contract, so that tests can
//! look at each piece from the outside.
//!
//! The header has commands between semicolons:
//!
//! | | |
//! |---|---|
//! | `to INDEX` | picks it; without, the first endpoint where the request has not been |
//! | `reject STATUS TEXT` | rejects the request |
//! | `response NAME VALUE`, `request NAME VALUE` | sets a header |
//! | `then INDEX`, `hedge INDEX MS` | says where the request goes next, or goes as well |
//! | `explain TEXT` | explains |
//! | `probe INDEX` | asks for a probe |
//! | `panic TEXT` | panics |
//! | `body` | the beginning of the body, in the response's `x-body` |
//! | `share` | adds 1 to what the instances share, and says what it was before in `x-shared` |
//! | `tell` | what it knows: `x-ticks`, `x-probe`, `x-signals` |

use std::time::Duration;

use serde::Deserialize;
use sluicegate_sdk::{
    ConfigError, Counter, Endpoints, Gauge, Pick, Policy, ProbeResult, Probing, Request, Setup, Shared, Signal, Timer,
    export,
};

/// What it needs.
#[derive(Deserialize)]
#[allow(missing_docs)]
pub struct Config {
    #[serde(default)]
    pub body_prefix: u32,
    #[serde(default)]
    pub load_reports: bool,
    #[serde(default)]
    pub tick_ms: u64,
}

/// The policy.
#[derive(Clone)]
pub struct Obedient {
    picks: Counter,
    commands: Gauge,
    shared: Shared,
    tick: Option<Duration>,
    ticks: u64,
    probed: Option<ProbeResult>,
}

const SIGNALS: [Signal; 5] = [
    Signal::UtilizationPpm,
    Signal::QueueDepth,
    Signal::RequestsMilliPerS,
    Signal::ErrorsMilliPerS,
    Signal::ReportAgeMs,
];

impl Policy for Obedient {
    type Config = Config;

    fn new(config: Config, setup: Setup) -> Result<Self, ConfigError> {
        if config.body_prefix > 0 {
            setup.needs_body_prefix(config.body_prefix);
        }
        if config.load_reports {
            setup.needs_load_reports();
        }
        Ok(Self {
            picks: setup.counter("picks"),
            commands: setup.gauge("commands"),
            shared: setup.shared(),
            tick: (config.tick_ms > 0).then(|| Duration::from_millis(config.tick_ms)),
            ticks: 0,
            probed: None,
        })
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        self.picks.add(1);
        let mut pick = Pick::from(endpoints.candidates().next());
        let Some(commands) = request.header("x-do") else { return pick };
        self.commands.set(commands.split(';').count() as f64);
        for command in commands.split(';').map(str::trim) {
            let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
            pick = self.obey(word, rest, pick, request, endpoints);
        }
        pick
    }
}

impl Obedient {
    fn obey(&self, word: &str, rest: &str, pick: Pick, request: &Request, endpoints: &Endpoints) -> Pick {
        let reply = request.reply();
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let endpoint = || endpoints.get(first.parse().ok()?);
        match word {
            "to" => return endpoint().into(),
            "panic" => panic!("{rest}"),
            "reject" => return reply.reject(first.parse().unwrap_or(0), second),
            "response" => reply.set_response_header(first, second),
            "request" => reply.set_request_header(first, second),
            "then" => return endpoint().map_or(pick, |next| pick.then(next)),
            "hedge" => {
                let after = Duration::from_millis(second.parse().unwrap_or(1));
                return endpoint().map_or(pick, |next| pick.hedge(next, after));
            }
            "explain" => reply.explain(|| rest.to_owned()),
            "probe" => endpoint().iter().for_each(|endpoint| endpoint.probe()),
            "body" => reply.set_response_header("x-body", &String::from_utf8_lossy(&request.body(0, u32::MAX))),
            "share" => reply.set_response_header("x-shared", &self.shared.add(0, 1).to_string()),
            "tell" => self.tell(request, endpoints),
            _ => {}
        }
        pick
    }

    fn tell(&self, request: &Request, endpoints: &Endpoints) {
        let reply = request.reply();
        reply.set_response_header("x-ticks", &self.ticks.to_string());
        if let Some(probe) = &self.probed {
            let ProbeResult { ok, load, latency_us, .. } = probe;
            reply.set_response_header("x-probe", &format!("{ok} {load:?} {latency_us:?}"));
        }
        if let Some(endpoint) = endpoints.get(0) {
            let [utilization, queue, requests, errors, age] = SIGNALS.map(|signal| endpoint.read(signal));
            let reported = age != u64::MAX;
            reply.set_response_header("x-signals", &format!("{utilization} {queue} {requests} {errors} {reported}"));
        }
    }
}

impl Probing for Obedient {
    fn on_probe(&mut self, probe: &ProbeResult, _endpoints: &Endpoints, _now: u64) {
        self.probed = Some(*probe);
    }
}

impl Timer for Obedient {
    fn tick(&mut self, _endpoints: &Endpoints, _now: u64) -> Option<Duration> {
        self.ticks += 1;
        self.tick
    }
}

export!(Obedient, probing, timer);

#[cfg(test)]
mod tests;
