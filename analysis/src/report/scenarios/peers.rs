//! Beside NGINX and HAProxy: the same machine, the same run, the same work.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Child, thread, time::Duration};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::super::{
    Setting,
    data::{Better, Findings},
};
use crate::{
    load::{Plan, Protocol, Target},
    stand::{Gate, OriginSpec, Origins, resident_kib, spawn_pinned, usage},
};

/// Connections that do nothing, for what each takes of memory.
const IDLE: usize = 2000;
/// How long they do nothing before they are measured once more. Sluicegate takes their buffers back after two seconds,
/// and its allocator gives memory back some time after that.
const REST: Duration = Duration::from_secs(6);

/// Something to measure.
struct Peer {
    name: &'static str,
    pid: u32,
    http1: SocketAddr,
    http2: SocketAddr,
}

/// What is asked for.
struct Kind {
    name: &'static str,
    path: &'static str,
    is_http2: bool,
    rounds: usize,
    seconds: f64,
}

/// Of small ones there are enough in less time, and what is compared lies closer together.
const KINDS: [Kind; 4] = [
    Kind { name: "http1-128B", path: "/128", is_http2: false, rounds: 24, seconds: 0.8 },
    Kind { name: "http1-128B-many", path: "/many/128", is_http2: false, rounds: 12, seconds: 0.8 },
    Kind { name: "http1-100KB", path: "/102400", is_http2: false, rounds: 4, seconds: 2.0 },
    Kind { name: "http2-128B", path: "/128", is_http2: true, rounds: 4, seconds: 2.0 },
];

/// Of the latency at a fixed rate. Of the 900 requests or so of a run, one in a thousand is one.
pub(crate) const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// In every so many rounds, which is a multiple of no number of peers that are compared.
const OTHERS: usize = 7;

/// A foreign process, until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The children of NGINX end with their master only when that is asked.
        let _ = std::process::Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let origins = Origins::start(vec![OriginSpec::default()])?;
    let origin = origins.addresses[0];
    let config = format!("[[route]]\ncluster = \"o\"\n[cluster.o]\npolicy = \"p2c\"\nendpoints = [\"{origin}\"]\n");
    let gate = Gate::start(&config, setting.cores, |_| {})?;
    findings.text("sluicegate.toml", gate.text());
    let dir = TempDir::new()?;
    // NGINX's worker is another user.
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut running = Vec::new();
    // HAProxy relaying bytes without reading them: the least that any proxy can take.
    let floor = free_address()?;
    let guided =
        setting.guided.as_deref().map(|binary| Gate::start_other(binary, &config, setting.cores)).transpose()?;
    let own = [("sluicegate", Some(&gate)), ("guided", guided.as_ref())];
    let own = own.into_iter().filter_map(|(name, gate)| {
        gate.map(|gate| Peer { name, pid: gate.proxy.pid(), http1: gate.http1(), http2: gate.http2() })
    });
    let mut peers: Vec<_> = own.collect();
    for (name, file, text) in [("nginx", "nginx.conf", nginx as Text), ("haproxy", "haproxy.cfg", haproxy)] {
        let addresses = [free_address()?, free_address()?, floor];
        let text = text(origin, addresses, dir.path());
        match start(setting, name, &dir.path().join(file), &text, addresses[0]) {
            Ok(process) => {
                findings.text(file, text.replace(&dir.path().display().to_string(), "/tmp/peers"));
                peers.push(Peer { name, pid: process.0.id(), http1: addresses[0], http2: addresses[1] });
                running.push(process);
            }
            Err(error) => findings.remark(format!("{name} was left out: {error:#}")),
        }
    }
    for peer in &peers {
        findings.text(&format!("what the origin gets from {}", peer.name), echo(peer.http1)?);
    }
    for kind in &KINDS {
        for round in 0..=setting.count(kind.rounds, 2) {
            // Nobody is always first.
            for turn in 0..peers.len() {
                let peer = &peers[(round + turn) % peers.len()];
                throughput(setting, peer, kind, round > 0, &mut findings)?;
                if peer.name == "haproxy" && kind.name == "http1-128B" {
                    let relay = Peer { name: "haproxy-tcp", http1: floor, ..*peer };
                    throughput(setting, &relay, kind, round > 0, &mut findings)?;
                }
            }
        }
    }
    at_fixed_rate(setting, &origins, &peers, &mut findings)?;
    memory(&peers, &mut findings)?;
    Ok(findings)
}

/// What each takes, and what idle connections add to it, at once and when they have rested.
fn memory(peers: &[Peer], findings: &mut Findings) -> Result<()> {
    let mut held = Vec::new();
    let mut before = Vec::new();
    let tell = |peer: &Peer, what: &str, before: u64, findings: &mut Findings| -> Result<()> {
        let each = resident_kib(peer.pid)?.saturating_sub(before) as f64 / IDLE as f64;
        findings.add(format!("{}/{what}", peer.name), "KiB", Better::Lower, each);
        Ok(())
    };
    for peer in peers {
        let kib = resident_kib(peer.pid)?;
        findings.add(format!("{}/memory", peer.name), "MiB", Better::Lower, kib as f64 / 1024.0);
        held.push(idle(peer.http1)?);
        tell(peer, "idle-at-once", kib, findings)?;
        before.push(kib);
    }
    thread::sleep(REST);
    for (peer, kib) in peers.iter().zip(before) {
        tell(peer, "idle-at-rest", kib, findings)?;
    }
    drop(held);
    Ok(())
}

/// As fast as it goes; what it takes of a processor for each request. The first round warms up.
fn throughput(setting: &Setting, peer: &Peer, kind: &Kind, counts: bool, findings: &mut Findings) -> Result<()> {
    let (address, connections) = if kind.is_http2 { (peer.http2, 8) } else { (peer.http1, 64) };
    let protocol = if kind.is_http2 { Protocol::Http2 { streams: 8 } } else { Protocol::Http1 };
    let (target, time) = (Target::at(address, kind.path), setting.time(kind.seconds, 0.5));
    let plan = Plan { protocol, ..Plan::closed(target, connections, Duration::ZERO, time) };
    let before = usage(peer.pid);
    let outcome = plan.run().with_context(|| format!("{} does not answer", peer.name))?;
    let spent = usage(peer.pid) - before;
    if counts {
        let (name, kind) = (peer.name, kind.name);
        let requests = outcome.latency.len().max(1) as f64;
        findings.add(format!("{kind}/{name}/throughput"), "requests/s", Better::Higher, outcome.throughput());
        findings.add(format!("{kind}/{name}/cpu"), "us/request", Better::Lower, spent.total / requests * 1e6);
        findings.add(format!("{kind}/{name}/error-rate"), "of requests", Better::Lower, outcome.error_rate());
    }
    Ok(())
}

/// All at the same rate: half of what the slowest does.
fn at_fixed_rate(setting: &Setting, origins: &Origins, peers: &[Peer], findings: &mut Findings) -> Result<()> {
    let peak = |peer: &Peer| findings.estimate(&format!("http1-128B/{}/throughput", peer.name));
    let least = peers.iter().filter_map(peak).map(|peak| peak.median).fold(f64::INFINITY, f64::min);
    let rate = least / 2.0;
    findings.add("fixed-rate", "requests/s", Better::Neither, rate);
    let mut limits = BTreeMap::new();
    let targets = peers.iter().map(|peer| (peer.name, peer.http1));
    // What no goal is about needs no more than a median.
    let (others, mut compared): (Vec<_>, Vec<_>) = targets.partition(|(name, _)| *name == "haproxy");
    let others = [others, vec![("origin", origins.addresses[0])]].concat();
    // Many short ones: a moment at which the processor is taken away from whoever is measured is in few of them. In the same
    // time, pairs of 0.03 s tell the ratio of two p99s 1.8 times as exactly as pairs of 0.1 s.
    for round in 0..setting.count(900, 30) {
        // Each comes first, and right after itself, as often as any other: both cost up to 4% of a p99.
        compared.rotate_left(1);
        let others = others.iter().filter(|_| round % OTHERS == 0);
        for &(name, address) in compared.iter().chain(others) {
            let target = Target::at(address, "/128");
            let plan = Plan::steady(target, rate, setting.time(0.02, 0.02), setting.time(0.03, 0.03));
            let outcome = origins.run(Plan { seed: round as u64 + 1, watches: true, ..plan })?;
            for (percentile, q) in PERCENTILES {
                findings.add(format!("fixed/{name}/{percentile}"), "ms", Better::Lower, outcome.ms(q));
            }
            if let Some(limit) = outcome.own_limit() {
                limits.entry(name).or_insert_with(Vec::new).push(limit);
            }
        }
    }
    for (name, limits) in limits {
        findings.remark(format!("{name} at the fixed rate, in {} runs: {}.", limits.len(), limits[0]));
    }
    Ok(())
}

/// A request's head, as it came to the origin.
fn echo(address: SocketAddr) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, head) = answer.split_once("\r\n\r\n").context("an answer without an end")?;
    Ok(head.replace("\r\n", "\n").trim_end().to_owned())
}

/// Connections that have each had an answer.
fn idle(address: SocketAddr) -> Result<Vec<std::net::TcpStream>> {
    use std::io::{Read, Write};
    let open = |_| {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /128 HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let count = stream.read(&mut [0; 4096])?;
        anyhow::ensure!(count > 0, "a connection was closed");
        Ok(stream)
    };
    (0..IDLE).map(open).collect()
}

fn start(setting: &Setting, name: &str, path: &Path, text: &str, address: SocketAddr) -> Result<Running> {
    fs::write(path, text)?;
    let program = which(name).context("it is not installed")?;
    let path = path.to_string_lossy();
    let arguments: &[&str] = if name == "nginx" { &["-c", &path] } else { &["-db", "-f", &path] };
    let mut process = Running(spawn_pinned(setting.cores.map(|cores| cores.proxy), &program, arguments)?);
    for _ in 0..500 {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(process);
        }
        anyhow::ensure!(process.0.try_wait()?.is_none(), "it has ended at once");
        thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("it does not listen")
}

fn which(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]).map(Path::new);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

type Text = fn(SocketAddr, [SocketAddr; 3], &Path) -> String;

fn nginx(origin: SocketAddr, [http1, http2, _]: [SocketAddr; 3], dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "daemon off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log;\n\
         events {{ worker_connections 8192; }}\nhttp {{\n  access_log off;\n  keepalive_requests 100000000;\n  \
         client_body_temp_path {dir}/body;\n  proxy_temp_path {dir}/proxy;\n  fastcgi_temp_path {dir}/fastcgi;\n  \
         uwsgi_temp_path {dir}/uwsgi;\n  scgi_temp_path {dir}/scgi;\n  \
         upstream o {{ server {origin}; keepalive 1024; keepalive_requests 100000000; }}\n  \
         server {{\n    listen {http1} backlog=4096;\n    listen {http2} http2 backlog=4096;\n    location / {{\n      \
         proxy_pass http://o;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $http_host;\n      proxy_set_header X-Forwarded-For $remote_addr;\n      \
         proxy_set_header X-Forwarded-Proto $scheme;\n      proxy_set_header X-Forwarded-Host $http_host;\n    }}\n  }}\n}}\n"
    )
}

fn haproxy(origin: SocketAddr, [http1, http2, tcp]: [SocketAddr; 3], _: &Path) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 8192\n  no strict-limits\ndefaults\n  mode http\n  timeout connect 5s\n  \
         timeout client 60s\n  timeout server 60s\n  http-reuse always\nfrontend f\n  option forwardfor\n  \
         http-request set-header X-Forwarded-Proto http\n  http-request set-header X-Forwarded-Host %[req.hdr(host)]\n  \
         bind {http1}\n  bind {http2} proto h2\n  default_backend b\nbackend b\n  server o {origin}\n\
         frontend t\n  mode tcp\n  bind {tcp}\n  default_backend tb\nbackend tb\n  mode tcp\n  server o {origin}\n"
    )
}
