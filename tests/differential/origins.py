"""Servers that we did not write, each at a port of its own. Those that only forward do so to a recorder."""

import importlib.util
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from echo import free_port
from recorder import Recorder

HERE = pathlib.Path(__file__).parent

# Name: module. Servers of Python.
PYTHON = {
    "http.server": "http.server",
    "gunicorn": "gunicorn",
    "uvicorn-h11": "uvicorn",
    "uvicorn-httptools": "httptools",
    "hypercorn": "hypercorn",
    "waitress": "waitress",
    "cheroot": "cheroot",
    "tornado": "tornado",
    "aiohttp": "aiohttp",
    "twisted": "twisted",
    "granian": "granian",
    "daphne": "daphne",
}

NGINX = """daemon off; master_process off; pid {dir}/pid; error_log {dir}/log crit;
events {{ }}
http {{ access_log off; client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
uwsgi_temp_path {dir}; scgi_temp_path {dir}; large_client_header_buffers 8 80k; proxy_buffer_size 128k; proxy_buffers 8 128k;
proxy_busy_buffers_size 256k;
server {{ listen 127.0.0.1:{port}; underscores_in_headers on;
location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_http_version 1.1; proxy_set_header Host $http_host; }} }} }}
"""

HAPROXY = """global
  tune.bufsize 131072
  tune.maxrewrite 1024
  tune.http.maxhdr 1000
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen it
  bind 127.0.0.1:{port}
  server one 127.0.0.1:{behind}
"""

APACHE = """ServerRoot {dir}
ServerName localhost
PidFile {dir}/pid
DefaultRuntimeDir {dir}
Listen 127.0.0.1:{port}
ErrorLog {dir}/log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
User nobody
Group nogroup
LimitRequestLine 9000
LimitRequestFieldSize 80000
AllowEncodedSlashes NoDecode
ProxyPreserveHost On
ProxyAddHeaders Off
ProxyPass / http://127.0.0.1:{behind}/ nocanon
"""

LIGHTTPD = """server.modules = ( "mod_proxy" )
server.document-root = "{dir}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{dir}/log"
server.max-request-field-size = 80000
proxy.server = ( "" => ( ( "host" => "127.0.0.1", "port" => {behind} ) ) )
proxy.header = ( "upgrade" => "disable" )
server.http-parseopts = ( "url-path-2f-decode" => "disable" )
"""

# Name: program, configuration, arguments.
PROGRAMS = {
    "nginx": ("nginx", NGINX, ["-p", "{dir}", "-c", "{file}"]),
    "haproxy": ("haproxy", HAPROXY, ["-q", "-f", "{file}"]),
    "apache": ("apache2", APACHE, ["-f", "{file}", "-DFOREGROUND"]),
    "lighttpd": ("lighttpd", LIGHTTPD, ["-D", "-f", "{file}"]),
}

NAMES = [*PROGRAMS, "node", *PYTHON]


class Origin:
    def __init__(self, name):
        self.name, self.dir = name, tempfile.TemporaryDirectory()
        os.chmod(self.dir.name, 0o755)
        self.recorder = None
        environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"}
        options = {"stderr": subprocess.DEVNULL, "env": environment}
        if name in PROGRAMS:
            program, text, arguments = PROGRAMS[name]
            self.recorder, self.port = Recorder(), free_port()
            file = pathlib.Path(self.dir.name, "conf")
            file.write_text(text.format(dir=self.dir.name, port=self.port, behind=self.recorder.port))
            arguments = [argument.format(dir=self.dir.name, file=file) for argument in arguments]
            self.child = subprocess.Popen([found(program), *arguments], stdout=subprocess.DEVNULL, **options)
        else:
            command = (
                [shutil.which("node"), HERE / "echo.js"] if name == "node" else [sys.executable, HERE / "echo.py", name]
            )
            self.child = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
            self.port = int(self.child.stdout.readline())
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                if time.monotonic() > end or self.child.poll() is not None:
                    raise RuntimeError(f"{name} does not listen")
                time.sleep(0.05)

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def found(program):
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


def is_here(name):
    if name in PROGRAMS:
        return found(PROGRAMS[name][0]) is not None
    if name == "node":
        return found("node") is not None
    return importlib.util.find_spec(PYTHON[name]) is not None
