//! `sluicegate policy`: what a running proxy's policies are, and what is to become of them.

pub(crate) mod client;
mod show;

use std::{path::Path, process::ExitCode, thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::{check::report, cli};
use client::Client;

/// Asks, and shows the answer.
pub(crate) fn run(arguments: &cli::Policy) -> Result<ExitCode> {
    let client = Client::find(&arguments.at)?;
    let as_json = arguments.at.json;
    let show = |answer: &Value, text: &dyn Fn(&Value) -> String| match as_json {
        true => report::show(&format!("{answer:#}\n")),
        false => report::show(&text(answer)),
    };
    match &arguments.command {
        cli::PolicyCommand::List => show(&client.get("/policies")?, &show::list),
        cli::PolicyCommand::Show { cluster } => show(&client.get(&path(cluster, ""))?, &show::policy),
        cli::PolicyCommand::History { cluster } => show(&client.get(&path(cluster, "/history"))?, &show::history),
        cli::PolicyCommand::Picks { cluster } => show(&picks(&client, &path(cluster, "/picks"))?, &show::picks),
        cli::PolicyCommand::Swap { cluster, policy } => {
            show(&client.post(&path(cluster, "/swap"), &named(policy)?)?, &show::swapped);
        }
        cli::PolicyCommand::Shadow { cluster, policy, percent } => {
            let body = with(named(policy)?, [("percent", json!(percent))]);
            show(&client.post(&path(cluster, "/shadow"), &body)?, &|answer| show::tried(answer, "shadow", cluster));
        }
        cli::PolicyCommand::Canary(canary) => {
            let body = plan(canary)?;
            let answer = client.post(&path(&canary.cluster, "/canary"), &body)?;
            show(&answer, &|answer| show::tried(answer, "canary", &canary.cluster));
        }
        cli::PolicyCommand::Promote { cluster } => {
            show(&client.post(&path(cluster, "/promote"), &json!({}))?, &show::promoted);
        }
        cli::PolicyCommand::Rollback { cluster, to } => {
            let body = to.map_or_else(|| json!({}), |to| json!({ "generation": to }));
            show(&client.post(&path(cluster, "/rollback"), &body)?, &show::rolled_back);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The last picks; where nobody has looked lately, those of the next second.
fn picks(client: &Client, path: &str) -> Result<Value> {
    let answer = client.get(path)?;
    if answer["picks"].as_array().is_some_and(|picks| !picks.is_empty()) {
        return Ok(answer);
    }
    thread::sleep(Duration::from_secs(1));
    client.get(path)
}

/// A cluster's path, with escapes for whatever is not plain.
pub(crate) fn path(cluster: &str, below: &str) -> String {
    let mut path = String::from("/policies/");
    for byte in cluster.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path + below
}

/// What a policy is called in a request.
fn named(policy: &cli::Named) -> Result<Value> {
    let mut body = json!({ "config": policy.policy_config });
    let name = &policy.policy;
    if sluicegate_builtins::get(name).is_some() {
        body["policy"] = json!(name);
    } else {
        let file = std::path::absolute(Path::new(name)).with_context(|| format!("no path: {name}"))?;
        let Some(file) = file.to_str() else { bail!("{}: the path is not UTF-8", file.display()) };
        let looks_like_file = name.contains(['/', '.']);
        if !looks_like_file {
            let known = sluicegate_builtins::names().collect::<Vec<_>>().join(", ");
            bail!(
                "no built-in policy is called {name:?} (there are: {known}); a file's name has a dot or a slash in it"
            );
        }
        body["file"] = json!(file);
    }
    if let Some(sha256) = &policy.sha256 {
        body["sha256"] = json!(sha256);
    }
    Ok(body)
}

fn with<const N: usize>(mut body: Value, more: [(&str, Value); N]) -> Value {
    more.into_iter().filter(|(_, value)| !value.is_null()).for_each(|(key, value)| body[key] = value);
    body
}

fn plan(canary: &cli::Canary) -> Result<Value> {
    let mut steps = Vec::new();
    for percent in &canary.steps {
        steps.push(json!({ "percent": percent, "hold_s": canary.hold_s }));
    }
    Ok(with(
        named(&canary.policy)?,
        [
            ("steps", json!(steps)),
            ("by", json!(if canary.by_hash { "hash" } else { "random" })),
            ("min_requests", json!(canary.min_requests)),
            ("max_error_ratio", json!(canary.max_error_ratio)),
            ("max_latency_ratio", json!(canary.max_latency_ratio)),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clusters_are_escaped() {
        assert_eq!(path("api", "/swap"), "/policies/api/swap");
        assert_eq!(path("a/b ä", ""), "/policies/a%2Fb%20%C3%A4");
    }
}
