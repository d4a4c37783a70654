"""tare-oci's systemd cgroup driver, where systemd is process 1 (make test-v2 has such a machine)."""
import json
import os
import shutil
import subprocess
import time

import pytest

from conftest import program
from ocilib import Oci

pytestmark = pytest.mark.skipif(not os.path.exists("/run/systemd/system"), reason="systemd is not process 1 here")
FLAG = ("--systemd-cgroup",)


@pytest.fixture
def oci(workdir):
    o = Oci(workdir)
    yield o
    o.clear()
    # Slices stay when what was in them has gone.
    subprocess.run(["systemctl", "stop", "tare-test.slice", "tare.slice"], capture_output=True, timeout=30)


class Scope:
    """A container in tare-test-NAME.scope of a slice, by create and start so that nothing of it is in the foreground."""

    def __init__(self, oci, slice_="tare-test.slice", edit=None, prefix="tare", args=("sleep", "1000"), annotations=None):
        self.oci, self.id = oci, "s" + os.path.basename(oci.base)[-6:] + str(oci.count)
        self.unit = f"{prefix}-{self.id}.scope"

        def change(c):
            c["linux"]["cgroupsPath"] = f"{slice_}:{prefix}:{self.id}"
            c["annotations"] = annotations or {}
            if edit:
                edit(c)
        self.bundle = oci.bundle(*args, edit=change)
        with open(os.path.join(oci.base, self.id + ".err"), "w+") as err:
            r = subprocess.run([oci.bin, "--root", oci.root, *FLAG, "run", "-d", "--bundle", self.bundle, self.id],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, timeout=60)
            err.seek(0)
            self.code, self.error = r.returncode, err.read()

    def show(self, name):
        return subprocess.run(["systemctl", "show", "-P", name, self.unit], capture_output=True, text=True, check=True).stdout.strip()

    def file(self, name):
        return self.oci.cgroup_file(self.id, name)


def up(*args, **kw):
    s = Scope(*args, **kw)
    assert s.code == 0, s.error
    return s


def gone(s):
    """The scope has ended and is forgotten."""
    for _ in range(50):
        if s.show("LoadState") == "not-found":
            return True
        time.sleep(0.1)
    return False


def test_scope(oci):
    s = up(oci)
    assert s.show("ActiveState") == "active" and s.show("Slice") == "tare-test.slice" and s.show("Delegate") == "yes"
    path = f"/tare.slice/tare-test.slice/{s.unit}"
    assert s.show("ControlGroup") == path
    pid = oci.state(s.id)["pid"]
    with open(f"/proc/{pid}/cgroup") as f:
        assert f.read() == f"0::{path}\n"
    with open(f"/sys/fs/cgroup{path}/cgroup.procs") as f:
        assert f.read().split() == [str(pid)]       # the helper has left
    with open(os.path.join(oci.root, s.id, "state.json")) as f:
        assert f"systemd:tare-test.slice:tare:{s.id}" in f.read()
    assert oci("exec", s.id, "echo", "in").stdout == "in\n"
    assert json.loads(oci("ps", "--format", "json", s.id).stdout) == [pid]
    oci("pause", s.id)
    assert oci.state(s.id)["status"] == "paused"
    oci("resume", s.id)
    oci("delete", "--force", s.id)
    assert gone(s) and not os.path.exists("/sys/fs/cgroup" + path)


def test_the_end_of_the_process_ends_the_scope(oci):
    s = up(oci, args=("sleep", "0.2"))
    oci.wait_status(s.id, "stopped")
    assert gone(s)
    oci("delete", s.id)
    again = up(oci)
    oci("kill", again.id, "KILL")
    oci.wait_status(again.id, "stopped")
    oci("delete", again.id)
    assert gone(again)


def test_in_the_foreground(oci):
    def edit(c):
        c["linux"]["cgroupsPath"] = "tare-test.slice:tare:fg" + os.path.basename(oci.base)[-6:]
    r = oci("run", "--bundle", oci.bundle("sh", "-c", "cat /proc/self/cgroup; exit 9", edit=edit), "fg", check=False, glob_args=FLAG)
    assert (r.returncode, r.stdout) == (9, "0::/\n")
    assert oci("list", "-q").stdout == ""


def test_default_names(oci):
    def edit(c):
        del c["linux"]["cgroupsPath"]
    oci("create", "--bundle", oci.bundle("true", edit=edit), "tare-test-default", glob_args=FLAG, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    with open(f"/proc/{oci.state('tare-test-default')['pid']}/cgroup") as f:
        assert f.read() == "0::/system.slice/tare-tare-test-default.scope\n"
    oci("delete", "--force", "tare-test-default")


def test_limits_are_properties_and_files(oci):
    def edit(c):
        c["linux"]["resources"].update(memory={"limit": 64 << 20, "reservation": 16 << 20}, pids={"limit": 33},
                                       cpu={"shares": 512, "quota": 12000, "period": 30000}, unified={"memory.high": str(48 << 20)})
    s = up(oci, edit=edit)
    want = {"MemoryMax": str(64 << 20), "MemoryLow": str(16 << 20), "MemoryHigh": str(48 << 20), "TasksMax": "33",
            "CPUWeight": s.file("cpu.weight"), "CPUQuotaPeriodUSec": "30ms"}
    assert {k: s.show(k) for k in want} == want
    files = {"memory.max": str(64 << 20), "memory.low": str(16 << 20), "memory.high": str(48 << 20), "pids.max": "33",
             "cpu.max": "12000 30000"}
    assert {k: s.file(k) for k in files} == files
    # systemd writes what it believes: nothing changes
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "set-property", "--runtime", s.unit, "IOWeight=77"], check=True)
    time.sleep(0.3)
    assert {k: s.file(k) for k in files} == files


def test_update_tells_systemd(oci):
    s = up(oci, edit=lambda c: c["linux"]["resources"].update(pids={"limit": 33}))
    oci("update", "--pids-limit", "44", "--memory", "50m", "--cpu-quota", "20000", "--cpu-period", "50000", s.id)
    for _ in range(2):
        assert s.file("pids.max") == "44" and s.file("memory.max") == str(50 << 20) and s.file("cpu.max") == "20000 50000"
        assert s.show("TasksMax") == "44" and s.show("MemoryMax") == str(50 << 20)
        subprocess.run(["systemctl", "daemon-reload"], check=True)
    oci("update", "--pids-limit", "-1", s.id)
    assert s.file("pids.max") == "max" and s.show("TasksMax") == "infinity"


def test_properties_by_annotation(oci):
    s = up(oci, annotations={
        "org.systemd.property.Description": "'of mine'", "org.systemd.property.TimeoutStopSec": "7",
        "org.systemd.property.MemoryMax": "uint64 67108864", "org.systemd.property.CPUAccounting": "true",
        "org.systemd.property.After": "['dbus.service', 'basic.target']"})
    assert s.show("Description") == "of mine" and s.show("TimeoutStopUSec") == "7s" and s.show("MemoryMax") == "67108864"
    assert s.show("CPUAccounting") == "yes" and "dbus.service" in s.show("After").split()


@pytest.mark.parametrize("key, value, why", [
    ("Description", "nonsense", "property Description"), ("NoSuchThing", "5", "NoSuchThing"), ("bad name", "5", "names no systemd property"),
    ("TimeoutStopSec", "'x'", "is no number of seconds"), ("MemoryMax", "uint64 -5", "property MemoryMax")])
def test_bad_properties(oci, key, value, why):
    s = Scope(oci, annotations={"org.systemd.property." + key: value})
    assert s.code == 1 and why in s.error and len(s.error.splitlines()) == 1
    assert oci("list", "-q").stdout == "" and gone(s)


@pytest.mark.parametrize("path", ["/a/b", "a:b", "x.slice:a:b:c", "x.slice:a:", "x:a:b", "../x.slice:a:b", "x.slice:a/b:c", "x--y.slice:a:b"])
def test_bad_paths(oci, path):
    s = Scope(oci, edit=lambda c: c["linux"].update(cgroupsPath=path))
    assert s.code == 1 and "linux.cgroupsPath" in s.error and len(s.error.splitlines()) == 1
    assert oci("list", "-q").stdout == ""


def test_name_taken(oci):
    s = up(oci)
    other = Scope(oci, edit=lambda c: c["linux"].update(cgroupsPath=f"tare-test.slice:tare:{s.id}"))
    assert other.code == 1 and f"unit {s.unit} exists already" in other.error
    assert oci.state(s.id)["status"] == "running" and s.show("ActiveState") == "active"


def test_oom_kill_leaves_no_failed_unit(oci):
    s = up(oci, args=("sh", "-c", "sleep 0.3; head -c 100m /dev/zero | tail"), edit=lambda c: c["linux"]["resources"].update(
        memory={"limit": 8 << 20}))
    oci("kill", s.id, "KILL", check=False)
    oci.wait_status(s.id, "stopped")
    oci("delete", s.id)
    assert gone(s)


def test_failed_start_leaves_nothing(oci):
    s = Scope(oci, args=("/no/such/program",))
    assert s.code == 1 and gone(s)
    assert oci("list", "-q").stdout == ""


def test_half_made_by_kill(oci):
    """A create that is killed at any time: delete --force clears up."""
    for delay in (0.005, 0.02, 0.04, 0.08, 0.15):
        cid = f"k{int(delay * 1000)}" + os.path.basename(oci.base)[-6:]
        b = oci.bundle("sleep", "1000", edit=lambda c: c["linux"].update(cgroupsPath=f"tare-test.slice:tare:{cid}"))
        p = subprocess.Popen([oci.bin, "--root", oci.root, *FLAG, "create", "--bundle", b, cid], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        p.kill()
        p.wait()
        oci("delete", "--force", cid, check=False)
        path = f"/sys/fs/cgroup/tare.slice/tare-test.slice/tare-{cid}.scope"
        end = time.monotonic() + 5
        while os.path.exists(path) and time.monotonic() < end:
            oci.reap()
            time.sleep(0.05)
        assert not os.path.exists(path)


def test_helper_in_libexec(oci, workdir):
    """/usr/bin without the helper, /usr/libexec/tare with it; also after tare-oci has executed itself again."""
    for d in ("bin", "libexec/tare"):
        os.makedirs(os.path.join(workdir, "usr", d))
    oci.bin = shutil.copy(program("tare-oci"), os.path.join(workdir, "usr/bin"))
    s = Scope(oci)
    assert s.code == 1 and "tare-systemd-helper" in s.error
    shutil.copy(program("tare-systemd-helper"), os.path.join(workdir, "usr/libexec/tare"))
    s = up(oci)
    assert s.show("ActiveState") == "active"
