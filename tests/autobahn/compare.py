#!/usr/bin/env python3
"""Autobahn's cases against a WebSocket server, once without the proxy and once through it: what becomes of each case has
to be the same."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).parent

SERVER = """
import asyncio, websockets
from websockets.asyncio.server import serve

async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass

async def main():
    async with serve(echo, "127.0.0.1", 0, max_size=None, max_queue=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

asyncio.run(main())
"""

CONFIG = """[[listener]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[runtime]
upgrade_socket = "upgrade.sock"
[log]
format = "json"
access = false
[[route]]
cluster = "api"
[cluster.api]
policy = "round-robin"
endpoints = ["127.0.0.1:{port}"]
"""


def start_proxy(binary, folder, port):
    file = pathlib.Path(folder, "sluicegate.toml")
    file.write_text(CONFIG.format(port=port))
    child = subprocess.Popen([binary, "run", "--config", file], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in child.stderr:
        line = json.loads(line)
        if line.get("message") == "serving":
            threading.Thread(target=child.stderr.read, daemon=True).start()
            return child, line["listeners"]
    raise SystemExit("the proxy does not start")


def run(address, options):
    command = [
        sys.executable,
        HERE / "run.py",
        f"ws://{address}",
        "--cases",
        options.cases,
        "--exclude",
        options.exclude,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", help="the proxy's binary")
    parser.add_argument("--cases", default="*", help="patterns such as 5.*, separated by commas")
    parser.add_argument("--exclude", default="", help="the same")
    options = parser.parse_args()
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    port = int(server.stdout.readline())
    try:
        with tempfile.TemporaryDirectory() as folder:
            proxy, address = start_proxy(options.binary, folder, port)
            try:
                through, without = run(address, options), run(f"127.0.0.1:{port}", options)
            finally:
                proxy.kill()
                proxy.wait()
    finally:
        server.kill()
        server.wait()
    other = [number for number in without if through[number][:2] != without[number][:2]]
    for number in other:
        print(f"{number}: without the proxy {without[number]}, through it {through[number]}")
    failed = [number for number, (behavior, _, _) in without.items() if behavior == "FAILED"]
    print(
        f"{len(without)} cases, {len(other)} end in another way through the proxy; without it, {failed or 'none'} failed"
    )
    return 1 if other or not without else 0


if __name__ == "__main__":
    sys.exit(main())
