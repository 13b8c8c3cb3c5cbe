//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An HTTP load balancer whose balancing policies are WebAssembly plugins, replaced while traffic flows.
///
/// See it work, with nothing installed and nothing configured:
///
///     sluicegate demo
///
/// Write a policy of your own, and have it balance:
///
///     sluicegate new my-policy
///     sluicegate build my-policy
///     sluicegate check my-policy/my_policy.wasm
///     sluicegate demo --policy my-policy/my_policy.wasm
///
/// Serve: name the file in the configuration (`policy = { file = "my_policy.wasm" }`), and
///
///     sluicegate run --config sluicegate.toml
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves, as a configuration file says, and follows its changes.
    Run(Run),
    /// Shows a policy at work, and being replaced: needs nothing installed.
    Demo(Demo),
    /// Says what a policy exports and imports and how it will be run, and rehearses it.
    Check(Check),
    /// Makes a crate for a policy of your own, which builds and passes its tests as it is.
    New(New),
    /// Builds a policy's crate to WebAssembly, and checks the result.
    Build(Build),
}

#[derive(Debug, Args)]
pub struct Run {
    /// The configuration. Changes of it, and of the policies' files that it names, take effect while it runs.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Reads the configuration, tries its policies out, says what is wrong with them, and ends.
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Ends after so many seconds; without it, at `q` or Ctrl-C.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Requests a second.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub rate: u32,
    /// Balances with this policy, and swaps it whenever the file changes, instead of going back and forth between
    /// `round-robin` and `p2c`.
    #[arg(long, value_name = "FILE.wasm")]
    pub policy: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The policy.
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// What to configure it with: a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub config: String,
    /// How many endpoints to rehearse it with.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub endpoints: u16,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct New {
    /// The crate's name, and its folder: letters, digits, `-` and `_`.
    pub name: String,
    /// Uses the SDK in this folder instead of the copy that this program carries.
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Build {
    /// The crate.
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Where to put the result; by default, beside `Cargo.toml`, under the crate's name.
    #[arg(short, long, value_name = "FILE.wasm")]
    pub output: Option<PathBuf>,
}
