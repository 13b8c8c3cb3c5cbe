//! The generator by itself: `sluicegate-analysis load URL`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};

use super::{
    Arrivals, Outcome, Phase, Plan, Protocol, Target,
    outcome::{OwnLimit, PERCENTILES},
};

/// How to drive a server.
#[derive(clap::Args)]
pub(crate) struct LoadArguments {
    /// What to ask for: http://HOST:PORT/PATH; `{key}` in it stands for another number below 10,000 each time.
    url: String,
    /// Requests a second.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Seconds, after the warm-up.
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// Seconds at the beginning that do not count.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// How requests are spread over time; `closed` ignores the rate.
    #[arg(long, value_enum, default_value = "poisson")]
    arrivals: Arrivals,
    /// How many connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// HTTP/2 without TLS, instead of HTTP/1.1.
    #[arg(long)]
    http2: bool,
    /// Requests at a time on a connection, for HTTP/2.
    #[arg(long, default_value_t = 32)]
    streams: usize,
    /// Seconds from when a request was due, after which it is an error.
    #[arg(long, default_value_t = 5.0)]
    timeout: f64,
    /// Looks at the clock until a request is due, instead of sleeping: exact to some microseconds, for a processor of its
    /// own.
    #[arg(long)]
    watch: bool,
    /// The same seed makes the same schedule.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A file for all figures, as JSON; `-` is the standard output, in place of the table.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl LoadArguments {
    fn plan(&self) -> Result<Plan> {
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).with_context(|| format!("--{name} {value}: not a number of seconds"))
        };
        let (warm_up, time) = (seconds("warm-up", self.warm_up)?, seconds("duration", self.duration)?);
        anyhow::ensure!(time > Duration::ZERO, "--duration 0: nothing would be measured");
        anyhow::ensure!(self.rate > 0.0 && self.rate <= 1e7, "--rate {}: not between 0 and 10,000,000", self.rate);
        anyhow::ensure!(self.connections > 0 && self.streams > 0, "--connections and --streams are at least 1");
        Ok(Plan {
            target: Target::parse(&self.url)?,
            protocol: if self.http2 { Protocol::Http2 { streams: self.streams } } else { Protocol::Http1 },
            arrivals: self.arrivals,
            phases: vec![Phase { rate: self.rate, time: warm_up + time }],
            warm_up,
            connections: self.connections,
            timeout: seconds("timeout", self.timeout)?,
            seed: self.seed,
            watches: self.watch,
            slice: Duration::from_millis(100),
        })
    }

    /// Does it, and tells.
    pub(crate) fn run(&self) -> Result<()> {
        let outcome = self.plan()?.run()?;
        let text = || serde_json::to_string_pretty(&outcome.json());
        match &self.json {
            Some(path) if path.as_os_str() == "-" => println!("{}", text()?),
            Some(path) => {
                std::fs::write(path, text()? + "\n").with_context(|| format!("{}", path.display()))?;
                print!("{}", table(&outcome));
            }
            None => print!("{}", table(&outcome)),
        }
        Ok(())
    }
}

/// For a person.
pub(super) fn table(outcome: &Outcome) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.3} ms"));
    let mut lines = vec![
        ("due", outcome.due.to_string()),
        ("answered", format!("{} ({:.1} a second)", outcome.latency.len(), outcome.throughput())),
        ("errors", format!("{} ({:.4}%)", outcome.error_count(), outcome.error_rate() * 100.0)),
    ];
    lines.extend(outcome.errors.iter().map(|(kind, count)| (kind.as_str(), count.to_string())));
    lines.push(("mean", ms(outcome.mean_ms())));
    lines.extend(PERCENTILES.map(|(name, q)| (name, ms(outcome.ms(q)))));
    lines.push(("max", ms(outcome.max_ms())));
    if outcome.open {
        let late = outcome.lateness.value_at_quantile(0.99) as f64 / 1e6;
        lines.push(("sent late, p99", format!("{late:.3} ms")));
        lines.push(("no free connection", outcome.waited.to_string()));
    }
    lines.push(("own processor", format!("{:.0}%", outcome.processor * 100.0)));
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:22} {value}\n")).collect();
    if let Some(limit) = outcome.own_limit() {
        text += &match limit {
            OwnLimit::Full(_) => format!("WARNING: {limit}. These are figures of it, not of the server.\n"),
            OwnLimit::Late { .. } => format!("WARNING: {limit}. These are not figures of the server alone.\n"),
        };
    }
    text
}
