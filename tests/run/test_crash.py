"""kill -9 of everything: no container, line of log, exit code or resource is lost, left or doubled."""
import os
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import crashlib  # noqa: E402
from conftest import program  # noqa: E402

pytestmark = pytest.mark.skipif(not os.path.exists(program("tared")), reason="tared is not built")


@pytest.fixture
def tare(workdir, busybox_archive):
    t = crashlib.Crash(workdir)
    t("load", "-i", busybox_archive)
    yield t
    t.clear()


def wait_for(what, seconds=20):
    end = time.time() + seconds
    while not what():
        assert time.time() < end, "did not happen in time"
        time.sleep(0.05)


# ---- random instants -------------------------------------------------------------------------------------------------

@pytest.fixture
def registry(tmp_path, busybox_archive):
    """Debian's docker-registry with busybox in it; a reference."""
    if not shutil.which("docker-registry") or not shutil.which("skopeo"):
        pytest.skip("no docker-registry")
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    conf = tmp_path / "config.yml"
    conf.write_text(f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path}/reg\nhttp:\n  addr: 127.0.0.1:{port}\n")
    p = subprocess.Popen(["docker-registry", "serve", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ref = f"127.0.0.1:{port}/victim/busybox:latest"
    for _ in range(100):
        r = subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"docker-archive:{busybox_archive}", f"docker://{ref}"],
                           capture_output=True, text=True)
        if r.returncode == 0:
            break
        time.sleep(0.1)
    assert r.returncode == 0, r.stderr
    yield ref
    p.kill()
    p.wait()


@pytest.mark.parametrize("name", ["create", "run", "start", "restart", "stop", "rm", "load", "rmi"])
def test_killed_at_random(tare, busybox_archive, name):
    op = next(o for o in crashlib.operations(busybox_archive) if o.name == name)
    crashlib.kill_at_random(tare, op, int(os.environ.get("TARE_CRASH_POINTS", "8")), f"{name}-1")


def test_pull_killed_at_random(tare, busybox_archive, registry):
    tare("rmi", "-f", "busybox")
    op = crashlib.operations(busybox_archive, registry)[-1]
    crashlib.kill_at_random(tare, op, int(os.environ.get("TARE_CRASH_POINTS", "8")), "pull-1")
    assert crashlib.contents(tare) == []
