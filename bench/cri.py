#!/usr/bin/python3
"""cri.py BUILD [ROUNDS]

A pod's life through CRI, host network, by build/tests/tools/cri-client: p50 and p95 of each call; then memory: the daemon idle and with
twenty pods, and the share (PSS) of one monitor. tared and, where it is installed, Debian's containerd, each with folders of its own;
one round of each in turn, so that a drift of the machine meets both alike."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import common

HERE = os.path.dirname(os.path.abspath(__file__))
CONTAINERD = """version = 2
root = "{f}/cd"
state = "{f}/cd-run"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{f}/cd.sock"
[ttrpc]
  address = "{f}/cd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/busybox:latest"
  restrict_oom_score_adj = true
"""
LINE = re.compile(r"^(\S+) +p50 +([\d.]+) ms +p95 +([\d.]+) ms", re.M)


def wait_for(path, seconds=15):
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise SystemExit(f"{path} does not appear")
        time.sleep(0.05)


def rollup(pid, key):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key + ":"))


class Daemon:
    def __init__(self, name, argv, socket, folder):
        self.name, self.socket, self.folder = name, socket, folder
        with open(f"{folder}/{name}.log", "wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        wait_for(socket)
        time.sleep(1)
        self.idle = rollup(self.process.pid, "Rss")
        self.steps = {}

    def bench(self, client, image, count):
        env = dict(os.environ, CRI_CLIENT_HOST_NETWORK="1")
        text = subprocess.run([client, self.socket, "bench", image, str(count)], check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
        for name, p50, p95 in LINE.findall(text):
            self.steps.setdefault(name, []).append((float(p50), float(p95)))

    def close(self):
        self.process.terminate()
        self.process.wait()
        # What a containerd leaves behind after a call that failed: shims, and their mounts.
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if b"containerd-shim" in words[0] and self.socket.encode() in words:
                os.kill(int(pid), signal.SIGKILL)
        with open("/proc/mounts", encoding="utf-8") as f:
            left = [line.split()[1] for line in f]
        for path in reversed([m for m in left if m.startswith(self.folder + "/cd")]):
            subprocess.run(["umount", "-l", path], check=False)


def tared(build, folder, archive):
    tare = [f"{build}/bin/tare", "--root", f"{folder}/root", "--run", f"{folder}/run"]
    subprocess.run(tare + ["load", "-i", archive], check=True, stdout=subprocess.DEVNULL)
    return Daemon("tared", [f"{build}/bin/tared", "--root", f"{folder}/root", "--run", f"{folder}/run", "--log-level", "error", "--listen",
                            f"unix://{folder}/tared.sock"], f"{folder}/tared.sock", folder)


def containerd(folder, archive):
    config = f"{folder}/containerd.toml"
    with open(config, "w", encoding="ascii") as f:
        f.write(CONTAINERD.format(f=folder))
    d = Daemon("containerd", ["containerd", "-c", config], f"{folder}/cd.sock", folder)
    subprocess.run(["ctr", "-a", d.socket, "-n", "k8s.io", "images", "import", archive], check=True, stdout=subprocess.DEVNULL)
    return d


def monitors(build, folder, count=20):
    """Twenty pods, each a sleeping container of its own: the same monitor that serves a CRI pod."""
    tare = [f"{build}/bin/tare", "--root", f"{folder}/root", "--run", f"{folder}/run"]
    ids = [subprocess.run(tare + ["run", "-d", "--network", "none", "busybox", "sleep", "1000"], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip() for _ in range(count)]
    pids = []
    for i in ids:
        with open(f"{folder}/run/pods/{i}/mon.pid", encoding="ascii") as f:
            pids.append(int(f.read().split()[0]))
    pss = sum(rollup(p, "Pss") for p in pids) / len(pids)
    return ids, tare, pss


def report(daemons):
    names = list(daemons[0].steps)
    for d in daemons:
        names += [n for n in d.steps if n not in names]
    rows = []
    for n in names:
        cells = [f"{common.median(d.steps[n], 0):.1f} / {common.median(d.steps[n], 1):.1f}" if n in d.steps else "" for d in daemons]
        rows.append([n] + cells)
    common.table("CRI, host network: ms p50 / p95", [""] + [d.name for d in daemons], rows)


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build")
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    folder = tempfile.mkdtemp(prefix="tare-bench-")
    daemons = []
    try:
        archive = f"{folder}/busybox.tar"
        subprocess.run([sys.executable, os.path.join(HERE, "../tests/tools/mkbusybox.py"), archive, "--name",
                        "docker.io/library/busybox:latest"], check=True)
        daemons.append(tared(build, folder, archive))
        if shutil.which("containerd"):
            daemons.append(containerd(folder, archive))
        for _ in range(rounds):
            for d in list(daemons):
                try:
                    d.bench(f"{build}/tests/tools/cri-client", "docker.io/library/busybox:latest", 10)
                except subprocess.CalledProcessError:
                    if d is daemons[0]:
                        raise
                    print(f"{d.name} is left out: a call failed", file=sys.stderr)
                    daemons.remove(d)
                    d.close()
        report(daemons)
        ids, tare, pss = monitors(build, folder)
        rows = [(d.name + ", idle, RSS", f"{d.idle / 1024:.1f}") for d in daemons]
        rows += [("tared with 20 containers, RSS", f"{rollup(daemons[0].process.pid, 'Rss') / 1024:.1f}"),
                 ("one monitor of 20, PSS", f"{pss / 1024:.2f}")]
        common.table("Memory", ["", "MB"], rows)
        subprocess.run(tare + ["rm", "-f"] + ids, check=True, stdout=subprocess.DEVNULL)
    finally:
        for d in daemons:
            d.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
