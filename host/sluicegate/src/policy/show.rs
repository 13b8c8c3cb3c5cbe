//! The API's answers, for people.

use serde_json::Value;

/// Columns as wide as what is in them.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn short(sha256: &Value) -> String {
    text(sha256).chars().take(12).collect()
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn list(answer: &Value) -> String {
    let mut rows = vec![header(&["CLUSTER", "POLICY", "GENERATION", "SHA256", "SINCE", "WHY", "ON TRIAL"])];
    for (name, policy) in answer["clusters"].as_object().into_iter().flatten() {
        let active = &policy["active"];
        let serves = if active.is_null() { "(native fallback)".into() } else { text(&active["policy"]) };
        rows.push(vec![
            name.clone(),
            serves,
            text(&active["generation"]),
            short(&active["sha256"]),
            text(&policy["since"]["at"]),
            text(&policy["since"]["why"]),
            trial_in_short(&policy["trial"]),
        ]);
    }
    table(&rows)
}

fn trial_in_short(trial: &Value) -> String {
    if trial.is_null() {
        return "-".into();
    }
    let candidate = &trial["candidate"];
    format!(
        "{} of {} ({}), {} %",
        text(&trial["kind"]),
        text(&candidate["policy"]),
        candidate["generation"],
        trial["percent"]
    )
}

pub(super) fn picks(answer: &Value) -> String {
    let mut rows = vec![header(&["MS AGO", "WORKER", "GENERATION", "ATTEMPT", "ENDPOINT", "NS", "WHY"])];
    for pick in answer["picks"].as_array().into_iter().flatten() {
        let generation = if pick["generation"].is_null() { "(fallback)".into() } else { text(&pick["generation"]) };
        let candidate = if pick["candidate"] == true { " (canary)" } else { "" };
        let endpoint = match &pick["rejected"] {
            Value::Null => text(&pick["endpoint"]),
            status => format!("rejected: {status}"),
        };
        rows.push(vec![
            text(&pick["ms_ago"]),
            text(&pick["worker"]),
            generation + candidate,
            text(&pick["attempt"]),
            endpoint,
            text(&pick["cost_ns"]),
            text(&pick["explanation"]),
        ]);
    }
    table(&rows)
}

pub(super) fn policy(answer: &Value) -> String {
    let line = |generation: &Value, role: &str| {
        vec![
            role.to_owned(),
            text(&generation["generation"]),
            text(&generation["policy"]),
            short(&generation["sha256"]),
            text(&generation["lane"]),
        ]
    };
    let mut rows = vec![header(&["", "GENERATION", "POLICY", "SHA256", "LANE"]), line(&answer["active"], "serves")];
    if !answer["trial"].is_null() {
        rows.push(line(&answer["trial"]["candidate"], "on trial"));
    }
    rows.extend(answer["kept"].as_array().into_iter().flatten().rev().map(|kept| line(kept, "kept")));
    let mut shown = table(&rows);
    shown.push_str(&format!("since {}: {}\n", text(&answer["since"]["at"]), text(&answer["since"]["why"])));
    if !answer["last_refusal"].is_null() {
        shown.push_str(&format!("last refusal: {}\n", text(&answer["last_refusal"])));
    }
    let trial = &answer["trial"];
    match trial["kind"].as_str() {
        Some("shadow") => shown.push_str(&shadow(trial)),
        Some(_) => shown.push_str(&canary(trial)),
        None => {}
    }
    shown
}

fn shadow(trial: &Value) -> String {
    let mut rows = vec![header(&["ENDPOINT", "ACTIVE", "CANDIDATE"])];
    for endpoint in trial["spread"].as_array().into_iter().flatten() {
        rows.push(["endpoint", "active", "candidate"].map(|key| text(&endpoint[key])).to_vec());
    }
    format!(
        "\nshadow since {}, {} % of the requests: {} picks, agreement {} %, {} declined, {} faults\n\
         cost of a pick: p50 {} ns, p99 {} ns, max {} ns\n\n{}",
        text(&trial["since"]),
        trial["percent"],
        trial["picks"],
        text(&trial["agreement_percent"]),
        trial["declined"],
        trial["faults"],
        trial["cost_ns"]["p50"],
        trial["cost_ns"]["p99"],
        trial["cost_ns"]["max"],
        table(&rows)
    )
}

fn canary(trial: &Value) -> String {
    let mut rows = vec![header(&["", "REQUESTS", "FAILURES", "ERRORS %", "P50 MS", "P95 MS", "P99 MS"])];
    for (name, key) in [("active", "active"), ("candidate", "candidate_results")] {
        let arm = &trial[key];
        let mut row = vec![name.to_owned()];
        row.extend(["requests", "failures", "error_percent"].map(|key| text(&arm[key])));
        row.extend(["p50", "p95", "p99"].map(|key| format!("{:.3}", arm["latency_ms"][key].as_f64().unwrap_or(0.0))));
        rows.push(row);
    }
    let steps = trial["plan"]["steps"].as_array().map_or(0, Vec::len);
    format!(
        "\ncanary since {}, step {} of {steps}: {} % of the requests, {} faults; in this step:\n\n{}",
        text(&trial["since"]),
        trial["step"],
        trial["percent"],
        trial["faults"],
        table(&rows)
    )
}

pub(super) fn history(answer: &Value) -> String {
    let mut rows =
        vec![header(&["AT", "EVENT", "GENERATION", "POLICY", "SHA256", "STATE", "LOAD MS", "SWITCH MS", "WHY"])];
    for change in answer["history"].as_array().into_iter().flatten() {
        rows.push(vec![
            text(&change["at"]),
            text(&change["event"]),
            text(&change["generation"]),
            text(&change["policy"]),
            short(&change["sha256"]),
            text(&change["state"]),
            text(&change["load_ms"]),
            text(&change["switch_ms"]),
            text(&change["why"]),
        ]);
    }
    table(&rows)
}

pub(super) fn swapped(answer: &Value) -> String {
    if answer["unchanged"] == true {
        return format!(
            "generation {} serves already: the same code with the same configuration\n",
            answer["generation"]
        );
    }
    let state = if answer["state"].is_null() { String::new() } else { format!(", state {}", text(&answer["state"])) };
    format!(
        "generation {} serves; {} ms, of which {} ms to load it{state}\n",
        answer["generation"], answer["total_ms"], answer["load_ms"]
    )
}

pub(super) fn tried(answer: &Value, kind: &str, cluster: &str) -> String {
    format!(
        "{kind}: generation {} is on trial\n`sluicegate policy show {cluster}` says how it does; `promote` has it serve, \
         `rollback` ends the trial\n",
        answer["generation"]
    )
}

pub(super) fn promoted(answer: &Value) -> String {
    format!("generation {} serves all requests\n", answer["generation"])
}

pub(super) fn rolled_back(answer: &Value) -> String {
    match &answer["ended_trial_of"] {
        Value::Null => format!("generation {} serves again\n", answer["generation"]),
        candidate => {
            format!("generation {candidate} is not on trial any more; generation {} serves\n", answer["generation"])
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let answer = json!({ "clusters": {
            "api": { "active": { "policy": "p2c", "generation": 3, "sha256": "0123456789abcdef" },
                     "since": { "at": "2026-01-01T00:00:00.000Z", "why": "its file changed" }, "trial": null },
            "b": { "active": null, "since": null, "trial": null },
        }});
        let expected = "\
CLUSTER  POLICY             GENERATION  SHA256        SINCE                     WHY               ON TRIAL
api      p2c                3           0123456789ab  2026-01-01T00:00:00.000Z  its file changed  -
b        (native fallback)  -           -             -                         -                 -
";
        assert_eq!(list(&answer), expected);
    }
}
