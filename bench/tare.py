#!/usr/bin/python3
"""tare.py BUILD [ROUNDS]

`tare run --rm --network none busybox true` and `tare exec`, interleaved with podman's (over runc) where that is there: wall clock, CPU of
the command itself and of what it waited for, and system calls of everything that it starts (strace -f). One image, made here."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import common

HERE = os.path.dirname(os.path.abspath(__file__))
CONF = """[containers]
default_ulimits=["nofile=1024:1024","nproc=1024:1024"]
[engine]
cgroup_manager="cgroupfs"
"""


def output(argv, env=None):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout.strip()


class Tool:
    def __init__(self, name, argv, image, folder, env=None):
        self.name, self.argv, self.image, self.env = name, argv, image, env
        self.trace = os.path.join(folder, f"{name}.strace")
        self.ctr = output(argv + ["run", "-d", "--network", "none", image, "sleep", "1000"], env)

    def commands(self):
        return {"run": self.argv + ["run", "--rm", "--network", "none", self.image, "true"],
                "exec": self.argv + ["exec", self.ctr, "true"]}

    def calls(self, argv):
        if not shutil.which("strace"):
            return ""
        subprocess.run(["strace", "-f", "-c", "-o", self.trace] + argv, check=True, env=self.env, stdout=subprocess.DEVNULL)
        with open(self.trace, encoding="ascii") as f:
            return next((line.split()[3] for line in f if line.rstrip().endswith("total")), "")

    def close(self):
        subprocess.run(self.argv + ["rm", "-f", self.ctr], check=False, env=self.env, stdout=subprocess.DEVNULL)


def tools(build, folder):
    archive = os.path.join(folder, "busybox.tar")
    subprocess.run([sys.executable, os.path.join(HERE, "../tests/tools/mkbusybox.py"), archive], check=True)
    tare = [os.path.join(build, "bin/tare"), "--root", f"{folder}/root", "--run", f"{folder}/run"]
    output(tare + ["load", "-i", archive])
    yield Tool("tare", tare, "busybox", folder)
    if shutil.which("podman"):
        conf = os.path.join(folder, "containers.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(CONF)
        env = dict(os.environ, CONTAINERS_CONF=conf)
        podman = ["podman", "--root", f"{folder}/podman", "--runroot", f"{folder}/podman-run", "--runtime", "runc"]
        output(podman + ["load", "-q", "-i", archive], env)
        yield Tool("podman", podman, "busybox", folder, env)


def measure(all_tools, what, rounds):
    subjects = {t.name: (lambda t=t: common.once(t.commands()[what], t.env)) for t in all_tools}
    rows = common.interleave(subjects, rounds, 0.05)
    base = rows["tare"]
    common.table(f"{what} of true in a busybox container, no network, {rounds} rounds",
                 ["", "wall ms, median", "min", "x tare", "CPU ms of the command", "system calls of all processes"],
                 [(t.name, f"{common.median(rows[t.name], 0):.1f}", f"{min(r[0] for r in rows[t.name]):.1f}",
                   f"{common.ratio(rows[t.name], base, 0):.1f}", f"{common.median(rows[t.name], 1):.1f}", t.calls(t.commands()[what]))
                  for t in all_tools])


def start_up(build, rounds):
    rows = [common.once([os.path.join(build, "bin/tare"), "version"]) for _ in range(rounds)]
    common.table("tare version", ["wall ms, median", "min", "CPU ms", "page faults"],
                 [(f"{common.median(rows, 0):.1f}", f"{min(r[0] for r in rows):.1f}", f"{common.median(rows, 1):.1f}",
                   f"{common.median(rows, 2):.0f}")])


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build")
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    folder = tempfile.mkdtemp(prefix="tare-bench-")
    made = []
    try:
        for t in tools(build, folder):
            made.append(t)
        start_up(build, rounds)
        for what in ("run", "exec"):
            measure(made, what, rounds)
    finally:
        for t in made:
            t.close()
        time.sleep(0.5)
        for sub in ("podman/overlay", "podman-run"):
            subprocess.run(["umount", "-q", f"{folder}/{sub}"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
