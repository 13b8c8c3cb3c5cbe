"""Applications that say what their server saw, for the servers of Python. `python3 echo.py SERVER` prints its port."""

import os
import socket
import sys

from recorder import pack, view


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wsgi(environ, start):
    # Without the target as it came, what is left is the path, decoded.
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    length = environ.get("CONTENT_LENGTH") or None
    body = b""
    if length or environ.get("wsgi.input_terminated") or environ.get("HTTP_TRANSFER_ENCODING"):
        body = environ["wsgi.input"].read(*([int(length)] if length else []))
    headers = [(name[5:], value) for name, value in environ.items() if name.startswith("HTTP_")]
    headers += [(name, environ[name]) for name in ("CONTENT_TYPE",) if environ.get(name)]
    text = pack(view(environ["REQUEST_METHOD"], target, headers, body))
    is_head = environ["REQUEST_METHOD"] == "HEAD"
    start("200 OK", [("Content-Length", str(len(text)))] + [("X-Echo", text)] * is_head)
    return [] if is_head else [text.encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    target = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    if scope["query_string"]:
        target = target.partition("?")[0] + "?" + scope["query_string"].decode("latin-1")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    text = pack(view(scope["method"], target, headers, body)).encode()
    is_head = scope["method"] == "HEAD"
    head = [(b"content-length", b"%d" % len(text))] + [(b"x-echo", text)] * is_head
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"" if is_head else text})


def say(port):
    print(port, flush=True)


def gunicorn():
    port = free_port()
    say(port)
    arguments = [
        "-b",
        f"127.0.0.1:{port}",
        "-k",
        "gthread",
        "--threads",
        "4",
        "--log-level",
        "critical",
        "--limit-request-line",
        "0",
    ]
    os.execvp(sys.executable, [sys.executable, "-m", "gunicorn", *arguments, "echo:wsgi"])


def uvicorn(kind):
    port = free_port()
    say(port)
    arguments = ["--port", str(port), "--http", kind, "--log-level", "critical", "--no-proxy-headers"]
    os.execvp(sys.executable, [sys.executable, "-m", "uvicorn", *arguments, "echo:asgi"])


def hypercorn():
    port = free_port()
    say(port)
    os.execvp(
        sys.executable,
        [sys.executable, "-m", "hypercorn", "-b", f"127.0.0.1:{port}", "--log-level", "critical", "echo:asgi"],
    )


def granian():
    port = free_port()
    say(port)
    os.execvp(
        sys.executable,
        [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), "--no-log", "echo:asgi"],
    )


def daphne():
    port = free_port()
    say(port)
    os.execvp(sys.executable, [sys.executable, "-m", "daphne", "-p", str(port), "-v", "0", "echo:asgi"])


def waitress():
    import waitress as server

    port = free_port()
    say(port)
    server.serve(wsgi, host="127.0.0.1", port=port, threads=4, clear_untrusted_proxy_headers=False, _quiet=True)


def cheroot():
    from cheroot import wsgi as server

    own = server.Server(("127.0.0.1", 0), wsgi, numthreads=4)
    own.prepare()
    say(own.bind_addr[1])
    own.serve()


def tornado():
    import asyncio

    from tornado import httpserver, netutil, web

    class Echo(web.RequestHandler):
        SUPPORTED_METHODS = tuple(sys.argv[2:]) or web.RequestHandler.SUPPORTED_METHODS

        def prepare(self):
            request = self.request
            text = pack(view(request.method, request.uri, request.headers.get_all(), request.body))
            if request.method == "HEAD":
                self.set_header("X-Echo", text)
                self.set_header("Content-Length", len(text))
            self.finish(None if request.method == "HEAD" else text)

        def compute_etag(self):
            return None

    async def main():
        sockets = netutil.bind_sockets(0, "127.0.0.1")
        server = httpserver.HTTPServer(web.Application([(".*", Echo)]))
        server.add_sockets(sockets)
        say(sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(main())


def aiohttp():
    import asyncio

    from aiohttp import web

    async def echo(request):
        body = await request.read()
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        text = pack(view(request.method, request.raw_path, headers, body))
        if request.method == "HEAD":
            return web.Response(headers={"X-Echo": text, "Content-Length": str(len(text))})
        return web.Response(text=text)

    async def main():
        runner = web.ServerRunner(web.Server(echo))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        say(site._server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(main())


def twisted():
    from twisted.internet import reactor
    from twisted.web import resource, server

    class Echo(resource.Resource):
        isLeaf = True

        def render(self, request):
            headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, values in request.requestHeaders.getAllRawHeaders()
                for value in values
            ]
            method = request.method.decode("latin-1")
            text = pack(view(method, request.uri.decode("latin-1"), headers, request.content.read())).encode()
            request.setHeader(b"content-length", b"%d" % len(text))
            if method == "HEAD":
                request.setHeader(b"x-echo", text)
                return b""
            return text

    port = reactor.listenTCP(0, server.Site(Echo()), interface="127.0.0.1")
    say(port.getHost().port)
    reactor.run()


def http_server():
    from http import server

    class Echo(server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name):
            if name.startswith("do_"):
                return self.echo
            raise AttributeError(name)

        def echo(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            text = pack(view(self.command, self.path, self.headers.items(), body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            if self.command == "HEAD":
                self.send_header("X-Echo", text.decode())
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        def log_message(self, *_):
            pass

    own = server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    say(own.server_address[1])
    own.serve_forever()


if __name__ == "__main__":
    name = sys.argv[1]
    {
        "uvicorn-h11": lambda: uvicorn("h11"),
        "uvicorn-httptools": lambda: uvicorn("httptools"),
        "http.server": http_server,
    }.get(name, globals().get(name))()
