"""Exec, attach and port-forward of tared, driven by crictl over both of its transports. crictl is $CRICTL, or the one that
`make critest` built, or on the PATH; without it these are skipped."""
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(REPO, "tests", "tools"))
import cri as tool  # noqa: E402
from conftest import BIN, program, stop_process  # noqa: E402

CRICTL = os.environ.get("CRICTL") or next((p for p in (os.path.join(os.path.dirname(BIN), "critest", "crictl"),) if os.path.exists(p)),
                                          shutil.which("crictl"))
pytestmark = [pytest.mark.skipif(not CRICTL, reason="crictl is not here (Go builds it: make critest)"),
              pytest.mark.skipif(not os.path.exists(program("tared")), reason="tared is not built")]
NET = '{"cniVersion":"1.0.0","name":"lo","plugins":[{"type":"loopback"}]}'


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    return tool.generate(tmp_path_factory.mktemp("pb"))


class Daemon:
    def __init__(self, env):
        self.socket = os.path.join(env.base, "cri.sock")
        os.makedirs(os.path.join(env.base, "net"))
        with open(os.path.join(env.base, "net", "10-lo.conflist"), "w") as f:
            f.write(NET)
        self.log = os.path.join(env.base, "tared.log")
        self.process = subprocess.Popen(env.argv("--listen", f"unix://{self.socket}", "--cni-conf-dir", os.path.join(env.base, "net"),
                                                 "--cni-bin-dir", "/usr/lib/cni", prog="tared"), stderr=open(self.log, "w"))
        for _ in range(200):
            if os.path.exists(self.socket) or self.process.poll() is not None:
                break
            time.sleep(0.05)
        assert self.process.poll() is None, open(self.log).read()

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def argv(self, *args):
        return [CRICTL, "-c", "/dev/null", "-r", f"unix://{self.socket}", *args]

    def crictl(self, *args, input=b"", check=None, timeout=60):
        r = subprocess.run(self.argv(*args), input=input, capture_output=True, timeout=timeout)
        if check is not None:
            assert r.returncode == check, (r, open(self.log).read())
        return r


@pytest.fixture
def daemon(tare_env, busybox_archive):
    tare_env("load", "-i", busybox_archive)
    d = Daemon(tare_env)
    yield d
    stop_process(d.process)


@pytest.fixture
def cri(pb, daemon):
    c = tool.Cri(pb, daemon.socket)
    yield c
    for p in c.ListPodSandbox().items:
        c.RemovePodSandbox(pod_sandbox_id=p.id)
    c.close()


@pytest.fixture
def pod(cri, pb):
    ns = pb.NamespaceOption(network=pb.POD, pid=pb.CONTAINER)
    return cri.RunPodSandbox(config=tool.pod_config(pb, "p", linux=pb.LinuxPodSandboxConfig(
        security_context=pb.LinuxSandboxSecurityContext(namespace_options=ns)))).pod_sandbox_id


def run(cri, pb, pod, script, name="c", **more):
    c = cri.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, name, cri.ListImages().images[0].id,
                                                                       command=["sh", "-c", script], **more)).container_id
    cri.StartContainer(container_id=c)
    return c


@pytest.fixture
def ctr(cri, pb, pod):
    return run(cri, pb, pod, "sleep 10000")


def wait_for(what, seconds=10):
    end = time.time() + seconds
    while time.time() < end:
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("did not happen in time")


@pytest.fixture(params=["spdy", "websocket"])
def transport(request):
    return request.param


def test_exec(daemon, ctr, transport):
    r = daemon.crictl("exec", "-r", transport, ctr, "sh", "-c", "echo out; echo err >&2", check=0)
    assert (r.stdout, r.stderr) == (b"out\n", b"err\n")
    r = daemon.crictl("exec", "-r", transport, ctr, "sh", "-c", "exit 3")
    assert r.returncode != 0 and re.search(rb"exit code 3|code: 3|exit status 3|non-zero exit code", r.stderr), r
    r = daemon.crictl("exec", "-r", transport, ctr, "no-such-program")
    assert r.returncode != 0 and b"no-such-program" in r.stderr, r


def test_exec_stdin(daemon, ctr, transport):
    data = os.urandom(3 << 20)
    r = daemon.crictl("exec", "-i", "-r", transport, ctr, "cat", input=data, check=0)
    assert r.stdout == data
    # Half-close: the command answers only after the end of its input.
    r = daemon.crictl("exec", "-i", "-r", transport, ctr, "sh", "-c", "cat >/dev/null; echo end", input=b"x", check=0)
    assert r.stdout == b"end\n"


def test_exec_much(daemon, ctr, transport):
    r = daemon.crictl("exec", "-r", transport, ctr, "sh", "-c", "dd if=/dev/zero bs=1M count=50 2>/dev/null", check=0)
    assert len(r.stdout) == 50 << 20


def test_exec_tty(daemon, ctr, transport):
    main, child = os.openpty()
    import fcntl
    import struct
    import termios
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 37, 111, 0, 0))
    p = subprocess.Popen(daemon.argv("exec", "-it", "-r", transport, ctr, "sh"), stdin=child, stdout=child, stderr=child,
                         start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(child)
    time.sleep(1)
    os.write(main, b"tty; stty size; exit 5\n")
    out = b""
    try:
        while True:
            out += os.read(main, 4096)
    except OSError:
        pass
    p.wait(20)
    os.close(main)
    assert b"37 111" in out and b"/dev/pts/" in out, out


def test_attach(daemon, cri, pb, pod, transport):
    c = run(cri, pb, pod, "while read a; do echo got $a; done", name="a", stdin=True, stdin_once=True)
    p = subprocess.Popen(daemon.argv("attach", "-i", "-r", transport, c), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    p.stdin.write(b"one\n")
    p.stdin.flush()
    assert p.stdout.readline() == b"got one\n"
    p.stdin.close()
    assert p.wait(20) == 0
    wait_for(lambda: cri.ContainerStatus(container_id=c).status.state == pb.CONTAINER_EXITED)
    p.stdout.close()


ECHO = """
import socket, sys, threading
s = socket.create_server((sys.argv[1], 8080), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
def serve(c):
    while b := c.recv(65536):
        c.sendall(b)
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


def echo_once(port, data):
    """What comes back of data, with the sending half closed behind it."""
    with socket.create_connection(("127.0.0.1", port)) as c:
        def send():
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
        t = threading.Thread(target=send)
        t.start()
        got = b""
        while len(got) < len(data) and (b := c.recv(65536)):
            got += b
        t.join()
        return got


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_port_forward(daemon, tare_env, cri, pb, pod, transport, address):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    netns = os.path.join(tare_env.run_dir, "pods", pod, "netns")
    server = subprocess.Popen(["nsenter", f"--net={netns}", "/usr/bin/python3", "-c", ECHO, address], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    p = subprocess.Popen(daemon.argv("port-forward", "-r", transport, pod, f"{port}:8080"), stdout=subprocess.PIPE,
                         stderr=open(os.path.join(tare_env.base, "forward.log"), "w"))
    before = daemon.fds()
    try:
        assert b"Forwarding from" in p.stdout.readline()
        for n in (1, 1 << 20):
            data = os.urandom(n)
            assert echo_once(port, data) == data
        # Many at once, over the one connection.
        data, results = os.urandom(10000), []
        threads = [threading.Thread(target=lambda: results.append(echo_once(port, data))) for _ in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert results == [data] * 100
        wait_for(lambda: daemon.fds() <= before + 2)    # its two connections
    finally:
        for q in (p, server):
            q.terminate()
            q.wait()
            q.stdout.close()
    wait_for(lambda: daemon.fds() <= before)


def test_port_forward_refused(daemon, pod, tare_env, transport):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    p = subprocess.Popen(daemon.argv("port-forward", "-r", transport, pod, f"{port}:8080"), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    try:
        assert b"Forwarding from" in p.stdout.readline()
        with socket.create_connection(("127.0.0.1", port)) as c:
            c.settimeout(10)
            try:
                assert c.recv(1) == b""
            except ConnectionResetError:
                pass
        assert b"ECONNREFUSED" in p.stderr.readline() + p.stderr.readline()
    finally:
        p.kill()
        p.wait()
        p.stdout.close()
        p.stderr.close()


def test_client_vanishes(daemon, cri, ctr, transport):
    before = daemon.fds()
    clients = [subprocess.Popen(daemon.argv("exec", "-i", "-r", transport, ctr, "cat"), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE) for _ in range(8)]
    for p in clients:
        p.stdin.write(b"x\n")
        p.stdin.flush()
        assert p.stdout.readline() == b"x\n"
    for p in clients:
        p.kill()
        p.wait()
        p.stdin.close()
        p.stdout.close()
    wait_for(lambda: daemon.fds() <= before)
    wait_for(lambda: b"cat" not in daemon.crictl("exec", "-s", ctr, "ps").stdout.replace(b"cat /", b""))
