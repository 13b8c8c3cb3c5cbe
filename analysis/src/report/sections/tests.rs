//! The whole report, from small data.

use super::{
    super::{
        compare::compare,
        data::{Better, Cell, FORMAT, Findings, Fingerprint, Kept},
        render::{Parts, document, render},
    },
    *,
};

fn kept(scenario: &str, findings: Findings) -> (String, Kept) {
    let fingerprint = Fingerprint { format: FORMAT, binary_sha256: "abc".into(), quick: false };
    let kept =
        Kept { fingerprint, scenario: scenario.into(), finished_unix_s: 0, seconds: 2.0, neighbours: 0.5, findings };
    (scenario.to_owned(), kept)
}

fn response() -> Findings {
    let mut findings = Findings::default();
    let columns =
        ["share_percent", "rate", "throughput", "mean_ms", "p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "error_rate"];
    for share in [10, 20, 30, 40, 50, 60, 70, 80, 90, 100] {
        let load = f64::from(share) / 100.0;
        let ms = if share < 80 { 1.0 + load } else { 1.8 * 10_f64.powf((load - 0.8) * 10.0) };
        let numbers = [f64::from(share), load * 1e4, load * 1e4, ms, ms, ms, ms, ms, 0.0];
        findings.row("curve-http1", &columns, numbers.map(Cell::from).into());
        for name in ["mean", "p50", "p90", "p99", "p99.9", "max"] {
            for ms in [ms, ms * 1.1, ms * 0.9] {
                findings.add(format!("http1/at-{share}/{name}"), "ms", Better::Lower, ms);
            }
        }
        findings.add(format!("http1/at-{share}/error-rate"), "of requests", Better::Lower, 0.0);
        for (name, us) in [("cpu", 20.0), ("cpu-user", 8.0), ("cpu-system", 12.0)] {
            findings.add(format!("http1/at-{share}/{name}"), "us/request", Better::Lower, us);
        }
    }
    for peak in [9900.0, 10_000.0, 10_100.0] {
        findings.add("http1/peak", "requests/s", Better::Higher, peak);
    }
    findings.add("http1/peak/busy", "of a processor", Better::Neither, 0.99);
    findings.add("http1/peak/generator", "of a processor", Better::Neither, 0.4);
    findings
}

fn policies() -> Findings {
    let mut findings = Findings::default();
    findings.text("failing", "one of five answers 500 at once");
    for (policy, ms, errors, share) in [("a", 50.0, 0.2, 0.2), ("b", 20.0, 0.6, 0.6)] {
        let name = format!("failing/80/{policy}");
        for factor in [0.9, 1.0, 1.1] {
            findings.add(format!("{name}/p99"), "ms", Better::Lower, ms * factor);
        }
        findings.add(format!("{name}/error-rate"), "of requests", Better::Lower, errors);
        findings.add(format!("{name}/share/4"), "of requests", Better::Neither, share);
    }
    findings
}

fn workers() -> Findings {
    let mut findings = Findings::default();
    for (name, throughput, cpu, busy) in [("one", 1e4, 50.0, 0.5), ("two", 1.6e4, 52.0, 0.8)] {
        findings.add(format!("{name}/throughput"), "requests/s", Better::Higher, throughput);
        findings.add(format!("{name}/cpu"), "us/request", Better::Lower, cpu);
        findings.add(format!("{name}/busy"), "processors", Better::Neither, busy);
        findings.add(format!("{name}/others"), "processors", Better::Neither, 1.2);
    }
    for scaling in [1.9, 1.92, 1.94] {
        findings.add("scaling", "of one worker", Better::Higher, scaling);
    }
    findings
}

fn parts() -> Parts {
    Parts([kept("response", response()), kept("policies", policies()), kept("workers", workers())].into())
}

/// The report of small data, word by word. `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn golden() {
    let text = document(&parts(), None).markdown();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/sections/golden.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap(), "UPDATE_GOLDEN=1 if this is as it should be");
}

#[test]
fn nothing_measured_is_a_report_that_says_so() {
    let text = document(&Parts::default(), None).markdown();
    for title in ["Introduction", "Test environment", "Methodology", "Results", "Plugin overhead", "Hot swap"] {
        assert!(text.contains(&format!("## {title}\n")), "{title}");
    }
    assert!(text.contains("the scenario `peers` was not run"));
    assert!(text.contains("Of 0 goals, 0 are met"));
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn what_is_said_follows_from_the_data() {
    let text = document(&parts(), None).markdown();
    assert!(text.contains("The saturation knee is at 8,0"), "{text}");
    assert!(text.contains("Most of a request's processor time is the kernel's"));
    assert!(text.contains("`a` is best"), "fewer errors come before a shorter wait: {text}");
    assert!(text.contains("draws requests to it"));
    let mut other = response();
    other.measures.get_mut("http1/at-80/cpu-user").unwrap().values = vec![90.0];
    let text = document(&Parts([kept("response", other)].into()), None).markdown();
    assert!(text.contains("Most of a request's processor time is the proxy's own"));
}

#[test]
fn regressions_are_named() {
    let mut slower = response();
    slower.measures.get_mut("http1/at-50/p99").unwrap().values = vec![15.0, 15.5, 14.5];
    let new = Parts([kept("response", slower)].into());
    let comparison = compare(&new, &parts());
    let text = document(&new, Some(&comparison)).markdown();
    assert!(text.contains("1 are worse, 0 are better"), "{text}");
    assert!(text.contains("| response http1/at-50/p99 | 1.50 ms | 15.0 ms |"), "{text}");
}

#[test]
fn verdicts() {
    let of = |low: f64, median: f64, high: f64| Some(Estimate { low, median, high, count: 5 });
    assert_eq!(goals::judge(of(1.0, 2.0, 3.0), 4.0, true), "met");
    assert_eq!(goals::judge(of(1.0, 2.0, 3.0), 0.5, true), "**missed**");
    assert_eq!(goals::judge(of(1.0, 2.0, 3.0), 2.5, true), "undecided, rather met");
    assert_eq!(goals::judge(of(1.0, 2.0, 3.0), 1.5, true), "undecided, rather missed");
    assert_eq!(goals::judge(of(1.0, 2.0, 3.0), 0.5, false), "met");
    let once = |median: f64| Some(Estimate { low: median, median, high: median, count: 1 });
    assert_eq!(goals::judge(once(0.0), 0.0, true), "met");
    assert_eq!(goals::judge(once(3.0), 0.0, true), "**missed**");
    assert_eq!(goals::judge(once(3.0), 2.0, false), "met");
    assert_eq!(goals::judge(None, 0.5, false), "not measured");
}

#[test]
fn numbers() {
    assert_eq!(
        [0.0, 0.01234, 1.0, 12.345, 1234.5, 1e6].map(number),
        ["0", "0.0123", "1.00", "12.3", "1,234", "1,000,000"]
    );
}

#[test]
fn everything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    render(dir.path(), &parts(), None).unwrap();
    let html = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(html.contains("<svg class=\"chart\"") && html.contains("prefers-color-scheme"));
    let svg = std::fs::read_to_string(dir.path().join("charts/latency-load-http1.svg")).unwrap();
    assert!(svg.contains("knee: ") && svg.contains("currentColor") && !svg.contains("#000000"), "{svg}");
    assert!(std::fs::read_to_string(dir.path().join("report.md")).unwrap().contains("charts/latency-load-http1.svg"));
}
