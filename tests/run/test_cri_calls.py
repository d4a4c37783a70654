"""The CRI side of tared, call by call, over an engine that only pretends: what is answered, what is refused and how it is
said. The real engine is driven in test_cri.py."""
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import cri as tool  # noqa: E402
from conftest import BIN, stop_process  # noqa: E402


def fake_path():
    for p in (os.path.join(BIN, "tared-fake"), os.path.join(os.path.dirname(BIN), "src/cmd/tared-fake")):
        if os.path.exists(p):
            return p
    pytest.skip("tared-fake is not built")


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    return tool.generate(tmp_path_factory.mktemp("pb"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    d = tmp_path_factory.mktemp("tared")
    path = str(d / "c.sock")
    p = subprocess.Popen([fake_path(), "--root", str(d / "root"), "--run", str(d / "run"), "--listen", f"unix://{path}"],
                         stderr=open(d / "log", "w"))
    for _ in range(100):
        if os.path.exists(path):
            break
        time.sleep(0.05)
    yield p, path
    stop_process(p)
    assert p.returncode == 0, (d / "log").read_text()
    assert "Sanitizer" not in (d / "log").read_text()


@pytest.fixture
def cri(pb, server):
    c = tool.Cri(pb, server[1])
    yield c
    for s in c.ListPodSandbox().items:
        c.RemovePodSandbox(pod_sandbox_id=s.id)
    c.close()


@pytest.fixture
def pod(cri, pb):
    return cri.RunPodSandbox(config=tool.pod_config(pb, "p", labels={"a": "1", "b": "2"}, annotations={"k": "v"},
                                                    log_directory="/var/log/p")).pod_sandbox_id


def test_version_status_config(cri, pb):
    v = cri.Version()
    assert (v.version, v.runtime_name, v.runtime_api_version) == ("0.1.0", "tare", "v1")
    s = cri.Status(verbose=True)
    assert {(c.type, c.status) for c in s.status.conditions} == {("RuntimeReady", True), ("NetworkReady", False)}
    assert [c.message for c in s.status.conditions if c.type == "NetworkReady"] == ["no network configuration"]
    assert {h.name for h in s.runtime_handlers} == {"", "tare"}
    assert all(h.features.user_namespaces and h.features.recursive_read_only_mounts for h in s.runtime_handlers)
    assert s.features.supplemental_groups_policy and "cgroupDriver" in s.info["config"]
    assert cri.RuntimeConfig().linux.cgroup_driver == pb.CGROUPFS
    cri.UpdateRuntimeConfig(runtime_config=pb.RuntimeConfig(network_config=pb.NetworkConfig(pod_cidr="10.0.0.0/24")))


def test_pod_life(cri, pb, pod):
    again = cri.RunPodSandbox(config=tool.pod_config(pb, "p")).pod_sandbox_id
    assert again == pod
    r = cri.PodSandboxStatus(pod_sandbox_id=pod, verbose=True)
    s = r.status
    assert (s.id, s.metadata.name, s.metadata.uid, s.state) == (pod, "p", "uid-p", pb.SANDBOX_READY)
    assert (s.network.ip, s.network.additional_ips[0].ip) == ("10.1.2.3", "fd00::3")
    assert dict(s.labels) == {"a": "1", "b": "2"} and dict(s.annotations) == {"k": "v"}
    assert r.timestamp > 0 and s.created_at > 0 and pod in r.info["info"]
    cri.StopPodSandbox(pod_sandbox_id=pod)
    cri.StopPodSandbox(pod_sandbox_id=pod)
    assert cri.PodSandboxStatus(pod_sandbox_id=pod).status.state == pb.SANDBOX_NOTREADY
    cri.RemovePodSandbox(pod_sandbox_id=pod)
    cri.RemovePodSandbox(pod_sandbox_id=pod)
    assert cri.fails("PodSandboxStatus", pod_sandbox_id=pod)[0] == "NOT_FOUND"


def test_pod_filters(cri, pb, pod):
    other = cri.RunPodSandbox(config=tool.pod_config(pb, "q", labels={"a": "1"})).pod_sandbox_id
    cri.StopPodSandbox(pod_sandbox_id=other)

    def ids(**f):
        return {p.id for p in cri.ListPodSandbox(filter=pb.PodSandboxFilter(**f)).items}
    assert ids() == {pod, other} == {p.id for p in cri.ListPodSandbox().items}
    assert ids(id=pod[:20]) == {pod} and ids(id="nosuch") == set()
    assert ids(state=pb.PodSandboxStateValue(state=pb.SANDBOX_READY)) == {pod}
    assert ids(state=pb.PodSandboxStateValue(state=pb.SANDBOX_NOTREADY)) == {other}
    assert ids(label_selector={"a": "1"}) == {pod, other} and ids(label_selector={"a": "1", "b": "2"}) == {pod}
    streamed = [p.id for m in cri.StreamPodSandboxes() for p in m.pod_sandboxes]
    assert set(streamed) == {pod, other}


def test_container_life(cri, pb, pod):
    config = tool.ctr_config(pb, "c", labels={"x": "y"}, log_path="c/0.log", command=["/bin/sh"], stop_signal=pb.SIGRTMINPLUS3,
                             mounts=[pb.Mount(container_path="/m", host_path="/tmp", readonly=True, recursive_read_only=True)],
                             linux=pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(memory_limit_in_bytes=1 << 20)))
    c = cri.CreateContainer(pod_sandbox_id=pod, config=config).container_id
    s = cri.ContainerStatus(container_id=c, verbose=True).status
    assert s.state == pb.CONTAINER_CREATED and s.metadata.name == "c" and s.image.image == "busybox"
    assert s.image_ref == s.image_id == "sha256:1111" and s.log_path == "/var/log/p/c/0.log"
    assert s.mounts[0] == config.mounts[0] and s.stop_signal == pb.SIGRTMINPLUS3 and s.user.linux.uid == 0
    assert s.resources.linux.memory_limit_in_bytes == 1 << 20
    cri.StartContainer(container_id=c)
    assert cri.ContainerStatus(container_id=c).status.state == pb.CONTAINER_RUNNING
    assert cri.fails("StartContainer", container_id=c)[0] == "FAILED_PRECONDITION"
    cri.UpdateContainerResources(container_id=c, linux=pb.LinuxContainerResources(cpu_shares=77, unified={"memory.high": "5"}))
    res = cri.ContainerStatus(container_id=c).status.resources.linux
    assert res.cpu_shares == 77 and dict(res.unified) == {"memory.high": "5"}
    cri.ReopenContainerLog(container_id=c)
    cri.StopContainer(container_id=c, timeout=1)
    cri.StopContainer(container_id=c)
    s = cri.ContainerStatus(container_id=c).status
    assert (s.state, s.exit_code, s.reason) == (pb.CONTAINER_EXITED, 143, "Error") and s.finished_at >= s.started_at > 0
    assert cri.fails("ReopenContainerLog", container_id=c)[0] == "FAILED_PRECONDITION"
    cri.RemoveContainer(container_id=c)
    cri.RemoveContainer(container_id=c)
    assert cri.fails("ContainerStatus", container_id=c)[0] == "NOT_FOUND"


def test_container_filters(cri, pb, pod):
    other = cri.RunPodSandbox(config=tool.pod_config(pb, "q")).pod_sandbox_id
    a = cri.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, "a", labels={"n": "a"})).container_id
    b = cri.CreateContainer(pod_sandbox_id=other, config=tool.ctr_config(pb, "b", labels={"n": "b"})).container_id
    cri.StartContainer(container_id=b)

    def ids(**f):
        return {p.id for p in cri.ListContainers(filter=pb.ContainerFilter(**f)).containers}
    assert ids() == {a, b} and ids(id=a[:12]) == {a} and ids(pod_sandbox_id=other) == {b}
    assert ids(state=pb.ContainerStateValue(state=pb.CONTAINER_RUNNING)) == {b} and ids(label_selector={"n": "a"}) == {a}
    assert {p.id for m in cri.StreamContainers() for p in m.containers} == {a, b}
    cri.StopPodSandbox(pod_sandbox_id=other)
    assert cri.ContainerStatus(container_id=b).status.state == pb.CONTAINER_EXITED
    assert cri.fails("CreateContainer", pod_sandbox_id=other, config=tool.ctr_config(pb, "late"))[0] == "FAILED_PRECONDITION"


def sc(pb, **f):
    return pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(**f))


def test_refusals_name_the_field(cri, pb, pod):
    def pod_with(**f):
        return tool.pod_config(pb, "bad", **f)

    def userns(uids, gids=None, mode=0):
        o = pb.NamespaceOption(userns_options=pb.UserNamespace(mode=mode, uids=uids, gids=gids if gids is not None else uids))
        return pod_with(linux=pb.LinuxPodSandboxConfig(security_context=pb.LinuxSandboxSecurityContext(namespace_options=o)))
    one = pb.IDMapping(host_id=100000, container_id=0, length=65536)
    pods = [
        (dict(), "config: is required"),
        (dict(config=pb.PodSandboxConfig()), "config.metadata: is required"),
        (dict(config=pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(uid="u"))), "config.metadata.name: is required"),
        (dict(config=pod_with(log_directory="var")), "config.log_directory: "),
        (dict(config=pod_with(hostname="h" * 65)), "config.hostname: is longer than 64"),
        (dict(config=pod_with(port_mappings=[pb.PortMapping(container_port=0)])), r"config.port_mappings\[0\].container_port"),
        (dict(config=pod_with(port_mappings=[pb.PortMapping(container_port=1, host_port=70000)])), r"host_port: 70000"),
        (dict(config=userns([one, one])), "uids: exactly one"),
        (dict(config=userns([pb.IDMapping(host_id=1, container_id=5, length=9)])), "container_id: has to be 0"),
        (dict(config=userns([pb.IDMapping(host_id=1, container_id=0, length=0)])), "length: is zero"),
        (dict(config=userns([one], mode=1)), "userns_options.mode: "),
        (dict(config=userns([one], mode=3)), "userns_options.mode: "),
        (dict(config=pod_with(), runtime_handler="nosuch"), "runtime_handler: no handler nosuch"),
    ]
    for fields, want in pods:
        code, text = cri.fails("RunPodSandbox", **fields)
        assert code == "INVALID_ARGUMENT" and re.search(want, text), (fields, code, text)

    def ctr(**f):
        return dict(pod_sandbox_id=pod, config=tool.ctr_config(pb, "c", **f))
    m = pb.Mount
    ctrs = [
        (dict(), "pod_sandbox_id: is required"),
        (dict(pod_sandbox_id=pod), "config: is required"),
        (dict(pod_sandbox_id=pod, config=pb.ContainerConfig(metadata=pb.ContainerMetadata(name="c"))), "config.image.image"),
        (ctr(mounts=[m(container_path="x", host_path="/")]), r"config.mounts\[0\].container_path"),
        (ctr(mounts=[m(container_path="/x", host_path="/"), m(container_path="/y")]), r"config.mounts\[1\].host_path"),
        (ctr(mounts=[m(container_path="/x", host_path="/", recursive_read_only=True)]), "needs readonly"),
        (ctr(mounts=[m(container_path="/x", host_path="/", readonly=True, recursive_read_only=True, propagation=1)]), "propagation"),
        (ctr(devices=[pb.Device(host_path="/dev/null", permissions="x")]), r"config.devices\[0\].permissions"),
        (ctr(envs=[pb.KeyValue(key="a=b")]), r"config.envs\[0\].key"),
        (ctr(log_path="../../etc/passwd"), "config.log_path"),
        (ctr(linux=sc(pb, run_as_group=pb.Int64Value(value=5))), "run_as_group: needs"),
        (ctr(linux=sc(pb, run_as_user=pb.Int64Value(value=-1))), "run_as_user: -1"),
        (ctr(linux=sc(pb, run_as_user=pb.Int64Value(value=1), run_as_username="x")), "run_as_username: excludes"),
        (ctr(linux=sc(pb, seccomp=pb.SecurityProfile(profile_type=pb.Localhost))), "localhost_ref"),
        (ctr(linux=sc(pb, namespace_options=pb.NamespaceOption(pid=pb.TARGET))), "target_id: is required"),
        (ctr(linux=pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(oom_score_adj=2000))), "oom_score_adj"),
    ]
    for fields, want in ctrs:
        code, text = cri.fails("CreateContainer", **fields)
        assert code == "INVALID_ARGUMENT" and re.search(want, text), (fields, code, text)
    for name, field in (("StopPodSandbox", "pod_sandbox_id"), ("RemovePodSandbox", "pod_sandbox_id"), ("PodSandboxStatus", "pod_sandbox_id"),
                        ("StartContainer", "container_id"), ("StopContainer", "container_id"), ("RemoveContainer", "container_id"),
                        ("ContainerStatus", "container_id"), ("ExecSync", "container_id"), ("ReopenContainerLog", "container_id"),
                        ("ContainerStats", "container_id"), ("PodSandboxStats", "pod_sandbox_id"), ("PullImage", "image.image"),
                        ("ImageStatus", "image.image"), ("RemoveImage", "image.image"), ("PortForward", "pod_sandbox_id"),
                        ("UpdateContainerResources", "container_id"), ("CheckpointContainer", "container_id")):
        assert cri.fails(name) == ("INVALID_ARGUMENT", f"{field}: is required")


def test_exec_sync(cri, pb, pod):
    c = cri.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, "c")).container_id
    assert cri.fails("ExecSync", container_id=c, cmd=["x"])[0] == "FAILED_PRECONDITION"
    cri.StartContainer(container_id=c)
    r = cri.ExecSync(container_id=c, cmd=["err", "out"])
    assert (r.stderr, r.stdout, r.exit_code) == (b"err\n", b"out\n", 7)
    assert cri.fails("ExecSync", container_id=c, cmd=["sleep"], timeout=1)[0] == "DEADLINE_EXCEEDED"
    assert cri.fails("ExecSync", container_id=c)[1] == "cmd: is required"
    assert cri.fails("ExecSync", container_id=c, cmd=["x"], timeout=-1)[0] == "INVALID_ARGUMENT"
    big = cri.ExecSync(container_id=c, cmd=["much"])
    assert 15 << 20 < len(big.stdout) + len(big.stderr) <= 16 << 20


def test_deadline_is_answered_and_work_goes_on(cri, pb):
    start = time.time()
    assert cri.fails("RunPodSandbox", config=tool.pod_config(pb, "slow"), rpc_timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    assert time.time() - start < 0.8
    cri.Version()
    time.sleep(1.2)
    assert [p.metadata.name for p in cri.ListPodSandbox().items] == ["slow"]


def test_slow_calls_hold_up_no_other(cri, pb, pod):
    c = cri.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, "c")).container_id
    cri.StartContainer(container_id=c)
    threads = [threading.Thread(target=cri.ExecSync, kwargs=dict(container_id=c, cmd=["sleep"])) for _ in range(50)]
    for t in threads:
        t.start()
    start = time.time()
    for _ in range(20):
        cri.Version()
    assert time.time() - start < 1.5
    for t in threads:
        t.join()


def test_images(cri, pb):
    spec = pb.ImageSpec(image="busybox")
    assert not cri.ImageStatus(image=spec).HasField("image")
    assert cri.fails("PullImage", image=pb.ImageSpec(image="denied"), auth=pb.AuthConfig(username="u")) == (
        "PERMISSION_DENIED", "credentials of u were refused")
    ref = cri.PullImage(image=spec).image_ref
    s = cri.ImageStatus(image=spec, verbose=True)
    assert s.image.id == ref and s.image.username == "www-data" and not s.image.HasField("uid") and "imageSpec" in s.info["info"]
    assert [i.id for i in cri.ListImages().images] == [ref] == [i.id for m in cri.StreamImages() for i in m.images]
    assert len(cri.ListImages(filter=pb.ImageFilter(image=pb.ImageSpec(image="other"))).images) == 0
    cri.RemoveImage(image=spec)
    cri.RemoveImage(image=spec)
    fs = cri.ImageFsInfo()
    assert fs.image_filesystems[0].fs_id.mountpoint == "/fake/images" and fs.container_filesystems[0].used_bytes.value == 20


def test_stats_and_metrics(cri, pb, pod):
    c = cri.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, "c", labels={"l": "1"})).container_id
    dead = cri.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, "dead")).container_id
    cri.StartContainer(container_id=c)
    s = cri.ContainerStats(container_id=c).stats
    assert s.attributes.metadata.name == "c" and s.attributes.labels["l"] == "1" and s.memory.working_set_bytes.value == 2048
    assert s.writable_layer.fs_id.mountpoint == "/fake/containers" and s.cpu.usage_core_nano_seconds.value > 0
    time.sleep(0.6)
    assert cri.ContainerStats(container_id=c).stats.cpu.usage_nano_cores.value > 0
    assert {x.attributes.id for x in cri.ListContainerStats().stats} == {c, dead}
    assert [x.attributes.id for x in cri.ListContainerStats(filter=pb.ContainerStatsFilter(label_selector={"l": "1"})).stats] == [c]
    assert {x.attributes.id for m in cri.StreamContainerStats() for x in m.container_stats} == {c, dead}
    p = cri.PodSandboxStats(pod_sandbox_id=pod).stats
    assert p.attributes.metadata.name == "p" and p.linux.network.default_interface.name == "eth0"
    assert p.linux.network.default_interface.rx_bytes.value == 42 and p.linux.process.process_count.value == 3
    assert len(p.linux.containers) == 2
    assert len(cri.ListPodSandboxStats().stats) == 1 == len(list(cri.StreamPodSandboxStats()))
    described = {d.name: len(d.label_keys) for d in cri.ListMetricDescriptors().descriptors}
    for answer in (cri.ListPodSandboxMetrics().pod_metrics, [x for m in cri.StreamPodSandboxMetrics() for x in m.pod_sandbox_metrics]):
        assert answer[0].pod_sandbox_id == pod and answer[0].container_metrics[0].container_id == c
        for x in list(answer[0].metrics) + list(answer[0].container_metrics[0].metrics):
            assert len(x.label_values) == described[x.name]


def test_events(cri, pb):
    stream = cri.GetContainerEvents(rpc_timeout=20)
    got = []
    reader = threading.Thread(target=lambda: got.extend(e for _, e in zip(range(7), stream)))
    reader.start()
    time.sleep(0.3)
    p = cri.RunPodSandbox(config=tool.pod_config(pb, "e")).pod_sandbox_id
    c = cri.CreateContainer(pod_sandbox_id=p, config=tool.ctr_config(pb, "c")).container_id
    cri.StartContainer(container_id=c)
    cri.StopContainer(container_id=c)
    cri.RemoveContainer(container_id=c)
    cri.StopPodSandbox(pod_sandbox_id=p)
    reader.join(10)
    stream.cancel()
    C, S, T, D = (pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT, pb.CONTAINER_STOPPED_EVENT, pb.CONTAINER_DELETED_EVENT)
    assert [(e.container_id, e.container_event_type) for e in got] == [(p, C), (p, S), (c, C), (c, S), (c, T), (c, D), (p, T)]
    assert all(e.pod_sandbox_status.id == p for e in got)
    assert [x.id for x in got[3].containers_statuses] == [c] and got[3].containers_statuses[0].state == pb.CONTAINER_RUNNING
    assert [e.created_at for e in got] == sorted({e.created_at for e in got})


def test_unsupported_and_unknown(cri, pb, pod):
    c = cri.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, "c")).container_id
    assert cri.fails("CheckpointContainer", container_id=c)[0] == "UNIMPLEMENTED"
    assert cri.fails("UpdatePodSandboxResources", pod_sandbox_id=pod)[0] == "UNIMPLEMENTED"
    for path in ("/runtime.v1.RuntimeService/Nosuch", "/runtime.v1alpha2.RuntimeService/Version"):
        call = cri.channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(Exception) as e:
            call(b"", timeout=5)
        assert e.value.code().name == "UNIMPLEMENTED"
    call = cri.channel.unary_unary("/runtime.v1.RuntimeService/RunPodSandbox", request_serializer=bytes, response_deserializer=bytes)
    for bad in (b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x06\x0a\x04\x0a\x02\xff\xfe"):
        with pytest.raises(Exception) as e:
            call(bad, timeout=5)
        assert e.value.code().name == "INVALID_ARGUMENT", e.value.details()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def raw(path, data, reads=True):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(path)
    try:
        s.sendall(data)
        while reads and s.recv(65536):
            pass
    except (BrokenPipeError, ConnectionResetError):
        pass
    except TimeoutError:
        return False
    finally:
        s.close()
    return True


def test_nonsense_ends_only_its_own_connection(cri, server):
    settings = frame(4, 0, 0)
    bad = [
        b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, PREFACE + b"\xff" * 200, PREFACE + settings + frame(0, 0, 0, b"x"),
        PREFACE + settings + frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"), PREFACE + settings + frame(9, 4, 1, b"\x82"),
        PREFACE + settings + frame(1, 4, 2, b"\x82"), PREFACE + settings + frame(4, 0, 0, b"abc"),
        PREFACE + settings + b"\xff\xff\xff" + bytes([0, 0, 0, 0, 0, 1]),
    ]
    for b in bad:
        assert raw(server[1], b), b
        cri.Version()


def test_reset_flood_is_ended(cri, server):
    head = b"\x83\x86\x44\x01/\x41\x01x"
    flood = b"".join(frame(1, 5, i, head) + frame(3, 0, i, b"\0\0\0\x08") for i in range(1, 10001, 2))
    assert raw(server[1], PREFACE + frame(4, 0, 0) + flood)
    cri.Version()


def test_header_bomb_is_ended(cri, server):
    # One long header enters the table, then it is named thousands of times.
    block = b"\x83\x86\x44\x01/\x40\x01a\x7f\xf1\x16" + b"v" * 3008 + b"\xbe" * 8000
    bombs = b"".join(frame(1, 5, i, block) for i in range(1, 41, 2))
    raw(server[1], PREFACE + frame(4, 0, 0) + bombs, reads=False)
    cri.Version()
    with open(f"/proc/{server[0].pid}/status") as f:
        rss = int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
    assert rss < 150 << 10


def test_many_idle_connections_starve_nobody(cri, server):
    idle = []
    for _ in range(600):
        s = socket.socket(socket.AF_UNIX)
        s.connect(server[1])
        idle.append(s)
    try:
        cri.Version()
        assert len(os.listdir(f"/proc/{server[0].pid}/fd")) < 400
    finally:
        for s in idle:
            s.close()


def test_socket_mode_and_second_server(server, tmp_path):
    assert os.stat(server[1]).st_mode & 0o777 == 0o660
    r = subprocess.run([fake_path(), "--root", str(tmp_path), "--run", str(tmp_path), "--listen", f"unix://{server[1]}"],
                       capture_output=True, text=True, timeout=10)
    assert r.returncode == 1 and "another server answers there" in r.stderr


def test_socket_activation_and_notify(tmp_path, pb):
    path, notify = str(tmp_path / "a.sock"), str(tmp_path / "n.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(5)
    n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    n.bind(notify)
    n.settimeout(10)
    run = tmp_path / "run"
    script = f"import os; os.dup2({listener.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); " \
             f"os.execv({fake_path()!r}, ['tared', '--root', {str(run)!r}, '--run', {str(run)!r}])"
    p = subprocess.Popen([sys.executable, "-c", script], env=dict(os.environ, LISTEN_FDS="1", NOTIFY_SOCKET=notify),
                         pass_fds=[listener.fileno(), 3] if listener.fileno() != 3 else [3], stderr=subprocess.PIPE, text=True)
    try:
        assert n.recv(100) == b"READY=1"
        c = tool.Cri(pb, path)
        assert c.Version().runtime_name == "tare"
        c.close()
    finally:
        stop_process(p)
    assert p.returncode == 0 and n.recv(100) == b"STOPPING=1"


def test_ends_at_once_and_reloads(tmp_path, pb):
    """SIGTERM does not wait for a call that runs or a stream that is read; SIGHUP takes a new log level."""
    path, config = str(tmp_path / "e.sock"), tmp_path / "tare.yaml"
    config.write_text("log_level: error\n")
    p = subprocess.Popen([fake_path(), "--root", str(tmp_path), "--run", str(tmp_path), "--config", str(config), "--listen",
                          f"unix://{path}"], stderr=subprocess.PIPE, text=True)
    for _ in range(100):
        if os.path.exists(path):
            break
        time.sleep(0.05)
    c = tool.Cri(pb, path)
    pod = c.RunPodSandbox(config=tool.pod_config(pb, "p")).pod_sandbox_id
    ctr = c.CreateContainer(pod_sandbox_id=pod, config=tool.ctr_config(pb, "c")).container_id
    c.StartContainer(container_id=ctr)
    config.write_text("log_level: debug\n")
    p.send_signal(1)
    time.sleep(0.3)
    c.Version()
    stream = c.GetContainerEvents(rpc_timeout=30)
    t = threading.Thread(target=lambda: c.fails("ExecSync", container_id=ctr, cmd=["sleep"]))
    t.start()
    time.sleep(0.3)
    start = time.time()
    stop_process(p)
    assert time.time() - start < 1.5 and p.returncode == 0
    t.join()
    stream.cancel()
    c.close()
    assert "msg=call method=Version" in p.stderr.read().replace("event=", "msg=")
