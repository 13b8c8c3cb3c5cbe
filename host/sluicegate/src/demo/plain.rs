//! Lines, for where there is no terminal.

use std::{
    io::{self, Write as _, stdout},
    net::SocketAddr,
    time::Duration,
};

use super::{
    help,
    sample::View,
    units::{ms, short},
};

/// Says what will happen.
pub(super) fn begin(proxy: SocketAddr, rate: u32, slow: &str, origins: usize) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{rate} requests/s go through a proxy at http://{proxy}/ to {origins} origins, one of them {slow}.")?;
    for line in help::OWN_POLICY {
        writeln!(out, "  {line}")?;
    }
    out.flush()
}

/// How the last second went.
pub(super) fn second(view: &View) -> io::Result<()> {
    let clients = &view.clients;
    writeln!(
        stdout().lock(),
        "{:5.1} s  {} (generation {})  {:.0} requests/s  {} failed  p50 {}  p99 {}  pick {}",
        view.elapsed.as_secs_f64(),
        view.active.policy,
        view.active.generation,
        clients.rate,
        view.failed,
        ms(clients.latency.p50),
        ms(clients.latency.p99),
        short(view.picks.p50),
    )
}

/// That the policy was replaced.
pub(super) fn swapped(elapsed: Duration, from: &str, to: &str, took: Option<Duration>) -> io::Result<()> {
    let took = took.map_or(String::new(), |took| format!(" in {}", ms(took.as_nanos() as u64)));
    writeln!(stdout().lock(), "{:5.1} s  swapped {from} for {to}{took}", elapsed.as_secs_f64())
}
