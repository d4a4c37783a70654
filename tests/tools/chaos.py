"""An HTTP proxy in front of a registry that misbehaves on demand, and a token service. Threads of the test's own process."""
import base64
import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


class Chaos:
    """rules: functions (handler, path) -> True when they have answered; the first one that does wins. log: requests seen."""

    def __init__(self, upstream_port):
        self.rules, self.log, self.upstream = [], [], upstream_port
        chaos = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def forward(self):
                chaos.log.append((self.command, self.path, dict(self.headers)))
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else None
                try:
                    for rule in chaos.rules:
                        if rule(self, self.path):
                            return
                    self.relay(body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def upstream_answer(self, body=None):
                c = http.client.HTTPConnection("127.0.0.1", chaos.upstream)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                c.request(self.command, self.path, body, headers)
                r = c.getresponse()
                data = r.read()
                c.close()
                return r, data

            def relay(self, body=None, data=None, cut=None, stall=None):
                r, real = self.upstream_answer(body)
                data = real if data is None else data
                self.send_response(r.status)
                for k, v in r.getheaders():
                    if k.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(k, v)
                self.send_header("Content-Length", r.getheader("Content-Length") if self.command == "HEAD" else str(len(data)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                if cut is not None and cut < len(data):
                    self.wfile.write(data[:cut])
                    self.wfile.flush()
                    if stall:
                        time.sleep(stall)
                    self.close_connection = True
                    return
                self.wfile.write(data)

            def answer(self, status, body=b"", **headers):
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k.replace("_", "-"), v)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
                return True

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = forward

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def gets(self, part):
        return [x for x in self.log if x[0] == "GET" and part in x[1]]


class TokenAuth:
    """A rule for Chaos: bearer tokens, given out by the proxy itself at /token."""

    def __init__(self, users=None, anonymous=False, lifetime=300, refresh=None):
        self.users, self.anonymous, self.lifetime, self.refresh = users or {}, anonymous, lifetime, refresh or {}
        self.given, self.asked = {}, []

    def __call__(self, h, path):
        u = urlparse(path)
        if u.path == "/token":
            return self.give(h, parse_qs(u.query))
        token = (h.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.given.get(token, 0) > time.time():
            del h.headers["Authorization"]
            return False
        repo = u.path.removeprefix("/v2/").split("/manifests/")[0].split("/blobs/")[0].split("/tags/")[0]
        port = h.server.server_address[1]
        scope = f',scope="repository:{repo}:pull"' if repo else ""
        return h.answer(401, b"{}", WWW_Authenticate=f'Bearer realm="http://127.0.0.1:{port}/token",service="test"{scope}')

    def give(self, h, query):
        self.asked.append((h.command, query, h.headers.get("Authorization")))
        user = self.anonymous
        basic = h.headers.get("Authorization")
        if basic and basic.startswith("Basic "):
            name, _, secret = base64.b64decode(basic[6:]).decode().partition(":")
            user = self.users.get(name) == secret
        if h.command == "POST":
            user = True     # the body, with its refresh token, was read by forward()
        if not user:
            return h.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}')
        token = f"t{len(self.given)}"
        self.given[token] = time.time() + self.lifetime
        return h.answer(200, json.dumps({"token": token, "expires_in": self.lifetime}).encode(), Content_Type="application/json")
