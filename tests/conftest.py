"""What every root-level test gets: the programs' paths, folders of its own, and the check that nothing is left behind."""
import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.environ.get("TARE_BIN", os.path.join(REPO, "build", "bin"))


def program(name):
    return os.path.join(BIN, name)


def mounts():
    with open("/proc/self/mountinfo") as f:
        return {line.split()[4] for line in f}


def interfaces():
    return set(os.listdir("/sys/class/net"))


def bridges():
    """tare's own default bridge, and those that the machine's CNI configurations name."""
    found = {"tare0"}
    for path in glob.glob("/etc/cni/net.d/*"):
        with open(path, errors="replace") as f:
            found.update(re.findall(r'"bridge"\s*:\s*"([^"]+)"', f.read()))
    return found


def cgroups():
    """Every cgroup folder that carries our name, in all hierarchies."""
    found = set()
    for top, dirs, _ in os.walk("/sys/fs/cgroup"):
        found.update(os.path.join(top, d) for d in dirs if "tare" in d)
    return found


# Inherited by whatever these tests start, so that another run on the same machine is not taken for a leak of this one.
SESSION = os.environ.setdefault("TARE_TEST_SESSION", f"{os.getpid()}-{time.time_ns()}")


def of_other_session(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            env = f.read()
    except OSError:
        return False
    return b"TARE_TEST_SESSION=" in env and b"TARE_TEST_SESSION=" + SESSION.encode() not in env


def processes():
    """pid -> command line of our programs and of whatever runs in a pid namespace or folder that a test made."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                cmd = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
            with open(f"/proc/{pid}/stat") as f:
                state = f.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z" and ("tare-monitor" in cmd or "tared" in cmd or "tare-oci" in cmd or "tare-test" in cmd):
            if not of_other_session(pid):
                found[int(pid)] = cmd
    return found


def namespaces():
    return set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()


class Snapshot:
    """What the machine holds; leaks() tells what has come since."""

    def __init__(self):
        self.mounts, self.links, self.cgroups = mounts(), interfaces(), cgroups()
        self.processes, self.netns = set(processes()), namespaces()
        self.folders = {d for d in ("/run/tare", "/var/lib/tare", "/run/tare-oci") if os.path.exists(d)}

    def leaks(self):
        now = processes()
        left = [f"process {p}: {now[p]}" for p in set(now) - self.processes]
        left += [f"mount {m}" for m in mounts() - self.mounts]
        # The bridge of a network is shared by all of its pods and stays, as docker0 does.
        left += [f"interface {i}" for i in interfaces() - self.links - bridges()]
        left += [f"cgroup {c}" for c in cgroups() - self.cgroups if os.path.basename(c) != "tare"]
        left += [f"netns {n}" for n in namespaces() - self.netns]
        left += [f"folder {d}" for d in ("/run/tare", "/var/lib/tare", "/run/tare-oci")
                 if d not in self.folders and os.path.exists(d)]
        return sorted(left)


class Tare:
    """tare with a root, run folder and namespace of its own."""

    def __init__(self, base):
        self.base = base
        self.root, self.run_dir = os.path.join(base, "root"), os.path.join(base, "run")
        self.tare, self.monitor = program("tare"), program("tare-monitor")
        self.env = dict(os.environ, TARE_TEST="1")

    def argv(self, *args, prog="tare"):
        return [program(prog), "--root", self.root, "--run", self.run_dir, *args]

    def __call__(self, *args, check=True, input=None, timeout=60, text=True, prog="tare", **kw):
        r = subprocess.run(self.argv(*args, prog=prog), capture_output=True, input=input, text=text, timeout=timeout,
                           env=self.env, **kw)
        if check and r.returncode != 0:
            raise AssertionError(f"tare {' '.join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r

    def popen(self, *args, prog="tare", **kw):
        return subprocess.Popen(self.argv(*args, prog=prog), env=self.env, **kw)

    def clear(self):
        """Removes what a test left on purpose; what is still there afterwards is a leak."""
        if os.path.exists(self.root):
            ids = subprocess.run(self.argv("ps", "-aq", "--no-trunc"), capture_output=True, text=True, timeout=60).stdout.split()
            if ids:
                subprocess.run(self.argv("rm", "-f", *ids), capture_output=True, timeout=120)
            pods = subprocess.run(self.argv("pod", "ls", "-q", "--no-trunc"), capture_output=True, text=True, timeout=60)
            for p in pods.stdout.split():
                subprocess.run(self.argv("pod", "rm", "-f", p), capture_output=True, timeout=120)


@pytest.fixture(scope="session", autouse=True)
def parent_cgroup():
    """The parent of all pods stays when the last one goes, as docker's does; a test run takes it away if it brought it."""
    def parents():
        return set(glob.glob("/sys/fs/cgroup/tare") + glob.glob("/sys/fs/cgroup/*/tare"))
    before = parents()
    yield
    for d in parents() - before:
        try:
            os.rmdir(d)
        except OSError:     # somebody else's pod is in it
            pass


@pytest.fixture
def no_leaks():
    """Fails the test if it leaves a process, mount, interface, cgroup, netns or folder."""
    before = Snapshot()
    yield before
    for _ in range(40):     # what was killed takes a moment to go
        left = before.leaks()
        if not left:
            return
        time.sleep(0.1)
    pytest.fail("left behind:\n  " + "\n  ".join(left))


@pytest.fixture
def workdir(no_leaks):
    d = tempfile.mkdtemp(prefix="tare-test-")
    yield d
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def tare_env(workdir):
    t = Tare(workdir)
    yield t
    t.clear()


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory):
    """A docker archive of a busybox image, made from Debian's static busybox."""
    out = tmp_path_factory.mktemp("image") / "busybox.tar"
    subprocess.run(["/usr/bin/python3", os.path.join(REPO, "tests/tools/mkbusybox.py"), str(out)], check=True)
    return str(out)


def stop_process(p, timeout=10):
    """Ends a process that a test started; SIGKILL after the time-out."""
    if p.poll() is None:
        p.send_signal(signal.SIGTERM)
        try:
            p.wait(timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def pytest_terminal_summary(terminalreporter):
    """Points and instants at which tests have killed a program."""
    tried = sum(value for kind in ("passed", "failed") for rep in terminalreporter.stats.get(kind, ())
                for name, value in getattr(rep, "user_properties", ()) if name == "points")
    if tried:
        terminalreporter.write_line(f"points tried: {tried}")
