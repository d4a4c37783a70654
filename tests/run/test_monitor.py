"""tare-monitor by its protocol: containers, execs, streams, logs, and what happens when somebody dies."""
import json
import os
import re
import signal
import socket
import struct
import threading
import time

import pytest

from conftest import program
from monitor_client import (ATTACHED, CAPTURED, DETACHED, LOG_JSON, Connection, Monitor, MonitorError, Stream, encode, field, process)

RUNTIMES = [None] + (["/usr/sbin/runc"] if os.path.exists("/usr/sbin/runc") else [])


@pytest.fixture(params=RUNTIMES, ids=lambda r: os.path.basename(r) if r else "tare")
def runtime(request):
    return request.param


@pytest.fixture
def mon(workdir, runtime):
    m = Monitor(program("tare-monitor"), workdir, f"t{os.getpid()}-{time.monotonic_ns() % 10**9}", runtime)
    yield m
    m.close()


@pytest.fixture
def own(workdir):
    """The built-in runtime only."""
    m = Monitor(program("tare-monitor"), workdir, f"t{os.getpid()}-{time.monotonic_ns() % 10**9}")
    yield m
    m.close()


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("did not happen in time")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_life_of_a_container(mon):
    s = mon.create("c1", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert s["state"] == 1 and s["pid"] > 0
    assert mon.status("c1")["state"] == "created"
    assert mon.log("c1") == b""
    mon.c.call("start", id="c1")
    s = mon.c.call("wait", id="c1")
    assert (s["state"], s["exit_code"], s.get("exit_signal", 0)) == (4, 7, 0)
    assert mon.lines("c1") == [b"out"] and mon.lines("c1", "stderr") == [b"err"]
    st = mon.status("c1")
    assert (st["state"], st["exit_code"], st["oom_killed"]) == ("exited", "7", "0")
    assert 0 < int(st["created_ns"]) < int(st["started_ns"]) < int(st["exited_ns"])
    assert re.match(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout F out\n", mon.log("c1"))
    mon.c.call("remove", id="c1")
    with pytest.raises(MonitorError) as e:
        mon.c.call("state", id="c1")
    assert e.value.kind == 1
    mon.c.call("remove", id="c1")  # again: fine


def test_signals(mon):
    mon.run("c1", "sleep", "1000")
    pid = mon.c.call("state", id="c1")["pid"]
    assert alive(pid)
    with pytest.raises(MonitorError) as e:
        mon.c.call("remove", id="c1")
    assert e.value.kind == 5  # busy
    mon.c.call("kill", id="c1", signal=signal.SIGKILL)
    s = mon.c.call("wait", id="c1")
    assert (s["exit_code"], s["exit_signal"]) == (137, 9)
    with pytest.raises(MonitorError) as e:
        mon.c.call("kill", id="c1", signal=9)
    assert e.value.kind == 1


def test_created_is_removed_without_force(mon):
    mon.create("c1", "true")
    pid = mon.c.call("state", id="c1")["pid"]
    mon.c.call("remove", id="c1")
    assert not alive(pid)


def test_program_that_is_missing(own):
    with pytest.raises(MonitorError) as e:
        own.run("c1", "no-such-program")
    assert "no-such-program" in e.value.text and e.value.errno == 2


def test_create_fails_cleanly(mon):
    with pytest.raises(MonitorError) as e:
        mon.create("c1", "true", edit=lambda c: c.update(root={"path": "/nonexistent"}))
    assert e.value.text
    assert "container" not in mon.c.call("state")
    os.unlink(os.path.join(mon.bundle("c1"), "config.json"))
    with pytest.raises(MonitorError):
        mon.c.call("create", id="c1", bundle=mon.bundle("c1"), **({"runtime": mon.runtime} if mon.runtime else {}))


def test_exec_captured(mon):
    mon.run("c1", "sleep", "1000")
    r = mon.exec("c1", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (r["stdout"], r["stderr"], r["exit_code"]) == (b"out\n", b"err\n", 3)
    r = mon.exec("c1", "sh", "-c", "kill -9 $$")
    assert (r["exit_code"], r["exit_signal"]) == (137, 9)
    r = mon.exec("c1", "sh", "-c", "head -c 300000 /dev/zero; head -c 5 /dev/zero >&2")
    assert os.lseek(r["stdout_fd"], 0, os.SEEK_END) == 300000 and os.lseek(r["stderr_fd"], 0, os.SEEK_END) == 5
    os.close(r["stdout_fd"]), os.close(r["stderr_fd"])
    r = mon.exec("c1", "sh", "-c", "head -c 3000000 /dev/zero; exit 4", max_out=1000)
    assert (len(r["stdout"]), r["truncated"], r["exit_code"]) == (1000, 1, 4)
    with pytest.raises(MonitorError):
        mon.exec("c1", "no-such-program")
    assert mon.log("c1") == b""


def test_exec_does_not_wait_for_the_background(mon):
    mon.run("c1", "sleep", "1000")
    t = time.monotonic()
    r = mon.exec("c1", "sh", "-c", "sleep 5 & echo started")
    assert r["stdout"] == b"started\n" and r["exit_code"] == 0
    assert time.monotonic() - t < 3


def test_exec_timeout_kills_all(mon):
    mon.run("c1", "sleep", "1000")
    t = time.monotonic()
    r = mon.exec("c1", "sh", "-c", "echo before; sleep 778 & setsid sleep 778 & sh -c 'sleep 778; true'", timeout_ms=300)
    assert r["timed_out"] == 1 and r["stdout"] == b"before\n"
    assert time.monotonic() - t < 5
    wait_for(lambda: b"sleep 778" not in mon.exec("c1", "ps")["stdout"], 3)


def test_exec_in_a_stopped_container(mon):
    mon.run("c1", "true")
    mon.c.call("wait", id="c1")
    with pytest.raises(MonitorError) as e:
        mon.exec("c1", "true")
    assert "not running" in e.value.text


def test_exec_detached_and_wait(mon):
    mon.run("c1", "sleep", "1000")
    r = mon.exec("c1", "sh", "-c", "sleep 0.2; exit 5", mode=DETACHED, exec_id="mine")
    assert r["exec_id"] == "mine" and r["pid"] > 0
    assert mon.c.call("wait", id="c1", exec_id="mine")["exit_code"] == 5
    r = mon.exec("c1", "sleep", "1000", mode=DETACHED)
    mon.c.call("kill", id="c1", exec_id=r["exec_id"], signal=15)
    assert mon.c.call("wait", id="c1", exec_id=r["exec_id"])["exit_code"] == 143


def test_exec_attached(mon):
    mon.run("c1", "sleep", "1000")
    r = mon.exec("c1", "sh", "-c", "cat; echo bye >&2; exit 9", mode=ATTACHED, stdin=1)
    s = Stream(r["stream_fd"])
    s.send(s.STDIN, b"hello ")
    s.send(s.STDIN, b"world\n")
    assert s.read_until(b"world\n") == b"hello world\n"
    s.send(s.STDIN_EOF)
    assert s.read_all() == (b"", b"bye\n", 9)
    s.close()
    # Much of it, read slowly: nothing is lost, since the exec waits.
    r = mon.exec("c1", "sh", "-c", "yes | head -c 3000000", mode=ATTACHED)
    s = Stream(r["stream_fd"])
    time.sleep(0.3)
    out, _, code = s.read_all()
    assert (len(out), code) == (3000000, 0)
    s.close()


def test_exec_tty_and_resize(mon):
    mon.run("c1", "sleep", "1000")
    r = mon.exec("c1", "sh", "-c", "stty size; read x; stty size; echo got-$x", mode=ATTACHED, tty=True, stdin=1, rows=11, cols=22)
    s = Stream(r["stream_fd"])
    s.read_until(b"\r\n")
    mon.c.call("resize", id="c1", exec_id=r["exec_id"], rows=33, cols=44)
    s.send(s.STDIN, b"word\r")
    out, err, code = s.read_all()
    assert b"33 44" in out and b"got-word" in out and err == b"" and code == 0
    s.close()


def test_attach(mon):
    mon.create("c1", "sh", "-c", "echo begin; cat; echo end", stdin=1, stdin_once=1)
    a = Stream(mon.c.call("attach", id="c1", stdin=1)["stream_fd"])
    b = Stream(mon.c.call("attach", id="c1")["stream_fd"])
    mon.c.call("start", id="c1")
    assert a.read_until(b"begin\n") == b"begin\n"
    b.send(b.STDIN, b"not allowed\n")
    a.send(a.STDIN, b"typed\n")
    assert b.read_until(b"typed\n") == b"begin\ntyped\n"
    a.close()  # stdin once: the input ends
    assert b.read_all() == (b"end\n", b"", 0)
    assert mon.lines("c1") == [b"begin", b"typed", b"end"]
    with pytest.raises(MonitorError):
        mon.c.call("attach", id="c1")


def test_stdin_stays_open(mon):
    mon.run("c1", "cat", stdin=1)
    a = Stream(mon.c.call("attach", id="c1", stdin=1)["stream_fd"])
    a.send(a.STDIN, b"one\n")
    a.read_until(b"one\n")
    a.send(a.STDIN_EOF)
    a.close()
    a = Stream(mon.c.call("attach", id="c1", stdin=1)["stream_fd"])
    a.send(a.STDIN, b"two\n")
    a.read_until(b"two\n")
    mon.c.call("close_stdin", id="c1")
    assert a.read_all() == (b"", b"", 0)


def test_tty_container(mon):
    mon.create("c1", "sh", "-c", "read x; stty size; echo got-$x; exit 3", tty=True, stdin=1, rows=20, cols=30)
    a = Stream(mon.c.call("attach", id="c1", stdin=1)["stream_fd"])
    mon.c.call("start", id="c1")
    a.send(a.RESIZE, struct.pack("<HH", 40, 50))
    a.send(a.STDIN, b"word\r")
    out, _, code = a.read_all()
    assert b"40 50" in out and b"got-word" in out and code == 3
    assert b"got-word" in mon.log("c1")


def test_slow_viewer_does_not_stall(mon):
    """It is dropped; the container and the other viewer go on."""
    mon.run("c1", "sh", "-c", "read x; for i in 0 1 2 3 4 5 6 7; do seq ${i}00000 ${i}49999; sleep 0.1; done; echo done",
            stdin=1, log=False)
    slow = Stream(mon.c.call("attach", id="c1")["stream_fd"])
    fast = Stream(mon.c.call("attach", id="c1", stdin=1)["stream_fd"])
    fast.send(fast.STDIN, b"go\n")
    out, _, code = fast.read_all()
    assert code == 0 and out.endswith(b"749999\ndone\n")
    assert slow.read_all()[2] is None  # cut off, no exit code
    slow.close(), fast.close()


def test_reopen_loses_nothing(mon, workdir):
    n = 60000
    mon.run("c1", "sh", "-c", f"i=0; while [ $i -lt {n} ]; do echo line $i; i=$((i+1)); done")
    path, moved = os.path.join(workdir, "c1.log"), 0
    while mon.c.call("state", id="c1")["state"] != 4:
        os.rename(path, f"{path}.{moved}")
        moved += 1
        mon.c.call("reopen_log", id="c1")
        assert os.path.exists(path)
        time.sleep(0.002)
    mon.c.call("wait", id="c1")
    got = []
    for i in list(range(moved)) + [None]:
        with open(path if i is None else f"{path}.{i}") as f:
            got += [line.split(" ", 3)[3].rstrip("\n") for line in f]
    assert moved > 3
    assert got == [f"line {i}" for i in range(n)]


def test_own_rotation_and_json(mon, workdir):
    mon.run("c1", "sh", "-c", "seq 1 3000; printf 'no \"newline'", log_format=LOG_JSON, log_max_size=20000, log_max_files=100)
    mon.c.call("wait", id="c1")
    files = sorted((f for f in os.listdir(workdir) if f.startswith("c1.log")), key=lambda f: -int((f.split(".") + ["0"])[2]))
    assert len(files) > 5
    text = ""
    for f in files:
        path = os.path.join(workdir, f)
        assert os.path.getsize(path) <= 20000
        text += "".join(json.loads(line)["log"] for line in open(path))
    assert text == "".join(f"{i}\n" for i in range(1, 3001)) + 'no "newline'


def test_partial_lines(mon):
    mon.run("c1", "sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo; printf rest",
            edit=lambda c: c["process"].update(args=["sh", "-c", "yes x | head -n 40000 | busybox tr -d '\\n'; echo; printf rest"]))
    mon.c.call("wait", id="c1")
    tags = [line.split(b" ", 3)[2:] for line in mon.log("c1").splitlines()]
    assert [(t, len(x)) for t, x in tags] == [(b"P", 16384), (b"P", 16384), (b"F", 40000 - 32768), (b"P", 4)]


def test_full_disk(mon):
    """/dev/full refuses every write: the container does not notice, and the lost lines are counted."""
    mon.run("c1", "sh", "-c", "seq 1 1000; exit 6", log_path="/dev/full", log_format=1)
    s = mon.c.call("wait", id="c1")
    assert s["exit_code"] == 6 and s["lost_lines"] == 1000
    assert mon.status("c1")["lost_lines"] == "1000"


def test_oom(own):
    own.run("c1", "sh", "-c", "x=$(head -c 100000000 /dev/zero | busybox tr '\\0' x); exit 0", memory={"limit": 16 << 20, "swap": 16 << 20})
    s = own.c.call("wait", id="c1")
    assert s["oom_killed"] == 1
    assert own.status("c1")["oom_killed"] == "1"


def test_pause_and_update(mon):
    mon.run("c1", "sleep", "1000")
    mon.c.call("pause", id="c1")
    assert mon.c.call("state", id="c1")["state"] == 3 and mon.status("c1")["state"] == "paused"
    mon.c.call("resume", id="c1")
    assert mon.c.call("state", id="c1")["state"] == 2
    mon.c.call("update", id="c1", resources=json.dumps({"pids": {"limit": 77}}).encode())
    with pytest.raises(MonitorError):
        mon.c.call("update", id="c1", resources=b"{nonsense")


def test_events(mon, workdir):
    sub = mon.connect()
    sub.call("subscribe")
    mon.run("c1", "sleep", "1000")
    mon.exec("c1", "true", mode=DETACHED, exec_id="x")
    kind, e = sub.event()
    assert (kind, e["id"], e["exec_id"]) == ("exec_exited", "c1", "x")
    mon.c.call("kill", id="c1", signal=9)
    kind, e = sub.event()
    assert (kind, e["id"], e["exit_code"]) == ("exited", "c1", 137)
    sub.close()


def test_notify_and_exit_command(workdir, runtime):
    path = os.path.join(workdir, "n.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    listener.settimeout(10)
    m = Monitor(program("tare-monitor"), workdir, f"n{os.getpid()}", runtime, notify=path)
    mark = os.path.join(workdir, "mark")
    m.run("c1", "true", exit_command=["/bin/sh", "-c", f"cat {m.bundle('c1')}/status > {mark}.new; mv {mark}.new {mark}"])
    assert listener.recv(100) == b"exit c1\n"
    wait_for(lambda: os.path.exists(mark))
    assert "state=exited" in open(mark).read()  # the status came first
    m.close()


def test_client_dies(mon):
    """A client that is killed in the middle of anything changes nothing for the others."""
    pid = os.fork()
    if pid == 0:
        c = mon.connect()
        mon.create("c1", "sh", "-c", "sleep 0.5; exit 4", conn=c)
        c.call("start", id="c1")
        c.call("attach", id="c1")
        c.send("wait", {"id": "c1"})
        c.send("exec", {"id": "c1", "process": json.dumps(process("sleep", "0.3")).encode(), "mode": CAPTURED})
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    again = mon.connect()
    assert again.call("wait", id="c1")["exit_code"] == 4
    again.close()


def test_many_at_once(own):
    own.run("c1", "sleep", "1000")
    wrong = []

    def work(k):
        c = own.connect()
        for i in range(10):
            r = own.exec("c1", "sh", "-c", f"echo {k}-{i}; exit {i}", conn=c)
            if (r["stdout"], r.get("exit_code", 0)) != (f"{k}-{i}\n".encode(), i):
                wrong.append(r)
        c.close()
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong
    with open(f"/proc/{own.pid}/status") as f:
        assert "Threads:\t1\n" in f.read()
    assert len(os.listdir(f"/proc/{own.pid}/fd")) < 30
    children = open(f"/proc/{own.pid}/task/{own.pid}/children").read().split()
    assert len(children) == 1  # no zombies


def test_hostile_messages(own):
    def raw(packet):
        c = own.connect()
        c.sock.send(packet)
        try:
            return c.recv(5)
        except (EOFError, ConnectionResetError):
            return None
        finally:
            c.close()

    good, _ = encode(15, 9, {"id": "x"})
    assert raw(b"x") is None
    assert raw(good[:15]) is None
    assert raw(good[:-1]) is None
    kind, flags, seq, f = raw(encode(999, 3, {})[0])
    assert flags & 2 and f["kind"] == 7 and seq == 3
    kind, flags, _, f = raw(encode(15, 3, {"id": "x"}, major=9)[0])
    assert flags & 2 and f["kind"] == 7
    body = field(60000, b"from the future") + field(16, b"nobody")
    kind, flags, _, f = raw(struct.pack("<IBBHIII", 0x4E4F4D54, 1, 9, 15, 0, 4, len(body)) + body)
    assert flags & 2 and "nobody" in f["text"]
    for bad in (field(16, b"a\0b"), field(36, b"123"), field(16, b"x")[:-1] + b"", b"\1\2\3", field(39, struct.pack("<q", 3))):
        r = raw(struct.pack("<IBBHIII", 0x4E4F4D54, 1, 0, 6, 0, 4, len(bad)) + bad)
        assert r and r[1] & 2
    # Before hello.
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(os.path.join(own.dir, "mon.sock"))
    with pytest.raises(MonitorError):
        Connection(s).call("state")
    s.close()
    many = [own.connect() for _ in range(100)]
    [c.close() for c in many]
    assert own.c.call("state")["pid"] == own.pid
    for bad in ("../x", "", "a/b", "x" * 2000):
        with pytest.raises(MonitorError):
            own.c.call("create", id=bad, bundle="/tmp")


def test_shutdown_only_when_empty(own):
    own.run("c1", "sleep", "1000")
    with pytest.raises(MonitorError) as e:
        own.c.call("shutdown")
    assert e.value.kind == 5
    os.kill(own.pid, signal.SIGTERM)
    time.sleep(0.1)
    assert own.c.call("state", id="c1")["state"] == 2


def test_pod_namespaces(workdir):
    m = Monitor(program("tare-monitor"), workdir, f"p{os.getpid()}", hostname="podname", new_uts=1, new_ipc=1, new_net=1, pid_init=1,
                netns=os.path.join(workdir, "netns"), sysctl=["kernel.shm_rmid_forced=1", "net.ipv4.ip_unprivileged_port_start=99"])
    try:
        wait_for(lambda: open(f"/proc/{m.pod['init_pid']}/comm").read() == "tare-init\n")
        kinds = {"network": "ns_net", "ipc": "ns_ipc", "uts": "ns_uts", "pid": "ns_pid"}
        ns = [{"type": k, "path": m.pod[v]} for k, v in kinds.items()] + [{"type": "mount"}]
        m.run("c1", "sleep", "1000", namespaces=ns, edit=lambda c: c.pop("hostname"))
        r = m.exec("c1", "sh", "-c", "hostname; cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start; ps")
        assert r["stdout"].startswith(b"podname\n1\n99\n"), r
        assert b"sleep 1000" in r["stdout"]
        assert os.readlink(f"/proc/{m.pid}/ns/net") == os.readlink("/proc/self/ns/net")
        # Another container of the pod sees the first one's processes.
        m.run("c2", "sh", "-c", "ps", namespaces=ns, edit=lambda c: c.pop("hostname"))
        m.c.call("wait", id="c2")
        assert any(b"sleep 1000" in line for line in m.lines("c2"))
    finally:
        m.close()
        os.system(f"umount {workdir}/netns")
    assert not alive(m.pod["init_pid"])


def test_pod_user_namespace(workdir):
    m = Monitor(program("tare-monitor"), workdir, f"u{os.getpid()}", hostname="inside", new_uts=1, new_ipc=1,
                uid_map=["0 100000 65536"], gid_map=["0 100000 65536"])
    try:
        assert m.pod["ns_user"].startswith(f"/proc/{m.pid}/fd/")
        assert os.stat(m.pod["ns_user"]).st_ino != os.stat("/proc/self/ns/user").st_ino
    finally:
        m.close()


def test_pod_that_cannot_be_set_up(workdir):
    with pytest.raises(MonitorError) as e:
        Monitor(program("tare-monitor"), workdir, f"e{os.getpid()}", new_uts=1, sysctl=["kernel.no_such_thing=1"])
    assert "no_such_thing" in e.value.text
