"""An origin that reads HTTP/1.1 to the letter, keeps the bytes of every message, and says what it saw.

What it can't read to the letter is kept as a finding: nothing of that kind should ever leave the proxy.
"""

import base64
import json
import re
import socket
import socketserver
import threading

# What is compared. Headers of a hop, of framing, and those that servers which forward
# add are each one's own matter.
WATCHED = re.compile(
    r"host|cookie|authorization|content-type|range|x-\d+|x-[ab]|x-t|x-http-method-override|x-(original|rewrite)-url"
)

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def view(method, target, headers, body, peer=""):
    """What a server saw, in one form for all. `headers` are pairs of text, of which each byte is a character."""
    seen = {}
    for name, value in headers:
        name = name.lower().replace("_", "-")
        if WATCHED.fullmatch(name):
            seen.setdefault(name, []).append(value.strip(" \t"))
    joined = {name: ("; " if name == "cookie" else ", ").join(values) for name, values in sorted(seen.items())}
    return {"method": method, "target": target, "headers": joined, "body": body.decode("latin-1"), "peer": peer}


def pack(seen):
    return base64.b64encode(json.dumps(seen).encode()).decode()


class Bad(Exception):
    """Not to the letter."""


class Reader:
    def __init__(self, stream):
        self.stream, self.raw = stream, b""

    def line(self):
        line = self.stream.readline(100_000)
        self.raw += line
        if not line.endswith(b"\n"):
            raise EOFError
        if not line.endswith(b"\r\n") or re.search(rb"[\r\n\0]", line[:-2]):
            raise Bad(f"a bare CR, LF or NUL in {line!r}")
        return line[:-2]

    def exactly(self, count):
        data = self.stream.read(count)
        self.raw += data
        if len(data) < count:
            raise EOFError
        return data

    def fields(self):
        fields = []
        while line := self.line():
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.fullmatch(name):
                raise Bad(f"a header line {line!r}")
            fields.append((name.decode(), value.strip(b" \t").decode("latin-1")))
        return fields

    def message(self, expects=lambda: None):
        """One request, or None at the end."""
        self.raw = b""
        try:
            line = self.line()
        except EOFError:
            if self.raw:
                raise
            return None
        parts = re.fullmatch(rb"(\S+) ([\x21-\x7e]+) HTTP/1\.1", line)
        if not parts or not TOKEN.fullmatch(parts[1]):
            raise Bad(f"a request line {line!r}")
        headers = self.fields()
        every = lambda name: [value for own, value in headers if own.lower() == name]
        lengths, codings, hosts = every("content-length"), every("transfer-encoding"), every("host")
        if len(lengths) + len(codings) > 1 or len(hosts) != 1 or any(coding != "chunked" for coding in codings):
            raise Bad(f"lengths {lengths}, codings {codings}, hosts {hosts}")
        if any(not re.fullmatch(r"[0-9]+", length) for length in lengths):
            raise Bad(f"a length {lengths}")
        if every("expect"):
            expects()
        body = self.chunked() if codings else self.exactly(int((lengths or ["0"])[0]))
        return view(parts[1].decode(), parts[2].decode(), headers, body)

    def chunked(self):
        body = b""
        while True:
            line = self.line()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", line):
                raise Bad(f"a chunk's size {line!r}")
            if int(line, 16) == 0:
                self.fields()
                return body
            body += self.exactly(int(line, 16))
            if self.exactly(2) != b"\r\n":
                raise Bad("a chunk's end")


class Recorder:
    """Listens. `messages` are pairs of raw bytes and a view, or what was wrong; `broken` is what was not whole."""

    def __init__(self):
        self.messages, self.bad, self.broken, self.busy = [], [], [], 0
        self.lock = threading.Condition()
        recorder = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                reader = Reader(self.rfile)
                try:
                    while recorder.take(reader, self.wfile, self.rfile):
                        pass
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, reader, out, source):
        if not source.peek(1):
            return False
        with self.lock:
            self.busy += 1
        good = False
        try:
            seen = reader.message(lambda: out.write(b"HTTP/1.1 100 Continue\r\n\r\n"))
            with self.lock:
                self.messages.append((reader.raw, seen))
            text = pack(seen)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n"
            good = seen["method"] != "HEAD"
            out.write((head + ("\r\n" + text if good else f"X-Echo: {text}\r\nConnection: close\r\n\r\n")).encode())
        except EOFError:
            with self.lock:
                self.broken.append(reader.raw)
        except Bad as bad:
            with self.lock:
                self.bad.append((reader.raw, str(bad)))
            out.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        finally:
            with self.lock:
                self.busy -= 1
                self.lock.notify_all()
        return good

    def collect(self):
        """Everything since the last time, when nothing is under way any more."""
        with self.lock:
            self.lock.wait_for(lambda: self.busy == 0, 5)
            taken = self.messages, self.bad, self.broken
            self.messages, self.bad, self.broken = [], [], []
        return taken
