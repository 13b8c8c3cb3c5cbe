#!/usr/bin/env python3
"""Processor time per proxied request beside NGINX and HAProxy, over what clients speak in production.

  apt-get install -y nginx haproxy wrk nghttp2-client openssl
  cargo build --release -p sluicegate
  analysis/peers.py target/release/sluicegate

Each proxy has one worker on processor 0; the origin (NGINX with a file) and the load (wrk, h2load) are on processor 1.
All proxies run at once and are measured in turn, round after round, so that a slow minute of the machine hits all of
them. Only ratios of one run mean anything. At the end, each holds 10,000 idle connections, for their memory.
"""
import os, re, resource, socket, statistics, subprocess, sys, tempfile, time

BODIES = {"128 B": 128, "100 KB": 102_400}
ROUNDS, SECONDS, CONNECTIONS, IDLE = 3, 3, 64, 10_000
HZ = os.sysconf("SC_CLK_TCK")
ORIGIN, PORTS = 7301, {"nginx": 7311, "haproxy": 7321, "sluicegate": 7331}  # plain; the next one is TLS


def write_configs(d):
    for name, size in BODIES.items():
        open(f"{d}/{size}", "wb").write(b"x" * size)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost", "-keyout", f"{d}/key.pem", "-out", f"{d}/cert.pem"],
                   check=True, capture_output=True)
    open(f"{d}/both.pem", "w").write(open(f"{d}/cert.pem").read() + open(f"{d}/key.pem").read())
    nginx = f"daemon off; worker_processes 1; error_log {d}/err; events {{ worker_connections 30000; }}\n"
    http = "access_log off; keepalive_requests 100000000; keepalive_timeout 600s;"
    open(f"{d}/origin.conf", "w").write(
        f"{nginx} pid {d}/o.pid; http {{ {http} open_file_cache max=10; server {{ listen 127.0.0.1:{ORIGIN}; root {d}; }} }}")
    plain = PORTS["nginx"]
    open(f"{d}/nginx.conf", "w").write(f"""{nginx} pid {d}/n.pid; http {{ {http}
  upstream b {{ server 127.0.0.1:{ORIGIN}; keepalive 1024; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{plain + 1} ssl http2;
    ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
    location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr; }} }} }}""")
    plain = PORTS["haproxy"]
    open(f"{d}/haproxy.cfg", "w").write(f"""global
  nbthread 1
  maxconn 15000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 60s
frontend f
  option forwardfor
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{plain + 1} ssl crt {d}/both.pem alpn h2,http/1.1
  default_backend b
backend b
  http-reuse always
  server o 127.0.0.1:{ORIGIN}
""")
    plain = PORTS["sluicegate"]
    open(f"{d}/sluicegate.toml", "w").write(f"""
[[listener]]
address = "127.0.0.1:{plain}"
[[listener]]
address = "127.0.0.1:{plain + 1}"
[listener.tls]
certificates = [{{ certificate = "cert.pem", key = "key.pem" }}]
[[route]]
cluster = "o"
[cluster.o]
policy = "p2c"
endpoints = ["127.0.0.1:{ORIGIN}"]
[runtime]
workers = 1
[log]
access = false
[limits]
idle_timeout_ms = 600_000
""")


def start(processor, *command):
    return subprocess.Popen(["taskset", "-c", processor, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def tree(pid):
    children = []
    for task in os.listdir(f"/proc/{pid}/task"):
        children += open(f"/proc/{pid}/task/{task}/children").read().split()
    return [pid] + [each for child in children for each in tree(int(child))]


def cpu(pid):
    total = 0
    for each in tree(pid):
        fields = open(f"/proc/{each}/stat").read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / HZ


def memory(pid):
    return sum(int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{each}/status").read()).group(1)) for each in tree(pid))


def load(kind, port, size):
    """Requests answered."""
    if kind == "HTTP/2, TLS":
        command = ["h2load", "-t1", "-c8", "-m8", f"-D{SECONDS}", f"https://127.0.0.1:{port + 1}/{size}"]
        pattern = r"requests: .* (\d+) succeeded"
    else:
        url = f"http://127.0.0.1:{port}/{size}" if kind == "HTTP/1.1" else f"https://127.0.0.1:{port + 1}/{size}"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url]
        pattern = r"(\d+) requests in"
    output = subprocess.run(["taskset", "-c", "1", *command], capture_output=True, text=True).stdout
    found = re.search(pattern, output)
    if not found or int(found.group(1)) == 0 or "Non-2xx" in output:
        sys.exit(f"{' '.join(command)} failed:\n{output}")
    return int(found.group(1))


def idle(port, count):
    """So many connections that have each had one answer."""
    open_ones = []
    for number in range(count):
        client = socket.socket()
        # More addresses than one, for there are not enough ports.
        client.bind((f"127.0.0.{2 + number % 100}", 0))
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /128 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        open_ones.append(client)
    return open_ones


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        write_configs(d)
        origin = start("1", "nginx", "-c", f"{d}/origin.conf")
        proxies = {
            "nginx": start("0", "nginx", "-c", f"{d}/nginx.conf"),
            "haproxy": start("0", "haproxy", "-f", f"{d}/haproxy.cfg"),
            "sluicegate": start("0", os.path.abspath(sys.argv[1]), "run", "-c", f"{d}/sluicegate.toml"),
        }
        try:
            time.sleep(2)
            for kind in ["HTTP/1.1", "HTTP/1.1, TLS", "HTTP/2, TLS"]:
                for body, size in BODIES.items():
                    measured = {name: [] for name in proxies}
                    for _ in range(ROUNDS):
                        for name, process in proxies.items():
                            before = cpu(process.pid)
                            count = load(kind, PORTS[name], size)
                            measured[name].append((cpu(process.pid) - before) / count * 1e6)
                    medians = {name: statistics.median(times) for name, times in measured.items()}
                    best = min(medians["nginx"], medians["haproxy"])
                    line = ", ".join(f"{name} {us:.1f} us" for name, us in medians.items())
                    print(f"{kind}, {body}: {line}: {medians['sluicegate'] / best:.2f} of the better", flush=True)
            for name, process in proxies.items():
                before = memory(process.pid)
                connections = idle(PORTS[name], IDLE)
                at_once = (memory(process.pid) - before) / IDLE
                time.sleep(6)
                later = (memory(process.pid) - before) / IDLE
                print(f"{IDLE} idle connections: {name} {at_once:.2f} KiB each, after 6 s {later:.2f}", flush=True)
                for connection in connections:
                    connection.close()
        finally:
            for process in [*proxies.values(), origin]:
                process.terminate()
                process.wait()


main()
