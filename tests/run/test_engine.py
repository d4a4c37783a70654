"""The engine's promises, driven through tare: joins, restarts, and that being killed anywhere leaves nothing that the next start does not
put right."""
import os
import random
import signal
import subprocess
import time

import pytest


@pytest.fixture
def tare(tare_env, busybox_archive):
    tare_env("load", "-i", busybox_archive)
    return tare_env


def left_in(tare):
    """Folders, leases and cached attachments that bear an id."""
    found = []
    for base in (tare.run_dir + "/pods", tare.root + "/pods", tare.root + "/containers", tare.root + "/cni/cache"):
        found += [os.path.join(base, n) for n in os.listdir(base)]
    return found


@pytest.mark.parametrize("network", ["none", "host"])
def test_killed_anywhere(tare, network):
    rng = random.Random(7)
    for i in range(40):
        p = tare.popen("run", "-d", "--network", network, "busybox", "sleep", "1000", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.random() * 0.06)
        p.send_signal(signal.SIGKILL)
        p.wait()
        if i % 8 == 7:
            ids = tare("ps", "-aq", "--no-trunc").stdout.split()
            if ids:
                tare("rm", "-f", *ids)
            # A monitor that nobody knew yet may need a moment to see that its starter has gone.
            for _ in range(50):
                tare("ps", "-a")
                if not left_in(tare):
                    break
                time.sleep(0.1)
            assert left_in(tare) == []


def test_removed_by_two(tare):
    for _ in range(5):
        cid = tare("run", "-d", "--network", "none", "busybox", "sleep", "1000").stdout.strip()
        ps = [tare.popen("rm", "-f", cid, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
        for p in ps:
            _, err = p.communicate(timeout=30)
            assert p.returncode == 0, err
    assert left_in(tare) == []


def test_monitor_killed(tare):
    """What lives without its monitor is stopped and removed all the same."""
    cid = tare("run", "-d", "--network", "none", "busybox", "sleep", "1000").stdout.strip()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            cmd = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            continue
        if "tare-monitor" in cmd and cid in cmd:
            os.kill(int(pid), signal.SIGKILL)
    tare("rm", "-f", cid)
    assert left_in(tare) == []


def test_name_taken_costs_nothing(tare):
    tare("create", "--name", "one", "--network", "none", "busybox", "true")
    r = tare("create", "--name", "one", "--network", "none", "busybox", "true", check=False)
    assert r.returncode == 125 and "in use" in r.stderr
    assert len(os.listdir(tare.run_dir + "/pods")) == 1


def test_start_again(tare):
    cid = tare("run", "-d", "--network", "none", "busybox", "sh", "-c", "echo x >> /count; cat /count").stdout.strip()
    tare("wait", cid)
    tare("start", cid)
    tare("wait", cid)
    assert tare("logs", cid).stdout.split() == ["x", "x", "x"]


def test_restart_policy(tare):
    cid = tare("run", "-d", "--network", "none", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo x; exit 3").stdout.strip()
    for _ in range(100):
        if tare("logs", cid).stdout.split() == ["x"] * 3:
            break
        time.sleep(0.1)
    time.sleep(0.5)
    assert tare("logs", cid).stdout.split() == ["x"] * 3


def test_init_reaps_and_passes_on(tare_env, busybox_archive):
    tare_env("load", "-i", busybox_archive)
    r = tare_env("run", "--rm", "--init", "--network", "none", "busybox", "sh", "-c",
                 "(sleep 0.2 &); sleep 0.5; ps -o pid,stat,args; exit 5", check=False)
    assert r.returncode == 5
    assert "/sbin/tare-init" in r.stdout.splitlines()[1]
    assert " Z" not in r.stdout        # the orphan was reaped
    r = tare_env("run", "--rm", "--init", "--network", "none", "busybox", "nothing-of-that-name", check=False)
    assert r.returncode == 127
