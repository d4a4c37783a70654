"""For the tests that kill programs: tare with a network of its own, what it must not leave, and the operations that are killed."""
import glob
import json
import os
import random
import signal
import subprocess
import time

from conftest import Tare


class Crash(Tare):
    """tare with its own CNI bridge, so that leases and interfaces can be counted."""

    def __init__(self, base):
        super().__init__(base)
        self.bridge = f"tflt{os.getpid() % 100000}"
        self.conf_dir, self.ipam, self.config = (os.path.join(base, n) for n in ("net.d", "ipam", "tare.yaml"))
        os.makedirs(self.conf_dir)
        plugins = [{"type": "bridge", "bridge": self.bridge, "isGateway": True,
                    "ipam": {"type": "host-local", "dataDir": self.ipam, "ranges": [[{"subnet": "10.93.77.0/24"}]]}}]
        with open(os.path.join(self.conf_dir, "10-t.conflist"), "w") as f:
            json.dump({"cniVersion": "0.4.0", "name": "t", "plugins": plugins}, f)
        with open(self.config, "w") as f:
            f.write(f"network:\n  cni_conf_dir: {self.conf_dir}\nengine:\n  cgroup_parent: /{self.bridge}\n")

    def argv(self, *args, prog="tare"):
        return super().argv("--config", self.config, *args, prog=prog)

    def clear(self):
        super().clear()
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        for c in glob.glob(f"/sys/fs/cgroup/*/{self.bridge}") + glob.glob(f"/sys/fs/cgroup/{self.bridge}"):
            os.rmdir(c)

    def ids(self):
        return set(self("ps", "-aq", "--no-trunc").stdout.split())

    def pods(self):
        return set(self("pod", "ls", "-q", "--no-trunc").stdout.split())

    def monitors(self):
        """pod id -> pids: the monitor itself, and its children before they become something else"""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    argv = f.read().split(b"\0")
                with open(f"/proc/{pid}/stat") as f:
                    zombie = f.read().rsplit(")", 1)[1].split()[0] == "Z"
            except OSError:
                continue
            if not zombie and argv and argv[0].endswith(b"tare-monitor") and any(a.startswith(self.run_dir.encode() + b"/") for a in argv):
                pod = os.path.basename(next(a for a in argv if a.startswith(self.run_dir.encode() + b"/"))).decode()
                found.setdefault(pod, []).append(int(pid))
        return found

    def kill_monitor(self, pod):
        with open(f"{self.run_dir}/pods/{pod}/mon.pid") as f:
            os.kill(int(f.read().split()[0]), signal.SIGKILL)

    def leases(self):
        top = os.path.join(self.ipam, "t")
        names = os.listdir(top) if os.path.isdir(top) else []
        return {open(os.path.join(top, n)).read().split()[0] for n in names if n[0].isdigit()}


def listdir(path):
    return os.listdir(path) if os.path.isdir(path) else []


def cgroup_ids(t):
    tops = glob.glob(f"/sys/fs/cgroup/*/{t.bridge}") + glob.glob(f"/sys/fs/cgroup/{t.bridge}")
    return {os.path.basename(c)[5:]: c for top in tops for c in glob.glob(top + "/tare-*")}


def strays(t):
    """What bears an id that no list has."""
    known = t.ids() | t.pods()
    found = [os.path.join(d, n) for d in (t.run_dir + "/pods", t.root + "/pods", t.root + "/containers") for n in listdir(d) if n not in known]
    found += [f"lease of {i}" for i in t.leases() if i not in known]
    found += [f"attachment {n}" for n in listdir(t.root + "/cni/cache") if n.split(":")[0] not in known]
    found += [f"monitor of {i}: {p}" for i, p in t.monitors().items() if i not in known]
    found += [f"cgroup {c}" for i, c in cgroup_ids(t).items() if i not in known]
    found += [f"layers/{n}" for n in listdir(t.root + "/layers") if ".tmp-" in n]
    found += [f"trash/{n}" for n in listdir(t.root + "/trash")]
    return found


def settled(t, what, seconds=5):
    """Waits until what() is empty, with a command between two looks; returns what is left."""
    end = time.time() + seconds
    left = what()
    while left and time.time() < end:
        time.sleep(0.1)
        left = what()
    return left


def unfinished(t):
    """Rows of the journal that nobody has finished."""
    import sqlite3
    db = sqlite3.connect(f"file:{t.root}/state.db?mode=ro", uri=True)
    try:
        return db.execute("SELECT kind, object, stage, details FROM operations WHERE finished = 0").fetchall()
    finally:
        db.close()


def contents(t):
    """What the store holds of images."""
    return [f"{d}/{n}" for d in ("blobs/sha256", "ingest", "layers", "trash") for n in listdir(os.path.join(t.root, d))]


# ---- operations that are killed ---------------------------------------------------------------------------------------------

class Op:
    """before() makes the state, argv is what is killed, done(t) tells whether a retry has done its work, after() takes it away."""

    def __init__(self, name, pattern, before=(), done=lambda t: True, after=()):
        self.name, self.pattern, self.before, self.done, self.after = name, pattern, before, done, after
        self.argv = self.retry = pattern


def has(name, state):
    def look(t):
        r = t("ps", "-a", "--filter", "name=victim", "--format", "{{.Names}} {{.State}}")
        return f"{name} {state}" in r.stdout.split("\n")
    return look


def has_image(name):
    return lambda t: name in t("images", "--format", "{{.Repository}}").stdout.split()


NAMES = ["create", "run", "start", "restart", "stop", "rm", "pod-run", "pod-stop", "pod-rm", "create-in", "rm-in", "load", "rmi"]


def in_pod(state):
    return lambda t: state == t("ps", "-a", "--filter", "name=victim", "--format", "{{.State}}").stdout.strip()


def operations(archive, reference=None):
    """network bridge where it is the engine's network that is killed"""
    new = ["--name", "victim", "busybox", "sleep", "1000"]
    create, run = ["create", *new], ["run", "-d", "--network", "none", *new]
    rm = [["rm", "-f", "victim"]]
    pod, pod_rm = [["pod", "run", "p"]], [["pod", "rm", "-f", "@pods"]]
    in_p = ["create", "--pod", "p", *new]
    ops = [
        Op("pod-run", pod[0], done=lambda t: len(t.pods()) == 1 and "Ready" in t("pod", "ls").stdout, after=pod_rm),
        Op("pod-stop", ["pod", "stop", "p"], before=[*pod, in_p], done=lambda t: not t.leases(), after=pod_rm),
        Op("pod-rm", ["pod", "rm", "-f", "p"], before=[*pod, in_p], done=lambda t: not t.pods() and not t.ids()),
        Op("create-in", in_p, before=pod, done=lambda t: len(t.ids()) == 1, after=pod_rm),
        Op("rm-in", ["rm", "-f", "@"], before=[*pod, in_p, ["start", "@"]], done=lambda t: not t.ids(), after=pod_rm),
        Op("create", create, done=has("victim", "created"), after=rm),
        Op("run", ["run", "-d", *new], done=has("victim", "running"), after=rm),
        Op("start", ["start", "victim"], before=[["create", "--network", "none", *new]], done=has("victim", "running"), after=rm),
        Op("restart", ["restart", "-t", "0", "victim"], before=[run], done=has("victim", "running"), after=rm),
        Op("stop", ["stop", "-t", "0", "victim"], before=[run], done=has("victim", "exited"), after=rm),
        Op("rm", ["rm", "-f", "victim"], before=[["run", "-d", *new]], done=lambda t: not t.ids()),
        Op("load", ["load", "-i", archive], before=[["rmi", "-f", "busybox"]], done=has_image("busybox")),
        Op("rmi", ["rmi", "busybox"], done=lambda t: not has_image("busybox")(t) and not contents(t), after=[["load", "-i", archive]]),
    ]
    if reference:
        ops.append(Op("pull", ["pull", reference], done=has_image(reference.rsplit(":", 1)[0]), after=[["rmi", reference]]))
    return ops


def finished_already(op, err):
    """What a retry may answer when the killed one had done it all."""
    text = err.lower()
    return ("in use" in text and op.name in ("create", "run", "pod-run")) or ("no such" in text or "not found" in text or "no container" in text
                                                                    or "no image" in text) and op.name in ("rm", "rmi")


def make(t, op):
    for argv in op.before:
        t(*whole(t, argv))
    op.argv, op.retry = whole(t, op.pattern), whole(t, op.pattern)


def whole(t, argv):
    """@: the id of the one container that there is, whose name is its pod's affair; @pods: of all pods."""
    ids = {"@": lambda: list(t.ids())[:1], "@pods": lambda: list(t.pods())}
    return [w for a in argv for w in (ids[a]() if a in ids else [a])]


def check_after_kill(t, op, where):
    """One command after the kill: nothing stray, the retry does the work, and nothing is in the journal."""
    t("ps", "-a")
    left = settled(t, lambda: strays(t))
    assert not left, f"{op.name} killed {where}: {left}"
    r = t(*op.retry, check=False)
    if r.returncode != 0:
        assert finished_already(op, r.stderr), f"{op.name} killed {where}: the retry fails: {r.stderr}"
        if op.name in ("create", "run") and not op.done(t):
            # Its name is taken by one that the dead caller had made: started, it is what was asked for.
            t("start", "victim")
    assert op.done(t), f"{op.name} killed {where}: not done by the retry"
    for argv in op.after:
        t(*whole(t, argv))
    left = settled(t, lambda: strays(t) + unfinished(t))
    assert not left, f"{op.name} killed {where}, at the end: {left}"


def kill_at_random(t, op, points, seed):
    """Kills op at so many instants of its life; the length of a life is measured first."""
    rng = random.Random(seed)
    lives = []
    for _ in range(2):
        make(t, op)
        start = time.time()
        t(*op.argv)
        lives.append(time.time() - start)
        for argv in op.after:
            t(*whole(t, argv))
    for i in range(points):
        make(t, op)
        after = rng.random() * max(lives)
        p = t.popen(*op.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        time.sleep(after)
        p.send_signal(signal.SIGKILL)
        p.wait()
        check_after_kill(t, op, f"after {after * 1000:.1f} ms (point {i})")
