//! `sluicegate dev`: an author edits, and a proxy that runs has the new version.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use sluicegate_tests::{Load, Origin, Proxy, binary};

use crate::config;

/// Longer than a compiler takes that shares the machine with all other tests and begins with every dependency.
const PATIENCE: Duration = Duration::from_secs(600);

/// A crate of its own for each test; what it depends on is compiled once for all, and for the other tests of scaffolds.
fn scaffold(name: &str) -> (PathBuf, PathBuf) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dev");
    let _ = fs::remove_dir_all(dir.join(name));
    fs::create_dir_all(&dir).unwrap();
    let made = Command::new(binary()).current_dir(&dir).args(["new", name]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, dir.join(name).join("Cargo.lock")).unwrap();
    (dir.join(name), dir.join("../policies/target"))
}

/// A running `sluicegate dev`, and what it has said: its own lines and cargo's.
struct Dev {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Dev {
    fn start(crate_dir: &Path, target: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("dev").arg(crate_dir).args(arguments).env("CARGO_TARGET_DIR", target);
        command.env("CARGO_TERM_COLOR", "never").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let keep = |lines: Arc<Mutex<Vec<String>>>| move |line| lines.lock().unwrap().push(line);
        let (of_out, of_err) = (keep(Arc::clone(&lines)), keep(Arc::clone(&lines)));
        thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).for_each(of_out));
        thread::spawn(move || BufReader::new(err).lines().map_while(Result::ok).for_each(of_err));
        Self { child, lines }
    }

    /// Waits for a line with this in it after the first `seen` lines, and returns how many there are then.
    fn wait_for(&mut self, seen: usize, text: &str) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines.lock().unwrap().clone();
            if let Some(at) = lines.iter().skip(seen).position(|line| line.contains(text)) {
                return seen + at + 1;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}, and never said: {text}; what was: {lines:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ctrl-C.
    fn interrupt(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it never ends");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_saved_serves_and_what_does_not_build_changes_nothing() {
    let (crate_dir, target) = scaffold("dev-policy");
    let origins = Origin::several(2);
    let proxy = Proxy::start(&config("\"round-robin\"", &origins), |_| {});
    let load = Load::start(proxy.address, 2);
    let admin = format!("http://{}", proxy.admin);
    let mut dev = Dev::start(&crate_dir, &target, &["--cluster", "api", "--admin", &admin]);
    let generation = |proxy: &Proxy| proxy.status()["clusters"]["api"]["policy"]["active"]["generation"].as_u64();
    dev.wait_for(0, "generation 1 (round-robin) serves api");
    let seen = dev.wait_for(0, "generation 2 serves api: swapped in");
    assert_eq!(generation(&proxy), Some(2));

    let source = crate_dir.join("src/lib.rs");
    let good = fs::read_to_string(&source).unwrap();
    fs::write(&source, good.replace("fn two()", "fn 2()")).unwrap();
    let seen = dev.wait_for(seen, "src/lib.rs:");
    let seen = dev.wait_for(seen, "could not be built");
    let seen = dev.wait_for(seen, "generation 2 goes on");
    assert_eq!(generation(&proxy), Some(2));

    // Mended as it was: the same code is no new version.
    fs::write(&source, &good).unwrap();
    let seen = dev.wait_for(seen, "the same code as before: generation 2 goes on");
    // And another version, after one that builds and that no proxy takes.
    fs::write(&source, good.replace("export!(LeastLoaded);", "")).unwrap();
    let seen = dev.wait_for(seen, "refused: missing_export");
    let seen = dev.wait_for(seen, "generation 2 goes on");
    let other = good.replace("fn two() -> u32 {\n    2", "fn two() -> u32 {\n    3");
    assert_ne!(other, good);
    fs::write(&source, other).unwrap();
    let seen = dev.wait_for(seen, "generation 3 serves api: swapped in");
    assert_eq!(generation(&proxy), Some(3));
    let text = dev.lines.lock().unwrap().join("\n");
    assert!(text.contains("median pick") && !text.contains('\x1b'), "{text}");
    dev.wait_for(seen - 1, "serves");
    assert_eq!(dev.interrupt(), Some(0));
    assert_eq!(load.stop().failed, Vec::<String>::new());
    assert_eq!(generation(&proxy), Some(3), "the proxy keeps it");
}

#[test]
fn without_a_proxy_it_is_a_demo() {
    let (crate_dir, target) = scaffold("dev-demo");
    let mut dev = Dev::start(&crate_dir, &target, &[]);
    dev.wait_for(0, "origins, one of them SLOW");
    let seen = dev.wait_for(0, "generation 2 serves demo: swapped in");
    dev.wait_for(seen, "0 failed so far");
    assert_eq!(dev.interrupt(), Some(0));
}

#[test]
fn a_build_under_way_ends_with_it() {
    let (crate_dir, target) = scaffold("dev-hasty");
    let mut dev = Dev::start(&crate_dir, &target, &[]);
    dev.wait_for(0, "building");
    assert_eq!(dev.interrupt(), Some(0));
}

#[test]
fn what_it_cannot_work_with_is_said_at_once() {
    let (crate_dir, _) = scaffold("dev-nowhere");
    let run = |arguments: &[&str]| {
        let output = Command::new(binary()).arg("dev").args(arguments).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let dir = crate_dir.to_str().unwrap();
    // Nobody listens on port 1.
    let (code, error) = run(&[dir, "--cluster", "api", "--admin", "http://127.0.0.1:1"]);
    assert!(code == Some(1) && error.contains("does the proxy run there"), "{error}");
    let (code, error) = run(&[dir, "--admin", "http://127.0.0.1:1"]);
    assert!(code == Some(2) && error.contains("--cluster"), "{error}");
    let (code, error) = run(&[&format!("{dir}/src")]);
    assert!(code == Some(1) && error.contains("has no Cargo.toml"), "{error}");
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let (code, error) = run(&[dir, "--cluster", "other", "--admin", &format!("http://{}", proxy.admin)]);
    assert!(code == Some(1) && error.contains("other"), "{error}");
}
