//! The dashboard and the alert rules in `examples/` ask for nothing that the proxy does not tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use sluicegate_tests::{Origin, Proxy, eventually, get, wasm};

/// Families with their labels, as a scrape has them.
type Families = BTreeMap<String, BTreeSet<String>>;

fn families(text: &str) -> Families {
    let mut families = Families::new();
    for line in text.lines() {
        let words = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '));
        match words {
            Some((name, "histogram")) => ["_bucket", "_sum", "_count"].into_iter().for_each(|part| {
                families.entry(format!("{name}{part}")).or_default();
            }),
            Some((name, _)) => {
                families.entry(name.to_owned()).or_default();
            }
            None => {}
        }
        let series = if line.starts_with('#') { None } else { line.split_once('{') };
        if let Some((name, labels)) = series {
            families.entry(name.to_owned()).or_default().extend(names(labels));
        }
    }
    families
}

/// The names of labels up to the closing brace.
fn names(labels: &str) -> impl Iterator<Item = String> {
    let labels = labels.split('}').next().unwrap_or_default();
    labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.trim_end_matches('!').trim().to_owned()))
}

/// Each metric that an expression names, with the labels that it selects by.
fn asked(text: &str) -> Vec<(String, Vec<String>)> {
    let starts = text.match_indices("sluicegate_").map(|(start, _)| &text[start..]);
    let ask = |rest: &str| {
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
        let labels = rest[end..].strip_prefix('{').map(|labels| names(labels).collect());
        (rest[..end].to_owned(), labels.unwrap_or_default())
    };
    starts.map(ask).collect()
}

/// A proxy to which everything has happened that makes a series.
fn eventful() -> (Proxy, Vec<Origin>) {
    let origins = Origin::several(2);
    let endpoints = format!("[\"{}\", \"{}\"]", origins[0].address, origins[1].address);
    let config = format!(
        "[[route]]\npath = \"/bad\"\ncluster = \"bad\"\n[[route]]\ncluster = \"api\"\n\
         [cluster.api]\npolicy = \"p2c\"\nendpoints = {endpoints}\n[cluster.api.health]\ninterval_ms = 200\n\
         [cluster.api.outlier]\n[cluster.bad]\npolicy = {{ file = \"bad.wasm\" }}\nendpoints = {endpoints}\n"
    );
    let pick = "(if (i32.gt_u (global.get $turn) (i32.const 80)) (then unreachable)) i32.const 0";
    let proxy = Proxy::start(&config, |dir| {
        fs::write(dir.join("bad.wasm"), wasm::ByHand { pick, ..Default::default() }.module()).unwrap();
    });
    eventually("a fault", || {
        for path in ["/", "/bad"] {
            get(proxy.address, path, "test").unwrap();
        }
        let faults = proxy.admin("/metrics").1.contains("sluicegate_policy_faults_total{");
        std::thread::sleep(Duration::from_millis(1));
        faults.then_some(())
    });
    (proxy, origins)
}

#[test]
fn what_they_ask_for_exists() {
    let (proxy, _origins) = eventful();
    let text = proxy.admin("/metrics").1;
    let families = families(&text);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let dashboard = fs::read_to_string(folder.join("grafana/sluicegate.json")).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() > 10);
    let alerts = fs::read_to_string(folder.join("alerts.yaml")).unwrap();
    // In JSON, quotes within an expression are escaped.
    for (name, labels) in asked(&dashboard.replace("\\\"", "\"")).into_iter().chain(asked(&alerts)) {
        let Some(known) = families.get(&name).or_else(|| families.get(&format!("{name}_bucket"))) else {
            panic!("no metric {name} in:\n{text}");
        };
        for label in labels {
            assert!(known.contains(&label), "{name} has no label {label}, only {known:?}");
        }
    }
}

/// The operators' reference has every metric that there is, and every label of an error.
#[test]
fn the_reference_is_complete() {
    let (proxy, _origins) = eventful();
    let text = proxy.admin("/metrics").1;
    let reference = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operate.md")).unwrap();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let errors = text.lines().filter_map(|line| {
        let labels = line.strip_prefix("sluicegate_errors_total{")?;
        labels.split_once("error=\"")?.1.split('"').next()
    });
    for name in families.chain(errors) {
        assert!(reference.contains(&format!("`{name}`")), "docs/operate.md says nothing of {name}");
    }
}

/// Prometheus' conventions: one prefix, base units, `_total` for counters and for nothing else, and a line of help.
#[test]
fn names_follow_the_conventions() {
    let (proxy, _origins) = eventful();
    let text = proxy.admin("/metrics").1;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(name.starts_with("sluicegate_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(kind != "histogram" || name.ends_with("_seconds") || name.ends_with("_bytes"), "{name} has no unit");
        let other_unit = ["_ms", "_us", "_ns", "_millis", "_kib", "_percent"].iter().any(|unit| name.contains(unit));
        assert!(!other_unit, "{name}: seconds and bytes");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
}
