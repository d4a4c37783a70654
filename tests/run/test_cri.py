"""A pod's life by CRI over the real engine: what the kubelet does, what the other door sees, and what survives a kill -9."""
import os
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import cri as tool  # noqa: E402
from conftest import program, stop_process  # noqa: E402

pytestmark = pytest.mark.skipif(not os.path.exists(program("tared")), reason="tared is not built")


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    return tool.generate(tmp_path_factory.mktemp("pb"))


class Daemon:
    def __init__(self, env):
        self.env, self.socket, self.log = env, os.path.join(env.base, "cri.sock"), os.path.join(env.base, "tared.log")
        self.start()

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.process = subprocess.Popen(self.env.argv("--listen", f"unix://{self.socket}", prog="tared"), stderr=open(self.log, "a"))
        for _ in range(200):
            if os.path.exists(self.socket) or self.process.poll() is not None:
                break
            time.sleep(0.05)
        assert self.process.poll() is None, open(self.log).read()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def daemon(tare_env, busybox_archive):
    tare_env("load", "-i", busybox_archive)
    d = Daemon(tare_env)
    yield d
    stop_process(d.process)


@pytest.fixture
def cri(pb, daemon):
    c = tool.Cri(pb, daemon.socket)
    yield c
    for p in c.ListPodSandbox().items:
        c.RemovePodSandbox(pod_sandbox_id=p.id)
    c.close()


@pytest.fixture
def image(cri):
    return cri.ListImages().images[0].id


def wait_for(what, seconds=10):
    end = time.time() + seconds
    while time.time() < end:
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("did not happen in time")


def host_pod(pb, name, **more):
    ns = pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER)
    return tool.pod_config(pb, name, linux=pb.LinuxPodSandboxConfig(
        security_context=pb.LinuxSandboxSecurityContext(namespace_options=ns)), **more)


def run(cri, pb, pod, name, image, script):
    c = cri.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, name, image, command=["sh", "-c", script],
                                                                       log_path=f"{name}.log")).container_id
    cri.StartContainer(container_id=c)
    return c


def test_life(cri, pb, image, tare_env, workdir):
    logs = os.path.join(workdir, "logs")
    os.makedirs(logs)
    pod = cri.RunPodSandbox(config=host_pod(pb, "p", log_directory=logs)).pod_sandbox_id
    a = run(cri, pb, pod, "a", image, "echo out; echo err >&2; sleep 1000")
    b = run(cri, pb, pod, "b", image, "exit 3")
    wait_for(lambda: cri.ContainerStatus(container_id=b).status.state == pb.CONTAINER_EXITED)
    s = cri.ContainerStatus(container_id=b).status
    assert (s.exit_code, s.reason) == (3, "Error") and s.finished_at >= s.started_at >= s.created_at > 0
    assert s.image_ref == image
    r = cri.ExecSync(container_id=a, cmd=["sh", "-c", "echo hi; echo bad >&2; exit 5"], timeout=10)
    assert (r.stdout, r.stderr, r.exit_code) == (b"hi\n", b"bad\n", 5)
    assert cri.fails("ExecSync", container_id=a, cmd=["sleep", "60"], timeout=1)[0] == "DEADLINE_EXCEEDED"
    wait_for(lambda: os.path.exists(os.path.join(logs, "a.log")) and open(os.path.join(logs, "a.log")).read().count("\n") >= 2)
    lines = {tuple(line.split(" ", 3)[1:]) for line in open(os.path.join(logs, "a.log")).read().splitlines()}
    assert lines == {("stdout", "F", "out"), ("stderr", "F", "err")}
    os.rename(os.path.join(logs, "a.log"), os.path.join(logs, "a.log.1"))
    cri.ReopenContainerLog(container_id=a)
    assert os.path.exists(os.path.join(logs, "a.log"))
    stats = cri.ContainerStats(container_id=a).stats
    assert stats.memory.working_set_bytes.value > 0 and stats.cpu.usage_core_nano_seconds.value > 0
    listed = tare_env("ps", "-aq", "--no-trunc").stdout.split()
    assert a in listed and b in listed
    cri.StopContainer(container_id=a, timeout=0)
    s = cri.ContainerStatus(container_id=a).status
    assert (s.state, s.exit_code) == (pb.CONTAINER_EXITED, 137)
    cri.StopPodSandbox(pod_sandbox_id=pod)
    cri.RemovePodSandbox(pod_sandbox_id=pod)
    assert len(cri.ListContainers().containers) == 0


def test_what_tare_removes_is_gone_here(cri, pb, image, tare_env):
    pod = cri.RunPodSandbox(config=host_pod(pb, "p")).pod_sandbox_id
    c = run(cri, pb, pod, "c", image, "sleep 1000")
    tare_env("rm", "-f", c)
    wait_for(lambda: not cri.ListContainers().containers)


def test_retry_joins(cri, pb, image):
    pod = cri.RunPodSandbox(config=host_pod(pb, "p")).pod_sandbox_id
    assert cri.RunPodSandbox(config=host_pod(pb, "p")).pod_sandbox_id == pod
    config = tool.ctr_config(pb, "c", image, command=["sleep", "1000"])
    ids = {cri.CreateContainer(pod_sandbox_id=pod, config=config).container_id for _ in range(3)}
    assert len(ids) == 1


def test_container_that_cannot_start(cri, pb, image):
    pod = cri.RunPodSandbox(config=host_pod(pb, "p")).pod_sandbox_id
    config = tool.ctr_config(pb, "c", image, command=["/nosuch"])
    with pytest.raises(Exception) as e:
        c = cri.CreateContainer(pod_sandbox_id=pod, config=config).container_id
        cri.StartContainer(container_id=c)
    assert "nosuch" in e.value.details()


def test_kill_nine(cri, pb, image, daemon):
    pod = cri.RunPodSandbox(config=host_pod(pb, "p")).pod_sandbox_id
    alive = run(cri, pb, pod, "alive", image, "sleep 1000")
    dies = run(cri, pb, pod, "dies", image, "sleep 1; exit 9")
    started = cri.ContainerStatus(container_id=alive).status.started_at
    daemon.kill()
    time.sleep(1.5)
    daemon.start()
    again = tool.Cri(pb, daemon.socket)
    s = again.ContainerStatus(container_id=dies).status
    assert (s.state, s.exit_code) == (pb.CONTAINER_EXITED, 9)
    s = again.ContainerStatus(container_id=alive).status
    assert (s.state, s.started_at) == (pb.CONTAINER_RUNNING, started)
    assert again.ExecSync(container_id=alive, cmd=["echo", "here"]).stdout == b"here\n"
    again.RemovePodSandbox(pod_sandbox_id=pod)
    again.close()


def test_exit_event(cri, pb, image):
    stream = cri.GetContainerEvents(rpc_timeout=30)
    time.sleep(0.3)
    pod = cri.RunPodSandbox(config=host_pod(pb, "p")).pod_sandbox_id
    c = run(cri, pb, pod, "c", image, "exit 4")
    for ev in stream:
        if ev.container_id == c and ev.container_event_type == pb.CONTAINER_STOPPED_EVENT:
            break
    stream.cancel()
    assert [s.exit_code for s in ev.containers_statuses] == [4] and ev.pod_sandbox_status.id == pod


def test_memory_of_an_idle_daemon(cri, daemon):
    cri.Version()
    with open(f"/proc/{daemon.process.pid}/status") as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    assert rss <= 8 << 10 or "asan" in open(f"/proc/{daemon.process.pid}/maps").read()
