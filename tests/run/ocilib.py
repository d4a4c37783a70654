"""Bundles for tests of tare-oci: a busybox root file system, a config as Docker's default makes it, and the program itself."""
import ctypes
import glob
import json
import os
import shutil
import subprocess
import time

from conftest import program

APPLETS = ("sh true false sleep cat echo ls id env mkdir mknod dd kill ps stat touch rm grep tr head wc mount umount chmod sync "
           "test printf pwd hostname ln yes").split()

CAPS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
        "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]


def make_rootfs(path):
    """A root file system of Debian's static busybox."""
    for d in ("bin", "proc", "sys", "dev", "tmp", "etc", "root"):
        os.makedirs(os.path.join(path, d), exist_ok=True)
    shutil.copy("/bin/busybox", os.path.join(path, "bin/busybox"))
    for a in APPLETS:
        link = os.path.join(path, "bin", a)
        if not os.path.islink(link):
            os.symlink("busybox", link)
    with open(os.path.join(path, "etc/passwd"), "w") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\n")
    return path


def config(rootfs, *args, cgroup=None):
    c = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": list(args) or ["/bin/true"], "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
            "capabilities": {k: list(CAPS) for k in ("bounding", "effective", "permitted")},
            "noNewPrivileges": False,
        },
        "root": {"path": rootfs}, "hostname": "tare-test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": t} for t in ("mount", "network", "uts", "pid", "ipc", "cgroup")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    if cgroup:
        c["linux"]["cgroupsPath"] = cgroup
    return c


class Oci:
    """tare-oci with a state folder of its own; ids and cgroups carry a name that the leak check knows."""

    def __init__(self, base):
        self.base, self.root = base, os.path.join(base, "state")
        self.bin = program("tare-oci")
        self.rootfs = make_rootfs(os.path.join(base, "rootfs"))
        self.count = 0
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # we reap what is orphaned, at once

    def __call__(self, *args, check=True, timeout=30, glob_args=(), **kw):
        kw.setdefault("text", True)
        if "stdin" not in kw and "input" not in kw:
            kw["stdin"] = subprocess.DEVNULL
        if "stdout" not in kw:
            kw["stdout"] = kw["stderr"] = subprocess.PIPE
        r = subprocess.run([self.bin, "--root", self.root, *glob_args, *args], timeout=timeout, **kw)
        if check and r.returncode != 0:
            raise AssertionError(f"tare-oci {' '.join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r

    def bundle(self, *args, edit=None):
        """A new bundle; returns its folder. edit(config) changes the config first."""
        self.count += 1
        d = os.path.join(self.base, f"b{self.count}")
        os.mkdir(d)
        c = config(self.rootfs, *args, cgroup=f"/tare-test-{os.path.basename(self.base)[-6:]}-{self.count}")
        if edit:
            edit(c)
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(c, f)
        return d

    def run(self, *args, edit=None, check=True, opts=(), **kw):
        """Runs to the end in the foreground."""
        b = self.bundle(*args, edit=edit)
        return self("run", *opts, "--bundle", b, "c" + os.path.basename(b), check=check, **kw)

    def up(self, *args, edit=None, start=True, opts=(), stdout=subprocess.DEVNULL):
        """A detached container; returns its id."""
        b = self.bundle(*(args or ("sleep", "1000")), edit=edit)
        cid = "c" + os.path.basename(b)
        with open(os.path.join(self.base, cid + ".err"), "w+") as err:
            r = subprocess.run([self.bin, "--root", self.root, *(["run", "-d"] if start else ["create"]), *opts, "--bundle", b, cid],
                               stdin=subprocess.DEVNULL, stdout=stdout, stderr=err, timeout=30)
            err.seek(0)
            assert r.returncode == 0, err.read()
        return cid

    def state(self, cid):
        return json.loads(self("state", cid).stdout)

    def wait_status(self, cid, status, timeout=10):
        end = time.monotonic() + timeout
        while True:
            s = self.state(cid)
            if s["status"] == status:
                self.reap()
                return s
            assert time.monotonic() < end, f"{cid} is {s['status']}, not {status}"
            time.sleep(0.01)

    def reap(self):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def cgroup_file(self, cid, name):
        """The content of a cgroup file of the container, in whichever hierarchy has it; None if none has."""
        pid = self.state(cid)["pid"]
        with open(f"/proc/{pid}/cgroup") as f:
            for line in f:
                _, ctrl, path = line.rstrip("\n").split(":", 2)
                dirs = ([f"/sys/fs/cgroup/{ctrl}", f"/sys/fs/cgroup/{ctrl.split(',')[0]}"] if ctrl
                        else ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"])
                for d in dirs:
                    p = d + path + "/" + name
                    if os.path.exists(p):
                        with open(p) as g:
                            return g.read().strip()
        return None

    def clear(self):
        for d in glob.glob(os.path.join(self.root, "*")):
            if "@" not in os.path.basename(d):
                self("delete", "--force", os.path.basename(d), check=False)
        self.reap()
