//! The command line.

mod authors;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

pub(crate) use authors::{Bench, Conformance, Dev};

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
/// Or all of that each time you save; and see whether it bears everything, and what it costs:
///
///     sluicegate dev my-policy
///     sluicegate conformance my-policy/my_policy.wasm
///     sluicegate bench my-policy/my_policy.wasm
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
    /// Runs a policy against the conformance kit: does it keep to the contract, whatever it is written in?
    Conformance(Conformance),
    /// Measures what a policy costs: each call, instructions per pick, memory, compiling.
    Bench(Bench),
    /// Makes a crate for a policy of your own, which builds and passes its tests as it is.
    New(New),
    /// Builds a policy's crate to WebAssembly, and checks the result.
    Build(Build),
    /// Builds a policy whenever its source is saved, and swaps it into a proxy that runs, or into a demo.
    Dev(Dev),
    /// Shows and changes the policies of a proxy that runs.
    Policy(Box<Policy>),
    /// Makes a key to sign policies with.
    Keygen(Keygen),
    /// Signs a policy, for proxies that trust this key.
    Sign(Sign),
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

impl At {
    /// An admin listener at a place that needs no more to be known.
    pub(crate) fn of(admin: String) -> Self {
        Self { admin: Some(admin), config: None, token_file: None, json: false }
    }
}

/// Shows and changes the policies of a proxy that runs, over its admin listener.
///
/// What serves, since when, and why:
///
///     sluicegate policy list
///     sluicegate policy history api
///     sluicegate policy picks api
///
/// A new version, without risk: first beside the one that serves, on the same requests; then for some of them, step by
/// step, and back by itself if more of them fail or they take longer:
///
///     sluicegate policy shadow api mine.wasm
///     sluicegate policy show api
///     sluicegate policy canary api mine.wasm --steps 1,5,25,50 --hold 60
///
/// At once, and back again, which compiles nothing:
///
///     sluicegate policy swap api mine.wasm
///     sluicegate policy rollback api
///
/// What is done by hand holds until the configuration's policy, or its file, is changed, or the proxy is restarted: the
/// configuration has the last word.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Policy {
    #[command(flatten)]
    pub(crate) at: At,
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Args)]
pub(crate) struct At {
    /// Where the admin listener is: unix:PATH or http://HOST:PORT; by default 127.0.0.1:8081.
    #[arg(long, value_name = "WHERE", global = true)]
    pub(crate) admin: Option<String>,
    /// The proxy's configuration, which says where the admin listener is and what its token is.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// A file with the token; without it, the configuration's, or that in SLUICEGATE_ADMIN_TOKEN.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Prints the answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Who serves each cluster, since when, and why.
    List,
    /// A cluster's policy, the generations that can be gone back to, and how a candidate on trial does.
    Show { cluster: String },
    /// What became of a cluster's policy, the latest change first.
    History { cluster: String },
    /// The last picks of each worker, with what the policy explains: of those that are made from now on, as picks are
    /// recorded only while somebody looks.
    Picks { cluster: String },
    /// Has another policy serve at once.
    Swap {
        cluster: String,
        #[command(flatten)]
        policy: Named,
    },
    /// Asks a candidate beside the policy that serves, on the same requests; its picks are not used.
    Shadow {
        cluster: String,
        #[command(flatten)]
        policy: Named,
        /// For which share of the requests.
        #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
        percent: f64,
    },
    /// Has a candidate answer a share of the requests, which grows step by step until all are its own; or none, as soon
    /// as it is worse.
    Canary(Canary),
    /// Has the candidate on trial serve all requests.
    Promote { cluster: String },
    /// Ends the trial under way; without one, goes back to the generation before. Compiles nothing.
    Rollback {
        cluster: String,
        /// Goes back to this generation, which has to be among those that are kept.
        #[arg(long, value_name = "GENERATION")]
        to: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// A built-in policy's name, or a file, which the proxy reads: it has to be on its machine.
    #[arg(value_name = "POLICY")]
    pub(crate) policy: String,
    /// What to configure it with: a JSON object.
    #[arg(long = "policy-config", value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) policy_config: Value,
    /// Refuses the file unless this is its SHA-256.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) sha256: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Canary {
    pub(crate) cluster: String,
    #[command(flatten)]
    pub(crate) policy: Named,
    /// The shares of the requests, one after the other, in percent; then it is promoted.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_values_t = [1.0, 5.0, 25.0, 50.0])]
    pub(crate) steps: Vec<f64>,
    /// How long each step lasts at least.
    #[arg(long = "hold", value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) hold_s: f64,
    /// Draws by what the route hashes (its `hash`), so that whoever is with the candidate stays there, and not at random.
    #[arg(long)]
    pub(crate) by_hash: bool,
    /// How many of the candidate's requests each step waits for at least [default: 100].
    #[arg(long, value_name = "N")]
    pub(crate) min_requests: Option<u64>,
    /// It is worse when its share of failures is surely above so many times the others' [default: 1.5].
    #[arg(long, value_name = "RATIO")]
    pub(crate) max_error_ratio: Option<f64>,
    /// It is worse when its p50 or p95 to the first byte is surely above so many times the others' [default: 1.25].
    #[arg(long, value_name = "RATIO")]
    pub(crate) max_latency_ratio: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where to put the private key; the public one is printed.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The policy. Its signature goes into FILE.wasm.sig.
    #[arg(value_name = "FILE.wasm")]
    pub(crate) file: PathBuf,
    /// The private key, as `sluicegate keygen` makes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
}

/// A policy's configuration is an object in the proxy's own file too: anything else is a slip of the keyboard.
fn json_object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err("write an object, such as {\"choices\": 3}".into()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}
