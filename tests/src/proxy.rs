//! The proxy's own binary, as an operator runs it.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine, the compile of an interpreter included; what passes does not wait for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something is so.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A running proxy with a folder of its own, which holds its configuration and its policies.
pub struct Proxy {
    child: Child,
    /// Its folder.
    pub dir: TempDir,
    /// Where clients connect to.
    pub address: SocketAddr,
    /// The same, of all listeners.
    pub addresses: Vec<SocketAddr>,
    /// Where `/metrics` and the like are.
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Proxy {
    /// Starts it with this configuration, which says nothing of listeners, admin, runtime and logs. `prepare` may
    /// put files into its folder first.
    pub fn start(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = TempDir::new().unwrap();
        prepare(dir.path());
        Self::start_in(dir, config)
    }

    /// Starts it in a folder that is there already.
    pub fn start_in(dir: TempDir, config: &str) -> Self {
        write_config(dir.path(), config);
        Self::start_as_it_is(dir)
    }

    /// Starts it in a folder that has its whole configuration already.
    pub fn start_as_it_is(dir: TempDir) -> Self {
        Self::start_with(dir, &[])
    }

    /// The same with these environment variables, too.
    pub fn start_with(dir: TempDir, environment: &[(&str, &str)]) -> Self {
        Self::spawn(binary(), dir, &[], environment)
    }

    /// The same of another binary.
    pub fn start_other(binary: &Path, dir: TempDir) -> Self {
        Self::spawn(binary, dir, &[], &[])
    }

    /// Starts another process that takes over from this one, and waits until that has ended: its exit code, and the
    /// new one.
    pub fn upgrade(mut self) -> (Option<i32>, Self) {
        let dir = std::mem::replace(&mut self.dir, TempDir::new().unwrap());
        let new = Self::spawn(binary(), dir, &["--upgrade"], &[]);
        (self.child.wait().unwrap().code(), new)
    }

    fn spawn(binary: &Path, dir: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary)
            .args(["run", "--config"])
            .arg(dir.path().join("sluicegate.toml"))
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sink.lock().unwrap().push(line);
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self { child, dir, address: unknown, addresses: Vec::new(), admin: unknown, log };
        let serving = proxy.wait_for("serving", |line| line["message"] == "serving");
        let listeners = serving["listeners"].as_str().unwrap().split(", ");
        proxy.addresses = listeners.map(|address| address.parse().unwrap()).collect();
        proxy.address = proxy.addresses[0];
        proxy.admin = serving["admin"].as_str().unwrap().parse().unwrap();
        proxy
    }

    /// Another configuration, saved the way most editors do.
    pub fn reconfigure(&self, config: &str) {
        write_config(self.dir.path(), config);
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// All log lines so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// The first log line that fits, also when it was written already.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_after(0, what, fits)
    }

    /// The first log line that fits after the first `seen` ones.
    pub fn wait_after(&self, seen: usize, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.log.lock().unwrap().iter().skip(seen).find(|line| fits(line)) {
                return line.clone();
            }
            assert!(Instant::now() < end, "never logged: {what}; what was: {:#?}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until this generation of the cluster `api` serves.
    pub fn wait_for_generation(&self, generation: u64) -> Value {
        self.wait_for(&format!("generation {generation}"), |line| {
            line["message"] == "policy in service" && line["generation"] == generation
        })
    }

    /// The admin listener's answer.
    pub fn admin(&self, path: &str) -> (u16, String) {
        crate::get(self.admin, path, "localhost").unwrap()
    }

    /// A call of the admin API that changes something: status and answer.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = hyper::Request::post(path).header("host", "localhost").header("content-type", "application/json");
        let answer = crate::ask(self.admin, request.body(body.to_string()).unwrap()).unwrap();
        (answer.status().as_u16(), serde_json::from_str(answer.body()).unwrap())
    }

    /// `/status`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.admin("/status").1).unwrap()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How much memory the process has, in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Asks it to stop, and waits: its exit code, and its folder.
    pub fn stop(mut self) -> (Option<i32>, TempDir) {
        self.signal();
        let status = self.child.wait().unwrap();
        let dir = std::mem::replace(&mut self.dir, TempDir::new().unwrap());
        (status.code(), dir)
    }

    /// Asks it to stop.
    pub fn signal(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pick has a hundred times as long as it would have by default: a policy that was taken for hung begins anew, and on a
/// busy machine that is none of what a test is about.
fn write_config(dir: &Path, config: &str) {
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[runtime]\nworkers = 2\n\
         drain_timeout_ms = 5000\nupgrade_socket = \"upgrade.sock\"\n[log]\nformat = \"json\"\naccess = false\nlevel = \"debug\"\n\
         [policy]\ncache = \"cache\"\n\
         pick_timeout_ms = 100\n{config}"
    );
    let (path, new) = (dir.join("sluicegate.toml"), dir.join("sluicegate.toml.new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// The binary: the one that `SLUICEGATE_BIN` names, or else cargo's own word on where it is, built if need be.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("SLUICEGATE_BIN") {
            return path.into();
        }
        let mut cargo = Command::new(env!("CARGO"));
        // All of it, as the tests were built: for the binary alone cargo would unite the dependencies' features in another
        // way, and build the largest of them once more.
        cargo.args(["build", "--workspace", "--all-targets", "--message-format=json"]);
        cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "the binary does not build");
        let messages = output.stdout.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let mut ours = messages.filter(|message| {
            message["target"]["name"] == "sluicegate"
                && message["target"]["kind"][0] == "bin"
                && message["profile"]["test"] == false
        });
        let executable = ours.find_map(|message| message["executable"].as_str().map(PathBuf::from));
        executable.expect("cargo names the binary")
    })
}
