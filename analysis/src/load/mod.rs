//! An open-loop load generator: requests are due by a schedule, however slowly the answers come.
//!
//! A closed loop (wrk, h2load, ab) sends the next request when an answer has come. While a server stalls, it asks for
//! nothing, and so hardly sees the stall: Gil Tene's "coordinated omission". Here latency counts from the moment at
//! which a request was due, also when no connection was free for it, and a request that never got an answer is an
//! error and not a gap.
//!
//! The generator watches itself: how late it sends what could have been sent at once (`lateness`), and how much of
//! its processor it takes. Figures of a run in which it was late are figures of the generator.

mod arrivals;
mod clock;
mod command;
mod http1;
mod http2;
mod outcome;
mod response;
mod run;

use std::{net::SocketAddr, time::Duration};

pub(crate) use self::{
    arrivals::{Arrivals, Phase, exponential},
    clock::now_ns,
    command::LoadArguments,
    outcome::{Outcome, PERCENTILES, histogram},
    run::{run, runtime},
};
use anyhow::{Context, Result};
use tokio::task::LocalSet;

/// What to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    /// The `Host` header.
    pub(crate) host: String,
    /// Path and query. `{key}` in it stands for another number in each request, below [`KEYS`].
    pub(crate) path: String,
    /// Another path, asked for in turns with the first one, which begins; and how long a turn is.
    other: Option<(String, Duration)>,
}

/// How many keys there are, of which all are as frequent.
const KEYS: u64 = 10_000;

impl Target {
    /// From a URL, which has to be `http://`: what TLS costs is measured by tools that are about that.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        // Braces are no part of URLs.
        let uri: http::Uri = url.replace("{key}", "%7Bkey%7D").parse().with_context(|| format!("{url:?} is no URL"))?;
        anyhow::ensure!(uri.scheme_str() == Some("http"), "{url:?}: only http:// URLs can be driven");
        let authority = uri.authority().context("a URL needs a host")?;
        let port = authority.port_u16().unwrap_or(80);
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let address = std::net::ToSocketAddrs::to_socket_addrs(&(host, port))
            .with_context(|| format!("{host} has no address"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).replace("%7Bkey%7D", "{key}");
        Ok(Self { address, host: authority.as_str().to_owned(), path, other: None })
    }

    /// The path of a request that is due at this time of the run: the same run asks for the same keys.
    fn path_at(&self, ns: u64, seed: u64) -> std::borrow::Cow<'_, str> {
        let path = match &self.other {
            Some((other, turn)) if u128::from(ns) / turn.as_nanos() % 2 == 1 => other,
            _ => &self.path,
        };
        if !path.contains("{key}") {
            return path.into();
        }
        let key = sluicegate_core::Rng::new(ns ^ seed).below_u64(KEYS);
        path.replace("{key}", &key.to_string()).into()
    }

    /// This path of a server at this address.
    pub(crate) fn at(address: SocketAddr, path: &str) -> Self {
        Self { address, host: address.to_string(), path: path.to_owned(), other: None }
    }

    /// In turns with another path, over the same connections.
    pub(crate) fn in_turns_with(self, other: &str, turn: Duration) -> Self {
        Self { other: Some((other.to_owned(), turn)), ..self }
    }
}

/// What HTTP to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One request at a time on each connection.
    Http1,
    /// HTTP/2 without TLS, up to so many requests at a time on each connection.
    Http2 {
        /// How many.
        streams: usize,
    },
}

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) protocol: Protocol,
    pub(crate) arrivals: Arrivals,
    /// One after the other: rate and time. For [`Arrivals::Closed`], the rate is ignored.
    pub(crate) phases: Vec<Phase>,
    /// What is due before that is sent and not counted.
    pub(crate) warm_up: Duration,
    pub(crate) connections: usize,
    /// From when it was due. After that it is an error, and its connection is closed.
    pub(crate) timeout: Duration,
    pub(crate) seed: u64,
    /// How long the pieces are in which the run is also told.
    pub(crate) slice: Duration,
    /// Whether it looks at the clock until a request is due, instead of having itself woken: a processor that sleeps is
    /// late, and a virtual one by more than a proxy takes for a request. It takes all of a processor.
    pub(crate) watches: bool,
}

impl Plan {
    /// A steady rate of requests over HTTP/1.1, by a Poisson process.
    pub(crate) fn steady(target: Target, rate: f64, warm_up: Duration, time: Duration) -> Self {
        Self {
            target,
            protocol: Protocol::Http1,
            arrivals: Arrivals::Poisson,
            phases: vec![Phase { rate, time: warm_up + time }],
            warm_up,
            connections: 64,
            timeout: Duration::from_secs(5),
            seed: 1,
            slice: Duration::from_millis(100),
            watches: false,
        }
    }

    /// As many requests as there are answers.
    pub(crate) fn closed(target: Target, connections: usize, warm_up: Duration, time: Duration) -> Self {
        Self { arrivals: Arrivals::Closed, connections, ..Self::steady(target, 0.0, warm_up, time) }
    }

    /// Does it, on a thread of its own.
    pub(crate) fn run(self) -> Result<Outcome> {
        let runtime = runtime()?;
        let work = move || LocalSet::new().block_on(&runtime, run(self));
        let thread = std::thread::Builder::new().name("load".into()).spawn(work)?;
        thread.join().map_err(|_| anyhow::anyhow!("the load generator has panicked"))?
    }

    fn length(&self) -> Duration {
        self.phases.iter().map(|phase| phase.time).sum()
    }
}

#[cfg(test)]
mod tests;
