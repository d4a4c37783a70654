"""tare and tared as units of systemd, where that is process 1 (make test-v2 has such a machine)."""
import os
import socket
import subprocess
import time

import pytest

from conftest import BIN, program

NOTIFY = os.path.join(os.path.dirname(BIN), "tests/tools/notify-ready")
pytestmark = [
    pytest.mark.skipif(not os.path.exists("/run/systemd/system"), reason="systemd is not process 1 here"),
    pytest.mark.skipif(not os.path.exists(program("tare")), reason="tare is not built"),
]


def systemctl(*args, check=True, timeout=60):
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=check, timeout=timeout)


def show(unit, name):
    return systemctl("show", "-P", name, unit).stdout.strip()


def journal(name):
    return subprocess.run(["journalctl", "-n", "30", "--no-pager", "-u", name], capture_output=True, text=True).stdout


class Units:
    def __init__(self):
        self.names = []

    def add(self, name, text):
        with open("/run/systemd/system/" + name, "w") as f:
            f.write(text)
        self.names.insert(0, name)
        systemctl("daemon-reload")

    def start(self, name):
        r = systemctl("start", name, check=False)
        if r.returncode != 0:
            raise AssertionError(r.stderr + journal(name))

    def clear(self):
        for name in sorted(self.names, key=lambda n: n.endswith(".service")):
            systemctl("stop", name, check=False)
        for name in self.names:
            systemctl("reset-failed", name, check=False)
            os.unlink("/run/systemd/system/" + name)
        systemctl("daemon-reload")


@pytest.fixture
def units(no_leaks):
    u = Units()
    yield u
    u.clear()


@pytest.fixture
def tare(tare_env, units, busybox_archive):
    tare_env("load", "-i", busybox_archive)
    yield tare_env
    for name in units.names:
        systemctl("stop", name, check=False)


def processes_below(cgroup):
    """comm -> cgroup, of all processes in it and below it"""
    found = {}
    for top, _, _ in os.walk("/sys/fs/cgroup" + cgroup):
        with open(os.path.join(top, "cgroup.procs")) as f:
            for pid in f.read().split():
                with open(f"/proc/{pid}/comm") as g:
                    found[g.read().strip()] = top[len("/sys/fs/cgroup"):]
    return found


def service(tare, *args, more=""):
    command = " ".join(tare.argv("run", "--rm", "--network", "none", *args))
    return f"[Service]\nType=notify\nNotifyAccess=all\nDelegate=yes\nTimeoutStartSec=40\nTimeoutStopSec=20\n{more}ExecStart={command}\n"


def test_container_tells_that_it_is_ready(tare, units):
    units.add("tare-test-n.service", service(tare, "--memory", "64m", "--pids-limit", "20", "-v", f"{NOTIFY}:/notify-ready:ro",
                                             "--name", "told", "busybox", "/notify-ready"))
    units.start("tare-test-n.service")
    assert show("tare-test-n.service", "StatusText") == "from inside"
    assert show("tare-test-n.service", "ActiveState") == "active"
    unit = show("tare-test-n.service", "ControlGroup")
    assert unit == "/system.slice/tare-test-n.service"
    inside = processes_below(unit)
    assert {"tare", "tare-monitor", "notify-ready"} <= set(inside)
    assert inside["tare"] == unit + "/supervisor" and inside["notify-ready"].startswith(unit + "/tare-")
    for name, value in (("memory.max", str(64 << 20)), ("pids.max", "20")):
        with open(f"/sys/fs/cgroup{inside['notify-ready']}/{name}") as f:
            assert f.read().strip() == value
    assert "told" in tare("ps").stdout
    systemctl("stop", "tare-test-n.service")
    assert not os.path.exists("/sys/fs/cgroup" + unit)
    assert show("tare-test-n.service", "Result") == "success"


def test_the_containers_end_is_the_units(tare, units):
    units.add("tare-test-e.service", service(tare, "busybox", "sh", "-c", "\"exit 7\"").replace("Type=notify", "Type=oneshot"))
    assert systemctl("start", "tare-test-e.service", check=False).returncode == 1
    assert show("tare-test-e.service", "ExecMainStatus") == "7"
    assert tare("ps", "-aq").stdout == ""


def settings_frame(path):
    """What an HTTP/2 server says first, if it serves."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(path)
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        return s.recv(9)


@pytest.mark.skipif(not os.path.exists(program("tared")), reason="tared is not built")
def test_tared_by_its_socket(units, workdir):
    path = os.path.join(workdir, "cri.sock")
    open(os.path.join(workdir, "none.yaml"), "w").close()
    units.add("tare-test-d.socket", f"[Socket]\nListenStream={path}\n")
    units.add("tare-test-d.service", "[Service]\nType=notify\nKillMode=process\nDelegate=yes\nWatchdogSec=20\n"
              f"ExecStart={program('tared')} --root {workdir}/root --run {workdir}/run --config {workdir}/none.yaml\n")
    units.start("tare-test-d.socket")
    assert show("tare-test-d.service", "ActiveState") == "inactive"
    try:
        assert settings_frame(path)[3] == 4
    except OSError as e:
        raise AssertionError(journal("tare-test-d.service")) from e
    assert show("tare-test-d.service", "ActiveState") == "active"
    first = show("tare-test-d.service", "MainPID")
    # a kill and a restart: the socket is systemd's, so a caller only waits
    os.kill(int(first), 9)
    for _ in range(100):
        if show("tare-test-d.service", "ActiveState") != "active":
            break
        time.sleep(0.1)
    assert settings_frame(path)[3] == 4
    assert show("tare-test-d.service", "MainPID") != first and show("tare-test-d.service", "ActiveState") == "active"
    systemctl("stop", "tare-test-d.service", check=False)
    assert show("tare-test-d.service", "Result") == "success"
