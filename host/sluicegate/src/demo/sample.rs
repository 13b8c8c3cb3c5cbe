//! What is going on, sampled: the figures of the last second, and those since the start.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sluicegate_core::HistogramSnapshot;

use super::{
    eras::Eras,
    load::Stats,
    origins::Origin,
    proxy::{Active, CLUSTER, Proxy},
};

/// What "now" means in the table: long enough for a p99 of a thousand requests, short enough to watch.
const WINDOW: Duration = Duration::from_secs(1);

/// What the table shows.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Since the load began.
    pub(super) elapsed: Duration,
    /// Who picks.
    pub(super) active: Active,
    /// What picks take, in nanoseconds, in this generation.
    pub(super) picks: Quantiles,
    /// How many times the policy was replaced.
    pub(super) swaps: u64,
    /// How long that took last.
    pub(super) last_swap: Option<Duration>,
    /// The origins.
    pub(super) endpoints: Vec<Row>,
    /// All of them together, as clients see it.
    pub(super) clients: Row,
    /// Requests that got anything but a complete 200.
    pub(super) failed: u64,
    /// The policies that served so far.
    pub(super) eras: Vec<EraRow>,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Who it is about.
    pub(super) name: String,
    /// What it is like.
    pub(super) nature: String,
    /// Whether to stay away from it.
    pub(super) is_slow: bool,
    /// Requests answered since the start.
    pub(super) requests: u64,
    /// Requests answered in a second, over the last one.
    pub(super) rate: f64,
    /// Requests under way.
    pub(super) in_flight: u64,
    /// Their times in nanoseconds, over the last second.
    pub(super) latency: Quantiles,
}

/// What a policy has come to so far.
#[derive(Clone, Debug)]
pub(super) struct EraRow {
    /// The policy.
    pub(super) label: String,
    /// What clients waited, in nanoseconds.
    pub(super) p99: u64,
    /// Whether it serves now.
    pub(super) is_current: bool,
}

/// The middle and the tail of some times, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quantiles {
    /// How many there are.
    pub(super) count: u64,
    /// Half of them are no longer.
    pub(super) p50: u64,
    /// 90% of them are no longer.
    pub(super) p90: u64,
    /// 99% of them are no longer.
    pub(super) p99: u64,
}

impl Quantiles {
    /// Those of a histogram.
    pub(super) fn of(times: &HistogramSnapshot) -> Self {
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| times.quantile(q));
        Self { count: times.count(), p50, p90, p99 }
    }
}

/// Looks at the proxy's telemetry and the clients' figures.
#[derive(Debug)]
pub(super) struct Sampler {
    start: Instant,
    /// Swaps that are none: putting the first policy in.
    first_swaps: u64,
    swap_times: HistogramSnapshot,
    last_swap: Option<Duration>,
    /// The histograms of the last second and a little more, the oldest first.
    window: VecDeque<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    clients: HistogramSnapshot,
    /// In the origins' order.
    endpoints: Vec<HistogramSnapshot>,
}

impl Sampler {
    /// Begins just before the load does.
    pub(super) fn new(proxy: &Proxy, origins: &[Origin], stats: &Stats) -> Self {
        let start = Instant::now();
        Self {
            start,
            first_swaps: swaps(proxy),
            swap_times: swap_times(proxy),
            last_swap: None,
            window: VecDeque::from([sample(start, proxy, origins, stats)]),
        }
    }

    /// How many times the policy was replaced.
    pub(super) fn swaps(&self, proxy: &Proxy) -> u64 {
        swaps(proxy).saturating_sub(self.first_swaps)
    }

    /// How long that took last.
    pub(super) fn last_swap(&mut self, proxy: &Proxy) -> Option<Duration> {
        let times = swap_times(proxy);
        let new = times.since(&self.swap_times);
        if let Some(mean) = new.sum().checked_div(new.count()) {
            self.last_swap = Some(Duration::from_nanos(mean));
            self.swap_times = times;
        }
        self.last_swap
    }

    /// Looks at everything.
    pub(super) fn view(&mut self, proxy: &Proxy, origins: &[Origin], stats: &Stats, eras: &Eras) -> View {
        let now = sample(Instant::now(), proxy, origins, stats);
        // The youngest sample that is a whole window old is where the window begins.
        while self.window.get(1).is_some_and(|second| now.at - second.at >= WINDOW) {
            self.window.pop_front();
        }
        let before = self.window.front().unwrap_or(&now);
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        let row = |name, nature, is_slow, in_flight, total: &HistogramSnapshot, earlier| {
            let latency = Quantiles::of(&total.since(earlier));
            let rate = latency.count as f64 / seconds;
            Row { name, nature, is_slow, requests: total.count(), rate, in_flight, latency }
        };
        let endpoints =
            (origins.iter().zip(&now.endpoints).zip(&before.endpoints)).map(|((origin, total), earlier)| {
                let in_flight = in_flight(proxy, origin);
                row(origin.address.to_string(), origin.nature.clone(), origin.is_slow, in_flight, total, earlier)
            });
        let endpoints = endpoints.collect();
        let clients = "as clients see it".to_owned();
        let clients = row(clients, String::new(), false, stats.in_flight(), &now.clients, &before.clients);
        let elapsed = now.at - self.start;
        self.window.push_back(now);
        View {
            elapsed,
            active: proxy.active(),
            picks: eras.current().map(|era| Quantiles::of(&era.picks())).unwrap_or_default(),
            swaps: self.swaps(proxy),
            last_swap: self.last_swap(proxy),
            endpoints,
            clients,
            failed: stats.failed(),
            eras: era_rows(eras),
        }
    }
}

/// What the picks of a generation took so far, in nanoseconds.
pub(super) fn picks(proxy: &Proxy, generation: u64) -> HistogramSnapshot {
    let generation = generation.to_string();
    let labels = [("cluster", CLUSTER), ("generation", generation.as_str()), ("callback", "pick")];
    proxy.server.telemetry.histogram("sluicegate_policy_call_seconds", &labels)
}

fn swaps(proxy: &Proxy) -> u64 {
    proxy.server.telemetry.counter("sluicegate_policy_swaps_total", &[("cluster", CLUSTER), ("result", "swapped")])
}

fn swap_times(proxy: &Proxy) -> HistogramSnapshot {
    proxy.server.telemetry.histogram("sluicegate_policy_swap_seconds", &[("cluster", CLUSTER)])
}

fn sample(at: Instant, proxy: &Proxy, origins: &[Origin], stats: &Stats) -> Sample {
    let endpoints = origins.iter().map(|origin| {
        let address = origin.address.to_string();
        let labels = [("cluster", CLUSTER), ("endpoint", address.as_str())];
        proxy.server.telemetry.histogram("sluicegate_endpoint_duration_seconds", &labels)
    });
    Sample { at, clients: stats.latency.snapshot(), endpoints: endpoints.collect() }
}

fn in_flight(proxy: &Proxy, origin: &Origin) -> u64 {
    let Some((snapshot, _)) = proxy.server.board.cluster(CLUSTER) else { return 0 };
    let endpoint = snapshot.endpoints().iter().find(|endpoint| endpoint.spec.address == origin.address);
    endpoint.map_or(0, |endpoint| endpoint.live.in_flight().into())
}

fn era_rows(eras: &Eras) -> Vec<EraRow> {
    let current = eras.current().map(|era| era.label.as_str());
    let rows = eras.all().iter().map(|era| EraRow {
        label: era.label.clone(),
        p99: era.latency.snapshot().quantile(0.99),
        is_current: current == Some(era.label.as_str()),
    });
    rows.collect()
}
