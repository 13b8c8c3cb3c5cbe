//! Measures what policies cost and how swaps go, with the real binary and the real wasm.
//!
//! Each command prints a table of this machine, now. Compare figures of one run only.

#![allow(clippy::disallowed_methods)] // Measuring is looking at the clock.

mod chart;
mod load;
mod picks;
mod report;
mod stand;
mod start;
mod stats;
mod swaps;

use std::time::Duration;

use clap::{Parser, Subcommand};

/// Measures Sluicegate.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Drives an HTTP server by a schedule, and tells how it did.
    Load(load::LoadArguments),
    /// Runs all scenarios and writes the performance report.
    Report(report::ReportArguments),
    /// What a pick costs, of every built-in policy, natively, in the fast lane and in the portable lane; and what a change of
    /// the endpoints costs.
    Picks {
        /// How many endpoints to pick from.
        #[arg(long, default_values_t = [10, 100, 1000, 10_000], value_parser = clap::value_parser!(u16).range(1..))]
        endpoints: Vec<u16>,
        /// How long to measure each policy in each lane, in milliseconds.
        #[arg(long, default_value_t = 300)]
        cell_ms: u64,
    },
    /// How long it takes from a changed file to the first request that the new policy serves, compile included.
    Swap {
        /// How many times.
        #[arg(long, default_value_t = 50)]
        count: u32,
    },
    /// Many swaps while wrk drives 64 connections: failed requests, memory, and the p99 beside that without swaps.
    Storm {
        /// How many swaps.
        #[arg(long, default_value_t = 1000)]
        count: u32,
        /// How many a second, instead of one right after the other.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        per_second: Option<u32>,
    },
    /// From the start of the binary to its first answer, with compiled policies in the cache.
    Start {
        /// How many times.
        #[arg(long, default_value_t = 20)]
        count: u32,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Load(arguments) => arguments.run(),
        Command::Report(arguments) => arguments.run(),
        Command::Picks { endpoints, cell_ms } => {
            endpoints.into_iter().try_for_each(|endpoints| picks::measure(endpoints, Duration::from_millis(cell_ms)))
        }
        Command::Swap { count } => swaps::file_to_request(count),
        Command::Storm { count, per_second } => swaps::storm(count, per_second),
        Command::Start { count } => start::measure(count),
    }
}
