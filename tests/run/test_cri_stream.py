"""Streams of tared over an engine that only pretends: tokens, every version of the WebSocket protocol, a thousand at once, and
clients that break off. SPDY and the real engine are driven by crictl in tests/interop/test_cri_stream.py."""
import base64
import json
import os
import socket
import struct
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import cri as tool  # noqa: E402
from test_cri_calls import cri, pb, server  # noqa: E402,F401

OK, FAILED = "Success", "Failure"


class WebSocket:
    def __init__(self, url, protocol=None):
        address, self.path = url.removeprefix("http://").split("/", 1)
        host, port = address.split(":")
        self.s = socket.create_connection((host, int(port)), timeout=20)
        self.base64 = protocol is not None and "base64" in protocol
        head = [f"GET /{self.path} HTTP/1.1", f"Host: {address}", "Connection: Upgrade", "Upgrade: websocket",
                "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        head += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
        self.s.sendall("\r\n".join(head + ["", ""]).encode())
        self.f = self.s.makefile("rb")
        self.status = int(self.f.readline().split()[1])
        while self.f.readline() not in (b"\r\n", b""):
            pass

    def send(self, channel, data):
        data = bytes([channel + 48]) + base64.b64encode(data) if self.base64 else bytes([channel]) + data
        head = bytes([0x81 if self.base64 else 0x82])
        head += bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xfe]) + struct.pack(">H", len(data))
        self.s.sendall(head + bytes(4) + data)

    def recv(self):
        """(channel, bytes), or None at the end."""
        head = self.f.read(2)
        if len(head) < 2 or head[0] & 15 == 8:
            return None
        n = head[1] & 127
        n = struct.unpack(">H", self.f.read(2))[0] if n == 126 else struct.unpack(">Q", self.f.read(8))[0] if n == 127 else n
        data = self.f.read(n)
        return (data[0] - 48, base64.b64decode(data[1:])) if self.base64 else (data[0], data[1:])

    def all(self):
        """What came on each channel until the end."""
        got = {}
        while m := self.recv():
            got[m[0]] = got.get(m[0], b"") + m[1]
        return got

    def close(self):
        self.f.close()
        self.s.close()


@pytest.fixture
def ctr(cri, pb):
    p = cri.RunPodSandbox(config=tool.pod_config(pb, "p")).pod_sandbox_id
    c = cri.CreateContainer(pod_sandbox_id=p, config=tool.ctr_config(pb, "c")).container_id
    cri.StartContainer(container_id=c)
    return c


def fds(server):
    return len(os.listdir(f"/proc/{server[0].pid}/fd"))


def settles(what, seconds=10):
    end = time.time() + seconds
    while time.time() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io",
                                      "base64.channel.k8s.io", None])
def test_versions(cri, ctr, protocol):
    w = WebSocket(cri.Exec(container_id=ctr, cmd=["x", "hello"], stdout=True).url, protocol)
    assert w.status == 101
    got = w.all()
    assert got[1] == b"hello"
    if protocol and protocol.startswith("v"):
        status = json.loads(got[3])
        assert (status["status"], status["reason"]) == (FAILED, "NonZeroExitCode")
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    else:
        assert got[3] == b"command terminated with non-zero exit code: 7"
    w.close()


def test_stdin_resize_success(cri, ctr):
    w = WebSocket(cri.Exec(container_id=ctr, cmd=["ok"], stdin=True, stdout=True, tty=True).url, "v5.channel.k8s.io")
    w.send(0, b"in\n")
    w.send(4, b'{"Width":80,')
    w.send(4, b'"Height":24}{"Width":1,"Height":2}')
    w.send(255, b"\0")
    got = w.all()
    assert got[1] == b"in\n24x80\n2x1\n"
    assert json.loads(got[3]) == {"metadata": {}, "status": OK}
    w.close()


def test_tokens(cri, ctr):
    url = cri.Exec(container_id=ctr, cmd=["x"], stdout=True).url
    for other in (url.replace("/exec/", "/attach/"), url[:-1], url + "0", url[:-1] + ("0" if url[-1] != "0" else "1")):
        w = WebSocket(other)
        assert w.status == 404
        w.close()
    for status in (101, 404):
        w = WebSocket(url)
        assert w.status == status
        w.close()
    assert cri.fails("Exec", container_id=ctr, cmd=["x"])[0] == "INVALID_ARGUMENT"
    assert cri.fails("Exec", container_id=ctr, cmd=["x"], tty=True, stdout=True, stderr=True)[0] == "INVALID_ARGUMENT"
    assert cri.fails("Attach", container_id="none", stdout=True)[0] == "NOT_FOUND"


def test_error(cri, ctr):
    w = WebSocket(cri.Exec(container_id=ctr, cmd=["missing"], stdout=True).url, "v4.channel.k8s.io")
    assert "no such file" in json.loads(w.all()[3])["message"]
    w.close()


def test_many(cri, ctr, server):
    """A thousand sessions at once, and nothing is left of them: half end, of half the client goes."""
    settles(lambda: False, 0.2)
    before = fds(server)
    conns = []
    for _ in range(1000):
        conns.append(WebSocket(cri.Exec(container_id=ctr, cmd=["ok"], stdin=True, stdout=True).url, "v5.channel.k8s.io"))
        assert conns[-1].status == 101
    for i, w in enumerate(conns):
        w.send(0, b"n%d" % i)
    for i, w in enumerate(conns):
        assert w.recv() == (1, b"") and w.recv() == (1, b"n%d" % i)
    for w in conns[:500]:
        w.send(255, b"\0")
    for w in conns[:500]:
        assert json.loads(w.all()[3])["status"] == OK
    for w in conns:
        w.close()
    assert settles(lambda: fds(server) <= before + 2), (before, fds(server))


def test_slow_reader(cri, ctr, server):
    """A client that does not read holds the process up; it costs bounded memory, and gets everything in the end."""
    w = WebSocket(cri.Exec(container_id=ctr, cmd=["much"], stdin=True, stdout=True).url, "v5.channel.k8s.io")
    for _ in range(50):
        w.send(0, b"")
        w.send(0, b"x")
    w.send(255, b"\0")
    time.sleep(1)
    with open(f"/proc/{server[0].pid}/status") as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    assert rss < 40 << 10
    assert len(w.all()[1]) == 50 * (1 << 20) + 50
    w.close()
