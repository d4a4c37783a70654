#!/usr/bin/python3
"""tare-oci against its floor, Debian's crun and runc (and others by RUNTIMES=name=path,…): run and exec of /bin/true with a
Kubernetes-like configuration and the default seccomp profile.

usage: oci.py BUILD [ROUNDS]
All of them run in a mount namespace without the unified cgroup tree, which crun does not take in hybrid mode.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common  # noqa: E402


def enter_namespace():
    if os.environ.get("TARE_BENCH_NS") or not os.path.ismount("/sys/fs/cgroup/unified"):
        return
    os.environ["TARE_BENCH_NS"] = "1"
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", "sh", "-c",
                          'umount /sys/fs/cgroup/unified; exec "$@"', "sh", sys.executable, *sys.argv])


def bundle(path, profile, args):
    os.makedirs(f"{path}/rootfs")
    for d in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        os.mkdir(f"{path}/rootfs/{d}")
    shutil.copy("/bin/busybox", f"{path}/rootfs/bin/busybox")
    for a in ("true", "sleep", "sh"):
        os.link(f"{path}/rootfs/bin/busybox", f"{path}/rootfs/bin/{a}")
    caps = ["CAP_" + c for c in "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
            "SYS_CHROOT KILL AUDIT_WRITE".split()]
    m = lambda d, t, s, *o: {"destination": d, "type": t, "source": s, "options": list(o)}  # noqa: E731
    config = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "env": ["PATH=/bin", "HOME=/root"],
                    "capabilities": {k: caps for k in ("bounding", "effective", "permitted")}, "noNewPrivileges": True,
                    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]},
        "root": {"path": "rootfs"}, "hostname": "bench",
        "mounts": [m("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
                   m("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
                   m("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
                   m("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
                   m("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
                   m("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")],
        "linux": {
            "cgroupsPath": "/tare-bench/" + os.path.basename(path),
            "namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network", "cgroup")],
            "resources": {"cpu": {"shares": 512, "quota": 50000, "period": 100000}, "memory": {"limit": 134217728},
                          "pids": {"limit": 100}, "devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                            "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": profile},
    }
    with open(f"{path}/config.json", "w") as f:
        json.dump(config, f)


def count_syscalls(argv):
    r = subprocess.run(["strace", "-fcq", "-o", "/dev/stdout", *argv], capture_output=True, text=True)
    for line in r.stdout.splitlines():
        if line.endswith("total"):
            return line.split()[3] if not line.split()[2].count(".") else line.split()[-3]
    return "?"


def main():
    enter_namespace()
    build, rounds = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30
    subprocess.run(["ninja", "-C", build, "bench/floor-run", "bench/measure", "bench/profile"], check=True, stdout=subprocess.DEVNULL)
    profile = json.loads(subprocess.run([f"{build}/bench/profile"], capture_output=True, check=True).stdout)
    runtimes = {"tare-oci": f"{build}/bin/tare-oci"}
    for name in ("crun", "runc"):
        if shutil.which(name):
            runtimes[name] = shutil.which(name)
    for pair in filter(None, os.environ.get("RUNTIMES", "").split(",")):
        name, path = pair.split("=", 1)
        runtimes[name] = path
    tmp = tempfile.mkdtemp(prefix="tare-bench-")
    # The runtimes' states lie on a tmpfs, as /run is one: on ext4 making and removing their files costs more than their work.
    states = tempfile.mkdtemp(prefix="tare-bench-", dir="/dev/shm" if os.path.ismount("/dev/shm") else None)
    os.symlink(states, f"{tmp}/root")
    try:
        bundle(f"{tmp}/run", profile, ["true"])
        bundle(f"{tmp}/exec", profile, ["sleep", "1000"])
        n = [0]

        def run(path):
            n[0] += 1
            return [path, "--root", f"{tmp}/root/{os.path.basename(path)}", "run", "--bundle", f"{tmp}/run", f"bench{n[0]}"]

        filters = f"{tmp}/root/tare-oci/.seccomp"
        subprocess.run(run(runtimes["tare-oci"]), check=True)
        floor = [f"{build}/bench/floor-run", f"{tmp}/run/rootfs", "tare-bench-floor", filter_of(tmp)]
        for gap, title in ((0, "back to back"), (0.1, "with gaps of 100 ms")):
            subjects = {"floor": lambda: common.once(floor)}
            for name, path in runtimes.items():
                subjects[name] = lambda path=path: common.once(run(path))
            res = common.interleave(subjects, rounds, gap)
            rows = []
            for name in subjects:
                r, f = res[name], res["floor"]
                calls = count_syscalls(floor if name == "floor" else run(runtimes[name])) if gap == 0 else ""
                rows.append([name, f"{common.median(r, 0):.1f}", f"{common.ratio(r, f, 0):.2f}", f"{common.median(r, 1):.1f}",
                             f"{common.ratio(r, f, 1):.2f}", int(common.median(r, 2)), f"{common.median(r, 3) / 1024:.1f}", calls])
            common.table(f"run of /bin/true, {title}", ["", "wall ms", "x floor", "CPU ms", "x floor", "page faults", "peak RSS MB", "syscalls"], rows)
        exec_bench(tmp, runtimes, build, rounds)
        del filters
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
        shutil.rmtree(states, ignore_errors=True)


def filter_of(tmp):
    """The instructions that tare-oci compiled, without the head of its cache file."""
    for top, _, files in os.walk(f"{tmp}/root/tare-oci"):
        for f in files:
            if f.endswith(".bpf"):
                data = open(os.path.join(top, f), "rb").read()
                text_len, n = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:16], "little")
                start = len(data) - n * 8
                out = f"{tmp}/filter"
                with open(out, "wb") as o:
                    o.write(data[start:])
                del text_len
                return out
    return "-"


def exec_bench(tmp, runtimes, build, rounds):
    subjects, pids = {}, {}
    for name, path in runtimes.items():
        root = f"{tmp}/root/{os.path.basename(path)}-exec"
        config = json.load(open(f"{tmp}/exec/config.json"))
        config["linux"]["cgroupsPath"] = f"/tare-bench/exec-{name}"
        json.dump(config, open(f"{tmp}/exec/config.json", "w"))
        subprocess.run([path, "--root", root, "run", "-d", "--bundle", f"{tmp}/exec", "bench-exec"], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pids[name] = json.loads(subprocess.run([path, "--root", root, "state", "bench-exec"], capture_output=True, check=True).stdout)["pid"]
        subjects[name] = lambda path=path, root=root: common.once([path, "--root", root, "exec", "bench-exec", "true"])
    try:
        floor = [f"{build}/bench/floor-run", "-e", str(pids["tare-oci"])]
        full = [*floor, "tare-bench/exec-tare-oci", filter_of(tmp)]
        res = common.interleave({"floor": lambda: common.once(floor), "floor with cgroup and filter": lambda: common.once(full), **subjects}, rounds)
        rows = [[n, f"{common.median(r, 0):.1f}", f"{common.ratio(r, res['floor'], 0):.2f}", f"{common.median(r, 1):.1f}",
                 f"{common.ratio(r, res['floor'], 1):.2f}"] for n, r in res.items()]
        common.table("exec of /bin/true", ["", "wall ms", "x floor", "CPU ms", "x floor"], rows)
    finally:
        for name, path in runtimes.items():
            root = f"{tmp}/root/{os.path.basename(path)}-exec"
            subprocess.run([path, "--root", root, "delete", "-f", "bench-exec"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for c in os.listdir("/sys/fs/cgroup"):
            try:
                os.rmdir(f"/sys/fs/cgroup/{c}/tare-bench")
            except OSError:
                pass


main()
