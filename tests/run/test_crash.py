"""kill -9 of everything: no container, line of log, exit code or resource is lost, left or doubled."""
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
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


POINTS = int(os.environ.get("TARE_CRASH_POINTS", "6"))   # instants of each operation


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


@pytest.mark.parametrize("name", crashlib.NAMES)
def test_killed_at_random(tare, busybox_archive, record_property, name):
    record_property("points", POINTS)
    op = next(o for o in crashlib.operations(busybox_archive) if o.name == name)
    crashlib.kill_at_random(tare, op, POINTS, f"{name}-1")


def test_pull_killed_at_random(tare, busybox_archive, registry, record_property):
    record_property("points", POINTS)
    tare("rmi", "-f", "busybox")
    op = crashlib.operations(busybox_archive, registry)[-1]
    crashlib.kill_at_random(tare, op, POINTS, "pull-1")
    assert crashlib.contents(tare) == []


# ---- ten containers, and everybody killed -------------------------------------------------------------------------------

# Bursts of numbered lines; LAST is a line of its own, so that a whole log can be told from one that was cut off.
LOGGER = "i=0; while [ $i -lt %d ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); [ $((i %% 20)) -eq 0 ] && sleep 0.05; done; echo LAST; exit %d"
FOREVER = LOGGER.replace("[ $i -lt %d ]", ":").replace("%%", "%").split("; echo LAST")[0]


def check_lines(lines, whole):
    """Numbers without a gap or a double, per stream; whole: to the end."""
    words = [w for w in lines if w != "LAST"]
    assert whole == ("LAST" in lines), lines[-3:]
    evens, odds = [int(w) for w in words if int(w) % 2 == 0], [int(w) for w in words if int(w) % 2 == 1]
    assert evens == list(range(0, 2 * len(evens), 2)), "standard output has a gap or a double"
    assert odds == list(range(1, 2 * len(odds) + 1, 2)), "standard error has a gap or a double"
    assert len(evens) - len(odds) in (0, 1)
    return len(words)


def cri_lines(path):
    """Texts of a CRI log; every line is whole."""
    with open(path) as f:
        text = f.read()
    assert text.endswith("\n") or text == ""
    parts = [line.split(" ", 3) for line in text.splitlines()]
    assert all(len(p) == 4 and p[2] == "F" for p in parts)
    return [p[3] for p in parts]


class Daemon:
    def __init__(self, t, pb):
        self.t, self.pb, self.socket, self.log = t, pb, os.path.join(t.base, "cri.sock"), os.path.join(t.base, "tared.log")
        self.cri = None
        self.start()

    def start(self):
        import cri as tool
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.process = self.t.popen("--listen", f"unix://{self.socket}", prog="tared", stderr=open(self.log, "a"))
        wait_for(lambda: os.path.exists(self.socket) or self.process.poll() is not None)
        assert self.process.poll() is None, open(self.log).read()
        self.cri = tool.Cri(self.pb, self.socket)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.cri.close()


@pytest.fixture
def daemon(tare, tmp_path):
    tool = pytest.importorskip("cri")
    d = Daemon(tare, tool.generate(tmp_path))
    yield d
    if d.process.poll() is None:
        d.kill()


def pod(d, name, logs):
    import cri as tool
    return d.cri.RunPodSandbox(config=tool.pod_config(d.pb, name, log_directory=logs)).pod_sandbox_id


def ctr(d, p, name, image, script):
    import cri as tool
    c = d.cri.CreateContainer(pod_sandbox_id=p, config=tool.ctr_config(d.pb, name, image, command=["sh", "-c", script],
                                                                       log_path=f"{name}.log")).container_id
    d.cri.StartContainer(container_id=c)
    return c


def busy(d, c, p, stop):
    """Calls that are under way when the daemon is killed."""
    while not stop.is_set():
        for call in (lambda: d.cri.ExecSync(container_id=c, cmd=["echo", "x"], timeout=5), lambda: d.cri.ListContainers(),
                     lambda: d.cri.ContainerStatus(container_id=c), lambda: d.cri.ReopenContainerLog(container_id=c)):
            try:
                call()
            except Exception:  # noqa: BLE001 - the daemon is being killed
                if stop.wait(0.01):
                    return


def test_daemon_killed_with_ten_containers(tare, daemon):
    logs = os.path.join(tare.base, "logs")
    os.makedirs(logs)
    image = daemon.cri.ListImages().images[0].id
    pods = [pod(daemon, f"p{i}", logs) for i in range(2)]
    codes, ids = {}, {}
    for i in range(10):
        name = f"c{i}"
        ends = i % 2 == 0
        ids[name] = ctr(daemon, pods[i % 2], name, image, LOGGER % (400, i + 1) if ends else FOREVER)
        if ends:
            codes[name] = i + 1
    stop = threading.Event()
    threads = [threading.Thread(target=busy, args=(daemon, ids["c1"], pods[1], stop)) for _ in range(2)]
    for th in threads:
        th.start()
    rng = random.Random(3)
    for i in range(4):
        time.sleep(rng.random() * 0.3)
        daemon.kill()
        time.sleep(0.3)
        daemon.start()
    stop.set()
    for th in threads:
        th.join()
    cri, pb = daemon.cri, daemon.pb
    assert {c.id for c in cri.ListContainers().containers} == set(ids.values())
    wait_for(lambda: all(cri.ContainerStatus(container_id=ids[n]).status.state == pb.CONTAINER_EXITED for n in codes), 60)
    for n, c in ids.items():
        s = cri.ContainerStatus(container_id=c).status
        if n in codes:
            assert (s.state, s.exit_code) == (pb.CONTAINER_EXITED, codes[n]) and s.finished_at > s.started_at
            assert check_lines(cri_lines(f"{logs}/{n}.log"), True) == 400
        else:
            assert s.state == pb.CONTAINER_RUNNING
            assert cri.ExecSync(container_id=c, cmd=["echo", "here"]).stdout == b"here\n"
    for n in set(ids) - set(codes):
        cri.StopContainer(container_id=ids[n], timeout=0)
        assert check_lines(cri_lines(f"{logs}/{n}.log"), False) > 50
    assert set(ids.values()) == tare.ids() and len(tare.leases()) == 2
    # Killed again while it takes everything away.
    for p in pods:
        th = threading.Thread(target=lambda x=p: daemon.cri.fails("RemovePodSandbox", pod_sandbox_id=x))
        th.start()
        time.sleep(rng.random() * 0.05)
        daemon.kill()
        th.join()
        daemon.start()
    for p in pods:
        daemon.cri.StopPodSandbox(pod_sandbox_id=p)
        daemon.cri.RemovePodSandbox(pod_sandbox_id=p)
    assert len(daemon.cri.ListContainers().containers) == 0
    left = crashlib.settled(tare, lambda: crashlib.strays(tare) + crashlib.unfinished(tare) + sorted(tare.leases()) +
                            [str(x) for x in tare.monitors().items()] + list(crashlib.cgroup_ids(tare).values()))
    assert left == []


def test_clients_killed_with_ten_containers(tare):
    """tare run in the foreground, tare logs -f and tare exec are killed: the containers and their logs do not notice."""
    codes = {f"c{i}": i + 10 if i % 2 else None for i in range(10)}
    clients = [tare.popen("run", "--network", "none", "--name", n, "busybox", "sh", "-c", FOREVER if code is None else LOGGER % (300, code),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for n, code in codes.items()]
    wait_for(lambda: len(tare("ps", "-q").stdout.split()) == 10)
    clients += [tare.popen("logs", "-f", "c0", stdout=subprocess.DEVNULL), tare.popen("exec", "c2", "sleep", "1000", stdout=subprocess.DEVNULL)]
    time.sleep(0.3)
    for p in clients:
        p.send_signal(signal.SIGKILL)
        p.wait()
    assert len(tare.ids()) == 10
    for n, code in codes.items():
        if code is not None:
            assert tare("wait", n).stdout == f"{code}\n"
            r = tare("logs", n)
            assert check_lines((r.stdout + r.stderr).split(), True) == 300
        else:
            assert tare("exec", n, "echo", "here").stdout == "here\n"
    for n, code in codes.items():
        if code is None:
            tare("stop", "-t", "0", n)
            r = tare("logs", n)
            check_lines((r.stdout + r.stderr).split(), False)
    tare("rm", "-f", *codes)
    assert crashlib.settled(tare, lambda: crashlib.strays(tare) + crashlib.unfinished(tare) + list(tare.monitors().items())) == []


# ---- the monitor, and a reboot ---------------------------------------------------------------------------------------

def test_monitor_killed_is_told(tare):
    cid = tare("run", "-d", "--name", "m", "busybox", "sleep", "1000").stdout.strip()
    tare.kill_monitor(cid)
    wait_for(lambda: not tare.monitors())
    state = tare("inspect", "--format", "{{.State.Status}} {{.State.Pid}}", "m").stdout.split()
    assert state[0] == "running" and os.path.exists(f"/proc/{state[1]}")
    tare("stop", "-t", "0", "m")
    assert tare("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "m").stdout == "exited 255\n"
    tare("start", "m")
    assert tare("exec", "m", "echo", "again").stdout == "again\n"
    tare("rm", "-f", "m")
    assert crashlib.settled(tare, lambda: crashlib.strays(tare) + sorted(tare.leases())) == []


def test_reboot(tare):
    """The processes, mounts and files that a reboot takes away are taken away; the state stays."""
    ids = [tare("run", "-d", "--name", f"r{i}", "busybox", "sh", "-c", "echo x >>/kept; sleep 1000").stdout.strip() for i in range(2)]
    tare("create", "--network", "none", "--name", "new", "busybox", "true")
    pids = [p for v in tare.monitors().values() for p in v]
    pids += [int(tare("inspect", "--format", "{{.State.Pid}}", i).stdout) for i in ids]
    for pod_id in tare.monitors():
        tare.kill_monitor(pod_id)
    for p in pids:
        try:
            os.kill(p, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for cid in os.listdir(tare.run_dir + "/pods"):
        subprocess.run(["umount", "-l", f"{tare.run_dir}/pods/{cid}/netns"], check=True)
    wait_for(lambda: not tare.monitors())
    wait_for(lambda: not any(os.path.exists(f"/proc/{p}") and open(f"/proc/{p}/stat").read().split()[2] != "Z" for p in pids))
    shutil.rmtree(tare.run_dir)
    for c in crashlib.cgroup_ids(tare).values():
        for top, _, _ in os.walk(c, topdown=False):
            os.rmdir(top)
    import sqlite3
    db = sqlite3.connect(tare.root + "/state.db")
    with db:
        db.execute("UPDATE pods SET status = json_set(status, '$.boot_id', '00000000-0000-0000-0000-000000000000')")
    db.close()
    lines = sorted(tare("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.split("\n"))
    assert lines == ["", "new created", "r0 exited", "r1 exited"]
    tare("start", "r0", "new")
    assert tare("exec", "r0", "cat", "/kept").stdout == "x\nx\n"
    assert tare("wait", "new").stdout == "0\n"
    tare("rm", "-f", "r0", "r1", "new")
    assert crashlib.settled(tare, lambda: crashlib.strays(tare) + crashlib.unfinished(tare) + sorted(tare.leases())) == []
