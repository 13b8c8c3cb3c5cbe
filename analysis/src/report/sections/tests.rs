//! The whole report, from small data.

use super::{
    super::{
        compare::compare,
        data::{Better, Cell, FORMAT, Findings, Fingerprint, Kept},
        render::{Parts, document, render},
    },
    policies::Place,
    *,
};

fn kept(scenario: &str, findings: Findings) -> (String, Kept) {
    let fingerprint = Fingerprint { format: FORMAT, binary_sha256: "abc".into(), guided_sha256: None, quick: false };
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
        findings.add(format!("{name}/error/status 500"), "requests", Better::Neither, errors * 1000.0);
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
    assert!(text.contains("Of 0, 0 are met"));
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
fn what_comes_after_loading_is_told_apart_from_it() {
    let mut findings = Findings::default();
    for (state, load, swap) in
        [("without-state", 80.0, 81.0), ("without-state", 300.0, 301.0), ("with-state", 90.0, 92.0)]
    {
        findings.add(format!("load/{state}"), "ms", Better::Lower, load);
        findings.add(format!("swap/{state}"), "ms", Better::Lower, swap);
    }
    findings.add("failed-requests", "requests", Better::Lower, 0.0);
    for (what, ms) in [("requests", 1000.0), ("p50", 1.0), ("p90", 2.0), ("p99", 3.0), ("p99.9", 4.0), ("max", 5.0)] {
        findings.add(format!("during/{what}"), "ms", Better::Neither, ms);
    }
    let text = document(&Parts([kept("swap", findings)].into()), None).markdown();
    for part in [
        "| stage (ms) | all (n = 3) |",
        "| load: compile or find in the cache | 90.0 (80.0–300 of 3) |",
        "| rehearse, build instances, carry state over, switch | 1.00 (1.00–2.00 of 3) |",
        "took 1.00 (1.00–1.00 of 2) ms for the 2 swaps that carried no state over, and 2.00 ms for the 1 that did.",
        "| during a swap | 1,000 | 1.00 | 2.00 | 3.00 | 4.00 | 5.00 |",
        "- **What swaps do.** They fail no request.",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn single_slow_runs_are_told_and_do_not_decide() {
    let mut findings = response();
    let curve = findings.tables.get_mut("curve-http1").unwrap();
    let row = curve.rows[0].clone();
    curve.rows.extend([row.clone(), row]);
    curve.rows[0][6] = 13.5.into();
    let text = document(&Parts([kept("response", findings)].into()), None).markdown();
    assert!(
        text.contains("HTTP/1.1: below that throughput, p99 was over 10 ms in 1 of 3 runs at 10% (13.5 ms)."),
        "{text}"
    );
    assert!(text.contains("answers 8,000 small requests a second with a p99 within 10 ms in the median run"));
}

#[test]
fn a_generator_is_believed_where_it_was_in_time() {
    let check = |late: [f64; 3], expected: &str| {
        let mut findings = Findings::default();
        for (rate, ms) in [1000.0, 5000.0, 20_000.0].into_iter().zip(late) {
            let columns = ["rate", "late_p50_ms", "late_p99_ms", "late_max_ms", "processor"];
            findings.row("lateness", &columns, [rate, 0.1, ms, 9.0, 0.2].map(Cell::from).into());
        }
        let text = document(&Parts([kept("generator", findings)].into()), None).markdown();
        assert!(text.contains(expected), "{expected} in {text}");
    };
    check([0.2; 3], "At all of these rates, 99 of 100 went out within a millisecond");
    check([1.7, 0.3, 0.5], "At 5,000, 20,000 requests a second, 99 of 100 went out within a millisecond");
    check([1.7, 0.3, 0.5], "; at 1,000, they did not.");
    check([1.7; 3], "At none of these rates");
}

#[test]
fn peers_have_their_versions_and_the_command_is_the_one_that_was_given() {
    let mut environment = Findings::default();
    for (what, value) in [
        ("nginx", "nginx version: nginx/1.22.1"),
        ("haproxy", "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"),
        ("operating system", "Debian GNU/Linux 12 (bookworm)"),
        ("command", "sluicegate-analysis report --quick"),
        ("its build", "profile `dist`"),
        ("this tool's build", "optimised, profile `dist`"),
    ] {
        environment.row("facts", &["group", "what", "value"], vec!["software".into(), what.into(), value.into()]);
    }
    let mut peers = Findings::default();
    peers.add("sluicegate/memory", "MiB", Better::Lower, 50.0);
    let parts = Parts([kept("environment", environment), kept("peers", peers)].into());
    let text = document(&parts, None).markdown();
    assert!(text.contains("They are NGINX 1.22.1 and HAProxy 2.6.12, as found on Debian GNU/Linux 12"), "{text}");
    assert!(text.contains("one command, `sluicegate-analysis report --quick`"), "{text}");
}

#[test]
fn another_build_is_told_beside_and_is_no_peer() {
    let mut findings = Findings::default();
    for (name, us) in [("sluicegate", 14.5), ("guided", 13.0), ("nginx", 15.0), ("haproxy", 16.0)] {
        findings.add(format!("{name}/memory"), "MiB", Better::Lower, 1.0);
        findings.add(format!("fixed/{name}/p99"), "ms", Better::Lower, us / 100.0);
        for factor in [1.0, 1.01] {
            findings.add(format!("http1-128B/{name}/cpu"), "us/request", Better::Lower, us * factor);
        }
    }
    let (ratio, peer) = peers::to_the_better(&findings, "http1-128B", "cpu").unwrap();
    assert_eq!((number(ratio.median), peer), ("0.967".to_owned(), "NGINX"));
    let parts = Parts([kept("peers", findings)].into());
    let of = |what: &str| goals::all(&parts).into_iter().find(|goal| goal.what == what).unwrap().verdict;
    assert_eq!(of("CPU for a small response, to the better peer"), "**missed**");
    assert_eq!(of("CPU for a small response, to the better peer, built by `pgo.sh`"), "met");
    assert_eq!(of("p99 at a fixed rate, to NGINX's, built by `pgo.sh`"), "met");
    let text = document(&parts, None).markdown();
    assert!(text.contains("| Sluicegate | built by `pgo.sh` | NGINX | HAProxy |"), "{text}");
}

#[test]
fn a_process_is_one_look_however_many_pairs_it_has() {
    let mut findings = Findings::default();
    for process in [0.98, 1.0, 0.99] {
        findings.add("in-service/pick/calls", "calls", Better::Neither, 1000.0);
        for noise in [0.9, 1.0, 1.3] {
            for (name, rate) in [("p2c", process), ("fallback", 1.0)] {
                findings.add(format!("turns/p2c-fallback/{name}"), "requests/s", Better::Higher, noise * rate);
            }
        }
    }
    let ratio = overhead::to_native(&findings, "throughput").unwrap();
    assert_eq!([ratio.median, ratio.low, ratio.high].map(number), ["0.990", "0.980", "1.00"]);
    assert_eq!(ratio.count, 3);
}

#[test]
fn what_can_be_concluded_from_a_pair_depends_on_the_control() {
    let of = |low: f64, high: f64| Estimate { median: f64::midpoint(low, high), low, high, count: 9 };
    let check = |ratio: Estimate, control: Estimate, begins: &str| {
        let said = overhead::AgainstNative { ratio, control }.said();
        assert!(said.starts_with(begins), "{said}");
    };
    check(of(0.8, 1.1), of(0.9, 1.1), "a cost can't be told from the noise");
    check(of(0.8, 0.9), of(0.9, 1.1), "a cost can be told from the noise");
    check(of(1.1, 1.2), of(0.9, 1.1), "throughput with wasm is not the lower one");
    check(of(0.8, 0.9), of(1.1, 1.2), "nothing can be concluded");
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
fn few_values_are_told_with_how_many_they_are() {
    let of = |count: usize| show(Some(Estimate { low: 1.0, median: 2.0, high: 3.0, count }));
    assert_eq!([1, 3, 6].map(of), ["2.00", "2.00 (1.00–3.00 of 3)", "2.00 (1.00–3.00)"]);
}

#[test]
fn two_digits_for_advice() {
    assert_eq!([18_606.0, 290.4, 0.0, 7.25, 0.123, 996.0].map(rough), ["19,000", "290", "0", "7.3", "0.12", "1,000"]);
}

#[test]
fn policies_stand_where_they_were_at_the_median() {
    let mut findings = Findings::default();
    for (policy, p99) in
        [("a", [10.0, 10.0, 10.0]), ("b", [11.0, 9.0, 14.0]), ("c", [10.5, 12.0, 14.0]), ("d", [20.0; 3])]
    {
        for ms in p99 {
            findings.add(format!("equal/80/{policy}/p99"), "ms", Better::Lower, ms);
            findings.add(format!("equal/80/{policy}/error-rate"), "of requests", Better::Lower, 0.0);
        }
    }
    for ms in [1.0; 3] {
        findings.add("equal/80/e/p99", "ms", Better::Lower, ms);
        findings.add("equal/80/e/error-rate", "of requests", Better::Lower, 0.5);
    }
    let all = policies::standings(&findings, "equal", 80);
    let place = |policy: &str| all.iter().find(|one| one.policy == policy).map(|one| one.place);
    let expected = [Place::Best, Place::Best, Place::Undecided, Place::Slower, Place::Fails].map(Some);
    assert_eq!(["a", "b", "c", "d", "e"].map(place), expected);
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
