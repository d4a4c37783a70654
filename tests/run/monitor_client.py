"""The monitor's protocol as docs/monitor.md tells it, written independently of the C code: a client for the tests."""
import array
import json
import os
import shutil
import socket
import struct
import subprocess
import time

MAGIC, MAJOR, MINOR = 0x4E4F4D54, 1, 0
REPLY, ERROR, EVENT = 1, 2, 4

TYPES = {name: i + 1 for i, name in enumerate(
    "hello pod create start kill exec attach resize close_stdin reopen_log pause resume update wait state remove shutdown "
    "subscribe".split())}
EVENTS = {64: "exited", 65: "exec_exited", 66: "oom"}

NUM, TEXT, LIST, BYTES, FD = range(5)
TAGS = {}
for start, names in ((1, "errno:n kind:n text:s major:n minor:n version:s pid:n"),
                     (16, "id:s exec_id:s bundle:s lower:l upper:s work:s mount_option:l tty:n stdin:n stdin_once:n rows:n cols:n "
                          "log_path:s log_format:n log_max_size:n log_max_files:n runtime:s runtime_arg:l systemd_cgroup:n "
                          "exit_command:l signal:n all:n process:b process_fd:f mode:n timeout_ms:n max_out:n max_err:n "
                          "stream_fd:f stdout:b stdout_fd:f stderr:b stderr_fd:f exit_code:n exit_signal:n timed_out:n "
                          "truncated:n resources:b state:n created_ns:n started_ns:n exited_ns:n oom_killed:n reason:s force:n "
                          "start_time:n lost_lines:n container:l"),
                     (128, "hostname:s domainname:s netns:s new_net:n new_ipc:n new_uts:n pid_init:n uid_map:l gid_map:l sysctl:l "
                           "cgroup:l notify:s oom_score_adj:n ns_net:s ns_ipc:s ns_uts:s ns_pid:s ns_user:s init_pid:n "
                           "exit_grace_ms:n")):
    for i, spec in enumerate(names.split()):
        name, kind = spec.split(":")
        TAGS[name] = (start + i, "nslbf".index(kind))
NAMES = {tag: (name, kind) for name, (tag, kind) in TAGS.items()}

STATES = ["creating", "created", "running", "paused", "exited"]
ATTACHED, CAPTURED, DETACHED = range(3)
LOG_NONE, LOG_CRI, LOG_JSON = range(3)


class MonitorError(Exception):
    def __init__(self, errno, kind, text):
        super().__init__(f"{text} (errno {errno}, kind {kind})")
        self.errno, self.kind, self.text = errno, kind, text


def field(tag, value):
    return struct.pack("<HHI", tag, 0, len(value)) + value


def encode(kind, seq, fields, flags=0, major=MAJOR):
    body, fds = b"", []
    for name, value in fields.items():
        tag, what = TAGS[name]
        if value is None:
            continue
        if what == NUM:
            body += field(tag, struct.pack("<q", int(value)))
        elif what == TEXT:
            body += field(tag, value.encode())
        elif what == BYTES:
            body += field(tag, value)
        elif what == LIST:
            body += b"".join(field(tag, v.encode()) for v in value)
        else:
            body += field(tag, struct.pack("<q", len(fds)))
            fds.append(value)
    return struct.pack("<IBBHIII", MAGIC, major, MINOR, kind, flags, seq, len(body)) + body, fds


class Fields(dict):
    """What is absent is 0 or empty."""

    def __missing__(self, name):
        return {NUM: 0, TEXT: "", LIST: [], BYTES: b"", FD: -1}[TAGS[name][1]]


def decode(packet, fds):
    magic, major, minor, kind, flags, seq, length = struct.unpack("<IBBHIII", packet[:20])
    assert magic == MAGIC and length == len(packet) - 20
    out, at = Fields(), 20
    while at < len(packet):
        tag, zero, n = struct.unpack("<HHI", packet[at:at + 8])
        value = packet[at + 8:at + 8 + n]
        at += 8 + n
        name, what = NAMES[tag]
        if what == NUM:
            value = struct.unpack("<q", value)[0]
        elif what == FD:
            value = fds[struct.unpack("<q", value)[0]]
        elif what != BYTES:
            value = value.decode()
        if what == LIST:
            out.setdefault(name, []).append(value)
        else:
            out[name] = value
    return kind, flags, seq, out


class Connection:
    def __init__(self, sock):
        self.sock, self.seq = sock, 0
        self.events = []

    def send(self, kind, fields, major=MAJOR):
        self.seq += 1
        packet, fds = encode(TYPES.get(kind, kind), self.seq, fields, major=major)
        self.sock.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        return self.seq

    def recv(self, timeout=20):
        self.sock.settimeout(timeout)
        packet, ancillary, _, _ = self.sock.recvmsg(1 << 20, socket.CMSG_SPACE(16 * 4))
        if not packet:
            raise EOFError("the monitor closed the connection")
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
        return decode(packet, list(fds))

    def answer(self, seq, timeout=20):
        while True:
            kind, flags, got, fields = self.recv(timeout)
            if flags & EVENT:
                self.events.append((EVENTS[kind], fields))
            elif got == seq:
                if flags & ERROR:
                    raise MonitorError(fields.get("errno"), fields.get("kind", 0), fields.get("text"))
                return fields

    def call(self, kind, timeout=20, **fields):
        return self.answer(self.send(kind, fields), timeout)

    def event(self, timeout=20):
        if self.events:
            return self.events.pop(0)
        kind, flags, _, fields = self.recv(timeout)
        assert flags & EVENT
        return EVENTS[kind], fields

    def close(self):
        self.sock.close()


class Stream:
    """An attached stream: frames of a type, a length and a payload."""
    STDIN, STDOUT, STDERR, EXIT, RESIZE, STDIN_EOF = range(6)

    def __init__(self, fd):
        self.sock = socket.socket(fileno=fd)
        self.sock.settimeout(20)

    def send(self, kind, payload=b""):
        self.sock.sendall(struct.pack("<BBHI", kind, 0, 0, len(payload)) + payload)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                return None
            data += more
        return data

    def frame(self):
        head = self.exactly(8)
        if head is None:
            return None
        kind, _, _, n = struct.unpack("<BBHI", head)
        return kind, self.exactly(n)

    def read_all(self):
        """(stdout, stderr, exit code or None)"""
        out = {self.STDOUT: b"", self.STDERR: b""}
        while True:
            f = self.frame()
            if f is None or f[1] is None:
                return out[1], out[2], None
            if f[0] == self.EXIT:
                return out[1], out[2], struct.unpack("<I", f[1])[0]
            out[f[0]] += f[1]

    def read_until(self, what):
        data = b""
        while what not in data:
            kind, payload = self.frame()
            assert kind in (self.STDOUT, self.STDERR), (kind, payload, data)
            data += payload
        return data

    def close(self):
        self.sock.close()


BUSYBOX = "/bin/busybox"
CAPS = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"]


def make_rootfs(path):
    for d in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        os.makedirs(os.path.join(path, d))
    shutil.copy(BUSYBOX, os.path.join(path, "bin/busybox"))
    for applet in "sh echo cat sleep true false head yes seq tee kill ps stty id setsid touch ls grep wc dd tail printf hostname mkdir".split():
        os.symlink("busybox", os.path.join(path, "bin", applet))


def process(*args, tty=False, **more):
    return dict({"terminal": tty, "user": {"uid": 0, "gid": 0}, "args": list(args), "cwd": "/",
                 "env": ["PATH=/bin", "TERM=xterm"], "noNewPrivileges": True,
                 "capabilities": {k: CAPS for k in ("bounding", "effective", "permitted")}}, **more)


def config(args, rootfs, cgroup, namespaces, tty=False, memory=None):
    return {
        "ociVersion": "1.0.2", "process": process(*args, tty=tty), "root": {"path": rootfs}, "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        ],
        "linux": {"cgroupsPath": cgroup, "namespaces": namespaces,
                  "resources": dict({"devices": [{"allow": False, "access": "rwm"}]}, **({"memory": memory} if memory else {}))},
    }


class Monitor:
    """A monitor of its own, and the containers that a test makes in it."""

    def __init__(self, program, base, name, runtime=None, **pod):
        self.base, self.name, self.runtime = base, name, runtime
        self.dir = os.path.join(base, "run", "pods", name)
        self.rootfs = os.path.join(base, "rootfs")
        os.makedirs(self.dir)
        if not os.path.exists(self.rootfs):
            make_rootfs(self.rootfs)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def child():
            os.dup2(theirs.fileno(), 3, inheritable=True)
            os.setsid()
        p = subprocess.Popen([program, "--dir", self.dir], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             preexec_fn=child, close_fds=False, pass_fds=[])
        theirs.close()
        boot = Connection(ours)
        try:
            self.pod = boot.call("pod", **pod)
        finally:
            p.wait()
            boot.close()
        self.pid = self.pod["pid"]
        self.c = self.connect()

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        folder = os.open(self.dir, os.O_PATH)
        s.connect(f"/proc/self/fd/{folder}/mon.sock")
        os.close(folder)
        c = Connection(s)
        assert c.call("hello", major=MAJOR, minor=MINOR)["major"] == MAJOR
        return c

    def bundle(self, cid):
        return os.path.join(self.dir, "ctr", cid)

    def log(self, cid):
        with open(os.path.join(self.base, cid + ".log"), "rb") as f:
            return f.read()

    def lines(self, cid, stream="stdout"):
        """Whole lines of a CRI log."""
        out, part = [], b""
        for line in self.log(cid).splitlines():
            _, s, tag, text = line.split(b" ", 3)
            if s == stream.encode():
                part += text
                if tag == b"F":
                    out.append(part)
                    part = b""
        return out + ([part] if part else [])

    def create(self, cid, *args, tty=False, memory=None, log=True, namespaces=None, conn=None, edit=None, **fields):
        os.makedirs(self.bundle(cid))
        ns = namespaces or [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network")]
        conf = config(args, self.rootfs, f"/tare-{self.name}/{cid}", ns, tty, memory)
        if edit:
            edit(conf)
        with open(os.path.join(self.bundle(cid), "config.json"), "w") as f:
            json.dump(conf, f)
        if log:
            fields = dict({"log_path": os.path.join(self.base, cid + ".log"), "log_format": LOG_CRI}, **fields)
        if self.runtime:
            fields = dict({"runtime": self.runtime, "runtime_arg": ["--root", os.path.join(self.base, "runtime")]}, **fields)
        return (conn or self.c).call("create", id=cid, bundle=self.bundle(cid), tty=int(tty), **fields)

    def run(self, cid, *args, **fields):
        self.create(cid, *args, **fields)
        self.c.call("start", id=cid)

    def exec(self, cid, *args, mode=CAPTURED, tty=False, conn=None, **fields):
        return (conn or self.c).call("exec", id=cid, process=json.dumps(process(*args, tty=tty)).encode(), mode=mode,
                                     tty=int(tty), **fields)

    def status(self, cid):
        with open(os.path.join(self.bundle(cid), "status")) as f:
            return dict(line.rstrip("\n").split("=", 1) for line in f)

    def close(self):
        if not os.path.exists(f"/proc/{self.pid}"):
            return
        c = self.connect()
        for cid in c.call("state").get("container", []):
            c.call("remove", id=cid, force=1)
        c.call("shutdown")
        c.close()
        self.c.close()
        for _ in range(100):
            if not os.path.exists(f"/proc/{self.pid}"):
                break
            time.sleep(0.02)
        remove_cgroups(f"tare-{self.name}")


def remove_cgroups(name):
    """Removes the (empty) cgroups that the test's containers were in."""
    top = "/sys/fs/cgroup"
    for h in [top] + [os.path.join(top, d) for d in os.listdir(top)]:
        for folder, _, _ in os.walk(os.path.join(h, name), topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass
