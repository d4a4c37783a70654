"""Debian's containerd runs containers through tare-oci by its runc shim."""
import ctypes
import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import program, stop_process
from ocipeers import busybox_tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("containerd") or not shutil.which("ctr"),
                                reason="needs root and containerd")
IMAGE = "localhost/bb:1"


class Containerd:
    def __init__(self, base):
        self.base = base
        self.sock = os.path.join(base, "c.sock")
        conf = os.path.join(base, "config.toml")
        with open(conf, "w") as f:
            f.write(f'version = 2\nroot = "{base}/root"\nstate = "{base}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                    f'[grpc]\n  address = "{self.sock}"\n[ttrpc]\n  address = "{self.sock}.ttrpc"\n')
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # shims become ours to reap, and to kill
        self.log = open(os.path.join(base, "log"), "w")
        self.proc = subprocess.Popen(["containerd", "--config", conf], stdout=self.log, stderr=self.log,
                                     env=dict(os.environ, TMPDIR=base))
        for _ in range(200):
            if self("version", check=False).returncode == 0:
                break
            time.sleep(0.1)
        self.import_image()

    def import_image(self):
        """ctr imports image archives, not root file systems: podman's format is made by hand."""
        import hashlib
        import json
        import tarfile
        layer = busybox_tar(self.base)
        d = os.path.join(self.base, "oci")
        os.makedirs(os.path.join(d, "blobs/sha256"))

        def blob(data):
            h = hashlib.sha256(data).hexdigest()
            with open(os.path.join(d, "blobs/sha256", h), "wb") as f:
                f.write(data)
            return {"digest": "sha256:" + h, "size": len(data)}
        with open(layer, "rb") as f:
            lay = blob(f.read())
        cfg = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
                               "rootfs": {"type": "layers", "diff_ids": [lay["digest"]]}}).encode())
        m = "application/vnd.oci.image."
        man = blob(json.dumps({"schemaVersion": 2, "mediaType": m + "manifest.v1+json",
                               "config": dict(cfg, mediaType=m + "config.v1+json"),
                               "layers": [dict(lay, mediaType=m + "layer.v1.tar")]}).encode())
        with open(os.path.join(d, "index.json"), "w") as f:
            json.dump({"schemaVersion": 2, "manifests": [dict(man, mediaType=m + "manifest.v1+json",
                       annotations={"io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": "1"})]}, f)
        with open(os.path.join(d, "oci-layout"), "w") as f:
            f.write('{"imageLayoutVersion":"1.0.0"}')
        out = os.path.join(self.base, "image.tar")
        with tarfile.open(out, "w") as t:
            t.add(d, arcname=".")
        self("images", "import", "--snapshotter", "native", out)

    def __call__(self, *args, check=True, timeout=60, **kw):
        r = subprocess.run(["ctr", "--address", self.sock, *args], capture_output=True, text=True, timeout=timeout, **kw)
        if check and r.returncode != 0:
            raise AssertionError(f"ctr {' '.join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r

    def run(self, *args, **kw):
        return self("run", "--snapshotter", "native", "--runc-binary", program("tare-oci"), "--cgroup", "/tare-test-ctr", *args, **kw)

    def close(self):
        for c in self("containers", "ls", "-q", check=False).stdout.split():
            self("tasks", "kill", "-s", "KILL", c, check=False)
            self("tasks", "delete", "-f", c, check=False)
            self("containers", "rm", c, check=False)
        shims = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                cmd = open(f"/proc/{pid}/cmdline").read()
            except OSError:
                continue
            if "containerd-shim" in cmd and self.sock in cmd:
                shims.append(int(pid))
        stop_process(self.proc)
        for p in shims:
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.2)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        self.log.close()
        for line in reversed(open("/proc/self/mountinfo").read().splitlines()):
            m = line.split()[4]
            if m.startswith(self.base + "/"):
                subprocess.run(["umount", "-l", m], check=False)


@pytest.fixture
def ctr(workdir):
    c = Containerd(workdir)
    yield c
    c.close()


def tasks(ctr):
    return {x.split()[0]: x.split()[-1] for x in ctr("tasks", "ls").stdout.splitlines()[1:]}


def test_run(ctr):
    r = ctr.run("--rm", IMAGE, "one", "sh", "-c", "echo hello; exit 6", check=False)
    assert (r.returncode, r.stdout) == (6, "hello\n")
    r = ctr.run("--rm", IMAGE, "two", "/nope", check=False)
    assert r.returncode != 0 and "no such file" in r.stderr.lower()
    assert tasks(ctr) == {}


def test_life(ctr):
    ctr.run("-d", IMAGE, "web", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
    assert tasks(ctr)["web"] == "RUNNING"
    r = ctr("tasks", "exec", "--exec-id", "e1", "web", "sh", "-c", "echo in; exit 4", check=False)
    assert (r.returncode, r.stdout) == (4, "in\n")
    r = ctr("tasks", "exec", "--exec-id", "e2", "web", "/nope", check=False)
    assert r.returncode != 0 and "no such file" in r.stderr.lower()
    ctr("tasks", "pause", "web")
    assert tasks(ctr)["web"] == "PAUSED"
    ctr("tasks", "resume", "web")
    assert tasks(ctr)["web"] == "RUNNING"
    assert len(ctr("tasks", "ps", "web").stdout.splitlines()) >= 2
    ctr("tasks", "metrics", "web")
    ctr("tasks", "kill", "-s", "TERM", "web")
    for _ in range(50):
        if tasks(ctr).get("web") == "STOPPED":
            break
        time.sleep(0.1)
    ctr("tasks", "delete", "web", check=False)
    ctr("containers", "rm", "web")
    assert tasks(ctr) == {}
