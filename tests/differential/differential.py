#!/usr/bin/env python3
"""Thousands of ambiguous HTTP/1.1 messages through the proxy, and what it forwards of them to many real servers.

For each message, one of two things has to be: the proxy refused it and closed the connection; or what it forwarded is
HTTP/1.1 to the letter, and every server sees the same message in it, and the request behind it.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import origins
from messages import cases
from recorder import Recorder
from replay import replay

CONFIG = """[[listener]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[runtime]
workers = 1
upgrade_socket = "upgrade.sock"
[log]
format = "json"
access = false
[[route]]
cluster = "api"
[cluster.api]
policy = "round-robin"
endpoints = ["127.0.0.1:{port}"]
max_attempts = 1
"""

REFUSALS = {400, 405, 414, 421, 431, 501, 505}

# For how long a connection is waited for that may well never say anything: its message is not whole.
QUIET = 1.0


class Lane:
    """A proxy of its own, with a recorder behind it: whatever comes out belongs to the message that went in."""

    def __init__(self, binary):
        self.recorder, self.dir = Recorder(), tempfile.TemporaryDirectory()
        file = pathlib.Path(self.dir.name, "sluicegate.toml")
        file.write_text(CONFIG.format(port=self.recorder.port))
        self.child = subprocess.Popen(
            [binary, "run", "--config", file], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.address = None
        while self.address is None:
            line = json.loads(self.child.stderr.readline())
            if line.get("message") == "serving":
                host, _, port = line["listeners"].rpartition(":")
                self.address = (host, int(port))
        # Whatever else it says is not of interest, but has to be read.
        threading.Thread(target=self.child.stderr.read, daemon=True).start()

    def send(self, text):
        """What came back, whether the connection was closed, and what was forwarded."""
        answer, closed = b"", False
        with socket.create_connection(self.address, 10) as stream:
            stream.settimeout(QUIET)
            try:
                stream.sendall(text)
                while part := stream.recv(1 << 16):
                    answer += part
                closed = True
            except ConnectionError:
                closed = True
            except TimeoutError:
                pass
        return answer, closed, *self.recorder.collect()

    def stop(self):
        self.child.kill()
        self.child.wait()


def judge(text, answer, closed, messages, bad, broken):
    """What is wrong with what the proxy did, in words; and whether it refused the message."""
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d\d\d) ", answer)]
    finals = [status for status in statuses if status >= 200]
    refused = bool(finals) and finals[-1] in REFUSALS
    if bad:
        return f"forwarded what is not to the letter: {bad}", refused
    if any(status not in REFUSALS | {200} for status in finals):
        return f"odd statuses {statuses}", refused
    if any(status != 200 for status in finals[:-1]):
        return f"went on behind a refusal: {statuses}", refused
    if refused and not closed:
        return "did not close behind a refusal", refused
    if len(messages) != len([status for status in finals if status == 200]):
        return f"{len(messages)} forwarded, but statuses {statuses}", refused
    # Who asks for it, or speaks HTTP/1.0, gets no more after the answer.
    is_last = b"\r\nconnection: close\r\n" in answer or re.search(rb"HTTP/1\.0 \d", answer)
    if not refused and closed and not is_last:
        return f"neither refused nor answered: {statuses}", refused
    return None, refused


def work_through(lane, todo, report):
    for name, text in todo:
        answer, closed, messages, bad, broken = lane.send(text)
        wrong, refused = judge(text, answer, closed, messages, bad, broken)
        report(name, text, wrong, refused, messages)
        if lane.child.poll() is not None:
            report(name, text, "the proxy ended", False, [])
            return


def forward_all(binary, lanes, todo):
    """Everything through the proxy: findings, how many were refused, and each forwarded message once."""
    findings, refused_count, forwarded = [], 0, {}
    lock = threading.Lock()

    def report(name, text, wrong, refused, messages):
        nonlocal refused_count
        with lock:
            refused_count += refused
            if wrong:
                findings.append((name, text, wrong))
            for raw, seen in messages:
                forwarded.setdefault(raw, (name, text, seen))

    lanes = [Lane(binary) for _ in range(lanes)]
    try:
        with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
            for future in [
                pool.submit(work_through, lane, todo[index :: len(lanes)], report) for index, lane in enumerate(lanes)
            ]:
                future.result()
    finally:
        for lane in lanes:
            lane.stop()
    return findings, refused_count, forwarded


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", help="the proxy's binary")
    parser.add_argument(
        "--origins", default=",".join(origins.NAMES), help="which servers; those that are not there are named"
    )
    parser.add_argument("--required", action="store_true", help="fail if one is not there")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th message")
    parser.add_argument("--mutations", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1, help="of the mutations")
    parser.add_argument("--lanes", type=int, default=6, help="proxies at a time")
    parser.add_argument("--show", type=int, default=3, help="so many examples of each finding")
    options = parser.parse_args()
    names = options.origins.split(",")
    missing = [name for name in names if not origins.is_here(name)]
    if missing:
        print("not here:", ", ".join(missing))
        if options.required:
            return 1
    todo = list(cases(options.seed, options.mutations))[:: options.every]
    start = time.monotonic()
    findings, refused, forwarded = forward_all(options.binary, options.lanes, todo)
    print(
        f"{len(todo)} messages, {refused} refused, {len(forwarded)} different ones forwarded, {time.monotonic() - start:.0f} s"
    )
    for name, text, wrong in findings[:40]:
        print(f"PROXY {name}: {wrong}\n  {text[:300]!r}")
    failed = len(findings)
    for name in names:
        if name not in missing:
            failed += replay(name, forwarded, options.show)
    print("all the same" if not failed else f"{failed} findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
