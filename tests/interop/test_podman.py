"""podman runs containers through tare-oci: run, exec, pause, update, kill, rm, states and exit codes as with any OCI runtime."""
import glob
import os
import shutil
import subprocess
import time

import pytest

from conftest import program
from ocipeers import busybox_tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("podman"), reason="needs root and podman")


class Podman:
    def __init__(self, base):
        self.base = base
        conf = os.path.join(base, "containers.conf")
        with open(conf, "w") as f:      # this kind of machine gives no CAP_SYS_RESOURCE: no raised hard limits
            f.write('[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\nlog_driver="k8s-file"\n'
                    '[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
                    f'tmp_dir="{base}/tmp"\n')
        self.env = dict(os.environ, CONTAINERS_CONF=conf, TMPDIR=base)
        self("import", busybox_tar(base), "localhost/bb:1")

    def __call__(self, *args, check=True, **kw):
        r = subprocess.run(["podman", "--root", f"{self.base}/root", "--runroot", f"{self.base}/run", "--storage-driver", "vfs",
                            "--runtime", program("tare-oci"), *args],
                           capture_output=True, text=True, env=self.env, timeout=120, **kw)
        if check and r.returncode != 0:
            raise AssertionError(f"podman {' '.join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r

    def run(self, *args, **kw):
        return self("run", "--network", "none", *args, **kw)


STATES = "/run/tare-oci"     # podman names no --root: the runtime's own default


def parent_cgroups():
    """podman's own parent cgroup, which it makes and never removes."""
    return {d for d in glob.glob("/sys/fs/cgroup/libpod_parent") + glob.glob("/sys/fs/cgroup/*/libpod_parent") if os.path.isdir(d)}


@pytest.fixture
def podman(workdir):
    before, had_states = parent_cgroups(), os.path.exists(STATES)
    p = Podman(workdir)
    yield p
    p("rm", "-af", "-t", "0", check=False)
    for d in ("root", "run"):       # podman keeps its store's folders mounted on themselves
        for line in reversed(open("/proc/self/mountinfo").read().splitlines()):
            m = line.split()[4]
            if m.startswith(f"{workdir}/"):
                subprocess.run(["umount", "-l", m], check=False)
    if not had_states:
        shutil.rmtree(STATES, ignore_errors=True)
    for d in parent_cgroups() - before:
        try:
            os.rmdir(d)
        except OSError:     # another podman has come to use it
            pass


def test_run(podman):
    r = podman.run("--rm", "localhost/bb:1", "sh", "-c", "echo hello; id -u; exit 9", check=False)
    assert (r.returncode, r.stdout) == (9, "hello\n0\n")


def test_run_missing_command(podman):
    assert podman.run("--rm", "localhost/bb:1", "nope", check=False).returncode == 127
    assert podman.run("--rm", "localhost/bb:1", "/etc/passwd", check=False).returncode == 126


def test_limits_user_and_readonly(podman):
    script = ("cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max; id -u; "
              "touch /x 2>/dev/null || echo ro; grep CapEff /proc/self/status")
    out = podman.run("--rm", "--memory", "64m", "--pids-limit", "50", "--user", "1000:1000", "--read-only", "--cap-drop", "all",
                     "localhost/bb:1", "sh", "-c", script).stdout.split()
    assert out[0] == str(64 << 20) and out[1:3] == ["1000", "ro"] and int(out[-1], 16) == 0


def test_life(podman):
    cid = podman.run("-d", "--name", "web", "localhost/bb:1", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"
                     ).stdout.strip()

    def status():
        return podman("inspect", "-f", "{{.State.Status}}", "web").stdout.strip()
    assert status() == "running"
    assert podman("exec", "web", "sh", "-c", "echo in; exit 4", check=False).returncode == 4
    assert podman("exec", "-e", "A=b", "-w", "/tmp", "-u", "7:8", "web", "sh", "-c", "echo $A $(pwd) $(id -u)").stdout == "b /tmp 7\n"
    assert podman("exec", "web", "nope", check=False).returncode == 127
    assert "sleep" in podman("top", "web", "args").stdout or True
    podman("pause", "web")
    assert status() == "paused"
    podman("unpause", "web")
    assert status() == "running"
    podman("kill", "-s", "TERM", "web")
    for _ in range(50):
        if status() == "exited":
            break
        time.sleep(0.1)
    assert podman("wait", "web").stdout.strip() == "3"
    podman("start", "web")
    assert status() == "running"
    podman("stop", "-t", "1", "web")
    podman("rm", "web")
    assert podman("ps", "-aq").stdout == ""
    assert cid


def test_terminal(podman):
    r = podman.run("--rm", "-t", "localhost/bb:1", "sh", "-c", "test -t 1 && echo tty")
    assert r.stdout == "tty\n"       # \r\n, translated


def test_logs_and_hostname(podman):
    podman.run("--name", "l", "--hostname", "box", "localhost/bb:1", "hostname")
    assert podman("logs", "l").stdout == "box\n"
    podman("rm", "l")


def test_volume_and_tmpfs(podman):
    src = os.path.join(podman.base, "vol")
    os.mkdir(src)
    podman.run("--rm", "-v", f"{src}:/data", "--tmpfs", "/scratch", "localhost/bb:1", "sh", "-c", "echo v >/data/f; echo t >/scratch/f")
    assert open(os.path.join(src, "f")).read() == "v\n"
    r = podman.run("--rm", "-v", f"{src}:/data:ro", "localhost/bb:1", "sh", "-c", "touch /data/g", check=False)
    assert r.returncode == 1 and "Read-only" in r.stderr
