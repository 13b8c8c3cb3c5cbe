//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

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
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
pub(crate) struct Run {
    /// The configuration. Changes of it, and of the policies' files that it names, take effect while it runs.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Reads the configuration, tries its policies out, says what is wrong with them, and ends.
    #[arg(long)]
    pub(crate) check: bool,
    /// Takes over from the proxy that runs, without a gap: its listening sockets first, then its requests, while it
    /// drains. Both need the same `[runtime] upgrade_socket`.
    #[arg(long, conflicts_with = "check")]
    pub(crate) upgrade: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Ends after so many seconds; without it, at `q` or Ctrl-C.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
    /// Requests a second.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) rate: u32,
    /// Balances with this policy instead of going back and forth between `round-robin` and `p2c`: a built-in one by
    /// its name, or one from a file, which is swapped in again whenever the file changes.
    #[arg(long, value_name = "NAME|FILE.wasm")]
    pub(crate) policy: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The policy.
    #[arg(value_name = "FILE.wasm")]
    pub(crate) file: PathBuf,
    /// What to configure it with: a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) config: Value,
    /// How many endpoints to rehearse it with.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) endpoints: u16,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The crate's name, and its folder: letters, digits, `-` and `_`.
    pub(crate) name: String,
    /// Uses the SDK in this folder instead of the copy that this program carries.
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The crate.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Where to put the result; by default, beside `Cargo.toml`, under the crate's name.
    #[arg(short, long, value_name = "FILE.wasm")]
    pub(crate) output: Option<PathBuf>,
}

/// A policy's configuration is an object in the proxy's own file too: anything else is a slip of the keyboard.
fn json_object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err("write an object, such as {\"choices\": 3}".into()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}
