//! The commands of those who write policies: trying, measuring, and a loop of both.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{At, json_object};

/// Runs a policy against the conformance kit: does it keep to the contract, whatever it is written in?
///
/// `check` says whether a proxy would take a policy; this says whether it will do well there. Each check has a name, and
/// looks at one thing: the order of calls, picks within bounds, endpoints that come and go by the thousand, the same
/// picks for the same calls, results of every kind, probes, ticks, replies, saved state that is good or damaged,
/// configurations that are bad, time and memory:
///
///     sluicegate conformance mine.wasm
///     sluicegate conformance mine.wasm --config '{"choices": 3}'
///
/// It runs in the lane and in the engine that a proxy would run it in. Everything follows from the seed: what failed once
/// fails again, and each failure names the command that shows it.
///
/// The same policy in another language, or as a component, has to pick alike, call by call:
///
///     sluicegate conformance mine-in-c.wasm --same-as mine.wasm
///
/// Ends with 0 if nothing failed, with 1 if something did, and with 2 if there was nothing to run.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Conformance {
    /// The policy: a file, or a built-in one's name.
    #[arg(value_name = "FILE.wasm|NAME")]
    pub(crate) policy: PathBuf,
    /// What to configure it with: a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) config: Value,
    /// What the requests, the endpoints and the policy's own draws are made up from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Another build of the policy, whose picks have to be the same.
    #[arg(long, value_name = "FILE.wasm|NAME")]
    pub(crate) same_as: Option<PathBuf>,
    /// Runs this check only, and what it cannot be run without.
    #[arg(long, value_name = "CHECK")]
    pub(crate) only: Option<String>,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measures what a policy costs: each call, instructions per pick, memory, compiling.
///
///     sluicegate bench p2c
///     sluicegate bench mine.wasm --endpoints 10,100,1000,10000 --seconds 3
///
/// How: on one instance, in the engine and the lane that a proxy would run it in, without a proxy around it. Requests are
/// of 64 different clients; endpoints have requests in flight, and have all been heard of.
///
/// The mean is of batches of up to 1,000 calls, because reading the clock twice costs as much as a call. The quantiles
/// are of calls that were timed one by one, by the processor's counter, less what a pair of reads shows for nothing;
/// batches and single calls take turns. What is no part of a request (other endpoints, save, restore) is timed one by
/// one, thirty times. A single call's maximum is mostly what the machine did meanwhile.
///
/// Instructions are WebAssembly's, counted by a second engine that does nothing else (its fuel): they do not depend on the
/// machine, so that two versions can be compared by them anywhere.
///
/// Memory is the instance's, and every worker has one for each cluster. Compiling is without anything that is kept from
/// before: an edited policy compiles faster in a proxy that has had it. An instance is what a swap makes for each
/// worker; a rehearsal is one more, and the picks that it is tried with.
///
/// Compare figures of one run on one machine only, and of a release build.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Bench {
    /// The policy: a file, or a built-in one's name.
    #[arg(value_name = "FILE.wasm|NAME")]
    pub(crate) policy: PathBuf,
    /// What to configure it with: a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) config: Value,
    /// How many endpoints to measure it with, one number after the other.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [10, 100, 1000],
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) endpoints: Vec<u32>,
    /// How long to measure picks with each number of endpoints; other calls take less.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Builds a policy whenever its source is saved, checks it, and swaps it into a proxy that runs.
///
/// Into a demo, which begins with `round-robin` and has one slow origin among six:
///
///     sluicegate new mine
///     sluicegate dev mine
///
/// Into a proxy of yours on this machine, through its admin listener:
///
///     sluicegate dev mine --cluster api
///     sluicegate dev mine --cluster api --admin unix:/run/sluicegate.sock
///
/// What the compiler has to say is shown here. A version that does not build, fails its check, or is refused by the proxy
/// changes nothing: the one before goes on, and its module stays in its place. Of one that serves, the cost of a pick
/// is shown, and in a demo how the next seconds go.
///
/// Ends at Ctrl-C. A proxy keeps the version that served last until its configuration's policy, or its file, is changed,
/// or it is started anew.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Dev {
    /// The crate.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// What to configure the policy with: a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) policy_config: Value,
    /// Swaps it into this cluster of a proxy that runs, instead of a demo.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Where the admin listener is: unix:PATH or http://HOST:PORT; by default 127.0.0.1:8081.
    #[arg(long, value_name = "WHERE", requires = "cluster")]
    pub(crate) admin: Option<String>,
    /// The proxy's configuration, which says where the admin listener is and what its token is.
    #[arg(short, long, value_name = "FILE", requires = "cluster")]
    pub(crate) config: Option<PathBuf>,
    /// A file with the token; without it, the configuration's, or that in SLUICEGATE_ADMIN_TOKEN.
    #[arg(long, value_name = "FILE", requires = "cluster")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Dev {
    /// Where the proxy's admin listener is.
    pub(crate) fn at(&self) -> At {
        let Self { admin, config, token_file, .. } = self;
        At { admin: admin.clone(), config: config.clone(), token_file: token_file.clone(), json: false }
    }
}
