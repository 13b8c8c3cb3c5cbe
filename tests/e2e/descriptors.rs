//! A process that may open no more files.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use sluicegate_tests::{Patient, Proxy, eventually, get};

/// Clients at a time; each takes two files, one for either side.
const CLIENTS: usize = 16;

/// What is left to open: not enough for half of them.
const LEFT: u64 = 8;

/// What clients have seen.
#[derive(Default)]
struct Counts {
    is_over: AtomicBool,
    good: AtomicU64,
    /// Answers that say what is lacking.
    lacking: AtomicU64,
}

#[test]
fn a_lack_of_file_descriptors_is_ridden_out_and_held_against_nobody() {
    let patients: Vec<Patient> = (0..2).map(|_| Patient::start()).collect();
    let endpoints: Vec<String> = patients.iter().map(|patient| format!("\"{}\"", patient.address)).collect();
    let proxy = Proxy::start(
        &format!(
            "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"round-robin\"\nendpoints = [{}]\n\
             [cluster.api.outlier]\nconsecutive_failures = 3\n\
             [cluster.api.health]\npath = \"/health\"\ninterval_ms = 20\nunhealthy_threshold = 1\n",
            endpoints.join(", ")
        ),
        |_| {},
    );
    let healthy = || {
        let endpoints = proxy.status()["clusters"]["api"]["endpoints"].clone();
        endpoints.as_array().unwrap().iter().all(|endpoint| endpoint["state"] == "healthy")
    };
    eventually("both are well", || healthy().then_some(()));
    let pid = Pid::from_raw(proxy.pid() as i32);
    let open = fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count() as u64;
    let lowered = Rlimit { current: Some(open + LEFT), ..getrlimit(Resource::Nofile) };
    let before = prlimit(pid, Resource::Nofile, lowered).unwrap();
    let counts = Arc::<Counts>::default();
    let clients = |_| {
        let (address, counts) = (proxy.address, Arc::clone(&counts));
        thread::spawn(move || {
            while !counts.is_over.load(Relaxed) {
                match get(address, "/", "test") {
                    Ok((200, _)) => counts.good.fetch_add(1, Relaxed),
                    Ok((503, text)) if text.contains("can't make a connection") => counts.lacking.fetch_add(1, Relaxed),
                    other => panic!("{other:?}"),
                };
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(clients).collect();
    eventually("some are served, some are not, and some wait", || {
        let is_told = proxy.log().iter().any(|line| line["message"] == "can't accept a connection");
        (is_told && counts.good.load(Relaxed) > 100 && counts.lacking.load(Relaxed) > 100).then_some(())
    });
    counts.is_over.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    prlimit(pid, Resource::Nofile, before).unwrap();
    for _ in 0..20 {
        assert_eq!(get(proxy.address, "/", "test").unwrap().0, 200);
    }
    let metrics = proxy.admin("/metrics").1;
    let sum = |parts: &[&str]| {
        let lines = metrics.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    assert!(sum(&["sluicegate_errors_total{", "out_of_resources"]) >= counts.lacking.load(Relaxed) as f64, "{metrics}");
    assert_eq!(sum(&["sluicegate_endpoint_requests_total{", "connect_failed"]), 0.0, "{metrics}");
    assert_eq!(sum(&["sluicegate_ejections_total{"]), 0.0, "{metrics}");
    assert!(healthy(), "{}", proxy.status());
    let ill = proxy.log().into_iter().find(|line| line["message"] == "endpoint unhealthy");
    assert_eq!(ill, None);
}
