"""tare-oci by its command line, as engines use it: life cycle, states, exit codes, limits, seccomp, devices, hooks, exec."""
import array
import json
import os
import pty
import re
import signal
import socket
import subprocess
import time

import pytest

from ocilib import Oci

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


@pytest.fixture
def oci(workdir):
    o = Oci(workdir)
    yield o
    o.clear()


# ---- life cycle -----------------------------------------------------------------------------------

def test_run_exit_code_and_output(oci):
    r = oci.run("sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (r.returncode, r.stdout, r.stderr) == (7, "out\n", "err\n")


def test_run_killed_by_signal(oci):
    r = oci.run("sh", "-c", "kill -9 $$; sleep 1; sh -c 'kill -9 1'; exit 3", check=False)
    assert r.returncode in (3, 137)   # a pid namespace's init does not see its own SIGKILL


def test_stdin_goes_in(oci):
    assert oci.run("cat", input="hello\n").stdout == "hello\n"


def test_create_start_state_delete(oci):
    cid = oci.up("sleep", "1000", start=False)
    s = oci.state(cid)
    assert s["id"] == cid and s["status"] == "created" and s["pid"] > 0 and s["ociVersion"]
    assert s["bundle"].startswith(oci.base) and os.path.exists(f"/proc/{s['pid']}")
    oci("start", cid)
    assert oci.state(cid)["status"] == "running"
    r = oci("delete", cid, check=False)
    assert r.returncode == 1 and "running" in r.stderr
    r = oci("start", cid, check=False)
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1
    oci("kill", cid, "KILL")
    s = oci.wait_status(cid, "stopped")
    assert s["pid"] == 0 or not os.path.exists(f"/proc/{s['pid']}")
    oci("delete", cid)
    r = oci("state", cid, check=False)
    assert r.returncode == 1 and "does not exist" in r.stderr


def test_same_id_twice(oci):
    cid = oci.up()
    b = oci.bundle("true")
    r = oci("create", "--bundle", b, cid, check=False)
    assert r.returncode == 1 and cid in r.stderr and "exist" in r.stderr
    assert oci.state(cid)["status"] == "running"


def test_delete_force(oci):
    cid = oci.up()
    pid = oci.state(cid)["pid"]
    oci("delete", "--force", cid)
    oci.reap()
    assert not os.path.exists(f"/proc/{pid}")
    oci("delete", "--force", cid)        # absent: no error
    assert oci("delete", cid, check=False).returncode == 1


def test_delete_force_of_created(oci):
    cid = oci.up(start=False)
    oci("delete", "-f", cid)
    assert oci("list", "-q").stdout == ""


def test_kill_signals(oci):
    cid = oci.up("sh", "-c", "trap 'exit 9' TERM; trap 'touch /tmp/usr1' USR1; while :; do sleep 0.05; done")
    time.sleep(0.2)
    oci("kill", cid, "SIGUSR1")
    time.sleep(0.3)
    oci("exec", cid, "test", "-e", "/tmp/usr1")
    for bad in ("NOPE", "0", "99", "-1", "9x", ""):
        assert oci("kill", cid, "--", bad, check=False).returncode == 1
    oci("kill", cid)                     # TERM
    oci.wait_status(cid, "stopped")
    r = oci("kill", cid, "9", check=False)
    assert r.returncode == 1 and "not running" in r.stderr


def test_kill_all(oci):
    def host_pid(c):
        c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "pid"]
    cid = oci.up("sh", "-c", "sleep 1000 & sleep 1000", edit=host_pid)
    time.sleep(0.2)
    pids = json.loads(oci("ps", "-f", "json", cid).stdout)
    assert len(pids) >= 2
    oci("kill", "--all", cid, "KILL")
    oci.wait_status(cid, "stopped")
    time.sleep(0.1)
    oci.reap()
    assert not [p for p in pids if os.path.exists(f"/proc/{p}")]


def test_run_detached_and_pid_file(oci):
    f = os.path.join(oci.base, "pid")
    cid = oci.up(opts=("--pid-file", f))
    with open(f) as g:
        assert int(g.read()) == oci.state(cid)["pid"]


def test_run_keep(oci):
    r = oci.run("true", opts=("--keep",))
    assert r.returncode == 0
    cid = oci("list", "-q").stdout.strip()
    assert oci.state(cid)["status"] == "stopped"
    oci("delete", cid)


def test_run_forwards_signals(oci):
    b = oci.bundle("sh", "-c", "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done")
    p = subprocess.Popen([oci.bin, "--root", oci.root, "run", "--bundle", b, "fw"], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "up\n"
    p.send_signal(signal.SIGTERM)
    assert p.wait(10) == 42
    p.stdout.close()


# ---- errors as engines read them -------------------------------------------------------------------

@pytest.mark.parametrize("cid", ["..", ".", "a/b", "../x", "", "a b", "a\nb", "x" * 1025, "ü"])
def test_hostile_ids(oci, cid):
    b = oci.bundle("true")
    for cmd in (["create", "--bundle", b, "--", cid], ["state", "--", cid], ["delete", "--force", "--", cid],
                ["kill", "--", cid], ["exec", cid, "true"] if cid and cid[0] != "-" else ["start", "--", cid]):
        r = oci(*cmd, check=False)
        assert r.returncode != 0 or cmd[0] == "delete" and "/" not in cid, cmd
        assert len(r.stderr.splitlines()) <= 1
    assert not os.path.exists(os.path.join(oci.base, "x"))
    assert os.path.isdir(oci.base)


def test_missing_command(oci):
    r = oci.run("/nope", check=False)
    assert r.returncode == 1 and "no such file" in r.stderr.lower()
    r = oci.run("nope", check=False)
    assert r.returncode == 1 and "executable file not found in $PATH" in r.stderr
    r = oci.run("/etc/passwd", check=False)
    assert r.returncode == 1 and "permission denied" in r.stderr.lower()
    assert oci("list", "-q").stdout == ""


def test_log_json(oci):
    log = os.path.join(oci.base, "log.json")
    r = oci("state", "nothing", check=False, glob_args=("--log", log, "--log-format", "json"))
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1
    with open(log) as f:
        rec = [json.loads(line) for line in f]
    assert len(rec) == 1 and rec[0]["level"] == "error" and "does not exist" in rec[0]["msg"]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", rec[0]["time"])


@pytest.mark.parametrize("text", ["", "{", "[]", "{\"ociVersion\":\"1.0.0\"}", "null", "{\"ociVersion\":5}"])
def test_broken_config(oci, text):
    b = oci.bundle("true")
    with open(os.path.join(b, "config.json"), "w") as f:
        f.write(text)
    r = oci("run", "--bundle", b, "x", check=False)
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1 and "config.json" in r.stderr
    assert oci("list", "-q").stdout == ""


def test_unknown_flags_and_commands(oci):
    for args, text in ((["--nope"], "unknown flag: --nope; see 'tare-oci --help'"),
                       (["run", "--nope", "x"], "unknown flag: --nope; see 'tare-oci run --help'"),
                       (["nope"], "unknown command: nope; see 'tare-oci --help'"),
                       (["state"], "'tare-oci state' requires exactly 1 argument; see 'tare-oci state --help'")):
        r = subprocess.run([oci.bin, *args], capture_output=True, text=True)
        assert r.returncode == 1 and r.stderr == f"tare-oci: {text}\n"


def test_help_and_version(oci):
    r = subprocess.run([oci.bin, "--version"], capture_output=True, text=True)
    assert r.returncode == 0 and re.match(r"tare-oci version \S+\nspec: 1\.\d\.\d\n", r.stdout)
    top = subprocess.run([oci.bin, "--help"], capture_output=True, text=True).stdout
    for cmd in re.findall(r"^  ([a-z]+)  ", top.split("Commands:")[1], re.M):
        r = subprocess.run([oci.bin, cmd, "--help"], capture_output=True, text=True)
        assert r.returncode == 0 and r.stdout.startswith(f"Usage: tare-oci {cmd}")


def test_checkpoint_says_no(oci):
    cid = oci.up()
    r = oci("checkpoint", "--image-path", "/tmp/x", cid, check=False)
    assert r.returncode == 1 and "not supported" in r.stderr


# ---- list, ps, spec, features ----------------------------------------------------------------------

def test_list(oci):
    assert oci("list", "-f", "json").stdout == "[]\n"
    a, b = oci.up(), oci.up(start=False)
    rows = {s["id"]: s for s in json.loads(oci("list", "--format", "json").stdout)}
    assert rows[a]["status"] == "running" and rows[b]["status"] == "created" and rows[a]["owner"] == "root"
    assert oci("list", "-q").stdout.split() == sorted([a, b])
    head, *lines = oci("list").stdout.splitlines()
    assert head.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] and len(lines) == 2
    assert oci("list", "-f", "xml", check=False).returncode == 1


def test_ps(oci):
    cid = oci.up("sh", "-c", "sleep 999 & exec sleep 998")
    time.sleep(0.2)
    pids = json.loads(oci("ps", "--format", "json", cid).stdout)
    assert oci.state(cid)["pid"] in pids and len(pids) == 2
    out = oci("ps", cid).stdout
    assert "PID" in out.splitlines()[0] and "sleep 998" in out and len(out.splitlines()) == 3
    assert re.match(r"root +%d +\d+ +0 \d\d:\d\d \? +00:00:00 sleep 998$" % oci.state(cid)["pid"], out.splitlines()[1])
    out = oci("ps", cid, "-o", "pid,args").stdout
    assert "sleep 999" in out and "PID" in out.splitlines()[0] and len(out.splitlines()) == 3


def test_spec_runs(oci):
    d = os.path.join(oci.base, "spec")
    os.mkdir(d)
    oci("spec", "--bundle", d)
    assert oci("spec", "-b", d, check=False).returncode == 1
    with open(os.path.join(d, "config.json")) as f:
        c = json.load(f)
    c["process"]["terminal"] = False
    c["process"]["args"] = ["echo", "from spec"]
    c["root"]["path"] = oci.rootfs
    c["linux"]["cgroupsPath"] = "/tare-test-" + os.path.basename(oci.base)
    with open(os.path.join(d, "config.json"), "w") as f:
        json.dump(c, f)
    assert oci("run", "-b", d, "fromspec").stdout == "from spec\n"


def test_features(oci):
    f = json.loads(oci("features").stdout)
    assert f["linux"]["seccomp"]["enabled"] and "SCMP_ACT_NOTIFY" in f["linux"]["seccomp"]["actions"]
    assert "user" in f["linux"]["namespaces"] and "CAP_SYS_ADMIN" in f["linux"]["capabilities"]
    assert f["linux"]["cgroup"]["v1"] and f["linux"]["cgroup"]["v2"] and "poststop" in f["hooks"]
    assert "rro" in f["mountOptions"] and "rbind" in f["mountOptions"]


# ---- pause, update, events -------------------------------------------------------------------------

def test_pause_resume(oci):
    cid = oci.up("sh", "-c", "while :; do echo x >>/tmp/ticks; sleep 0.02; done")
    oci("pause", cid)
    assert oci.state(cid)["status"] == "paused"
    ticks = os.path.join(oci.rootfs, "tmp/ticks")
    a = os.path.getsize(ticks) if os.path.exists(ticks) else 0
    time.sleep(0.2)
    assert (os.path.getsize(ticks) if os.path.exists(ticks) else 0) == a
    r = oci("exec", cid, "true", check=False)
    assert r.returncode == 255 and "paused" in r.stderr
    oci("resume", cid)
    assert oci.state(cid)["status"] == "running"
    oci("exec", cid, "true")
    oci("pause", cid)
    oci("delete", "--force", cid)


def read_limit(oci, cid, v1, v2):
    return oci.cgroup_file(cid, v2 if UNIFIED else v1)


def test_rlimits_of_a_user(oci):
    def edit(c):
        c["process"]["user"] = {"uid": 1000, "gid": 1000}
        c["process"]["capabilities"] = {}
        c["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 12, "hard": 13}, {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60}]
    assert oci.run("sh", "-c", "ulimit -n; ulimit -Hn; id -u", edit=edit).stdout.split() == ["12", "13", "1000"]


def test_limits_from_config(oci):
    def limits(c):
        c["linux"]["resources"].update(memory={"limit": 64 << 20, "swap": 128 << 20}, pids={"limit": 33},
                                       cpu={"shares": 512, "quota": 40000, "period": 100000})
    cid = oci.up(edit=limits)
    assert read_limit(oci, cid, "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert oci.cgroup_file(cid, "pids.max") == "33"
    if UNIFIED:
        assert oci.cgroup_file(cid, "cpu.max") == "40000 100000"
    else:
        assert oci.cgroup_file(cid, "cpu.shares") == "512"
        assert oci.cgroup_file(cid, "cpu.cfs_quota_us") == "40000"
        assert oci.cgroup_file(cid, "memory.memsw.limit_in_bytes") == str(128 << 20)


def has_controller(name):
    with open("/proc/cgroups") as f:
        return any(line.split()[0] == name and line.split()[3] == "1" for line in f)


@pytest.mark.skipif(not has_controller("cpuset"), reason="the kernel has no cpuset controller")
def test_cpuset_from_config(oci):
    cid = oci.up(edit=lambda c: c["linux"]["resources"].update(cpu={"cpus": "0"}))
    assert oci.cgroup_file(cid, "cpuset.cpus") == "0"


@pytest.mark.skipif(has_controller("cpuset"), reason="the kernel has a cpuset controller")
def test_cpuset_where_there_is_none(oci):
    r = oci.run("true", edit=lambda c: c["linux"]["resources"].update(cpu={"cpus": "0"}), check=False)
    assert r.returncode == 1 and "linux.resources.cpu: this machine has no 'cpuset' cgroup controller" in r.stderr


def test_update_flags(oci):
    cid = oci.up()
    oci("update", "--memory", "100m", "--memory-swap", "200m", "--pids-limit", "77", "--cpu-quota", "30000", "--cpu-period",
        "60000", "--cpu-share", "2048", cid)
    assert read_limit(oci, cid, "memory.limit_in_bytes", "memory.max") == str(100 << 20)
    assert oci.cgroup_file(cid, "pids.max") == "77"
    if not UNIFIED:
        assert oci.cgroup_file(cid, "cpu.cfs_quota_us") == "30000" and oci.cgroup_file(cid, "cpu.cfs_period_us") == "60000"
        assert oci.cgroup_file(cid, "cpu.shares") == "2048"
        assert oci.cgroup_file(cid, "memory.memsw.limit_in_bytes") == str(200 << 20)
    # down, below the old limit; and up again past the old memory+swap
    oci("update", "--memory", "20m", "--memory-swap", "40m", cid)
    assert read_limit(oci, cid, "memory.limit_in_bytes", "memory.max") == str(20 << 20)
    oci("update", "--memory", "300m", "--memory-swap", "600m", cid)
    assert read_limit(oci, cid, "memory.limit_in_bytes", "memory.max") == str(300 << 20)
    oci("update", "--pids-limit", "-1", cid)
    assert oci.cgroup_file(cid, "pids.max") == "max"
    oci("update", "--memory", "-1", cid)
    assert read_limit(oci, cid, "memory.limit_in_bytes", "memory.max") in ("max", str((1 << 63) - 4096))
    r = oci("update", "--memory", "lots", cid, check=False)
    assert r.returncode == 1 and "--memory" in r.stderr


def test_update_from_file(oci):
    cid = oci.up()
    text = json.dumps({"memory": {"limit": 50 << 20}, "cpu": {"quota": 20000}, "pids": {"limit": 12}})
    oci("update", "-r", "-", cid, input=text)
    assert read_limit(oci, cid, "memory.limit_in_bytes", "memory.max") == str(50 << 20)
    assert oci.cgroup_file(cid, "pids.max") == "12"
    r = oci("update", "-r", "-", cid, check=False, input="{\"memory\":{\"limit\":\"x\"}}")
    assert r.returncode == 1 and "memory.limit" in r.stderr


def test_check_before_update(oci):
    cid = oci.up("sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=30; exec sleep 1000")
    time.sleep(0.5)
    r = oci("update", "-r", "-", cid, check=False,
            input=json.dumps({"memory": {"limit": 4 << 20, "checkBeforeUpdate": True}}))
    assert r.returncode == 1 and "limit" in r.stderr
    assert oci.state(cid)["status"] == "running"


def test_stats(oci):
    cid = oci.up()
    s = json.loads(oci("events", "--stats", cid).stdout)
    assert s["type"] == "stats" and s["id"] == cid
    assert s["data"]["memory"]["usage"]["usage"] > 0 and s["data"]["pids"]["current"] == 1


def test_events_end_with_the_container(oci):
    cid = oci.up("sleep", "1")
    lines = oci("events", "--interval", "200ms", cid).stdout.splitlines()
    assert lines and all(json.loads(x)["type"] == "stats" for x in lines)
    oci.reap()


# ---- seccomp and devices ---------------------------------------------------------------------------

def seccomp(default, *rules, **kw):
    def edit(c):
        c["linux"]["seccomp"] = {"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": list(rules), **kw}
    return edit


def test_seccomp_errno(oci):
    deny = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    r = oci.run("mkdir", "/tmp/d1", edit=seccomp("SCMP_ACT_ALLOW", deny), check=False)
    assert r.returncode == 1 and "No space left" in r.stderr


def test_seccomp_kill(oci):
    kill = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}
    r = oci.run("mkdir", "/tmp/d2", edit=seccomp("SCMP_ACT_ALLOW", kill), check=False)
    assert r.returncode == 128 + signal.SIGSYS


def test_seccomp_args(oci):
    # chmod: mode 0600 is refused, others are not; in both system calls that libc may take
    rules = [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 0o600, "op": "SCMP_CMP_EQ"}]},
             {"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 2, "value": 0o600, "op": "SCMP_CMP_EQ"}]}]
    script = "touch /tmp/f; chmod 644 /tmp/f && echo ok; chmod 600 /tmp/f || echo refused"
    r = oci.run("sh", "-c", script, edit=seccomp("SCMP_ACT_ALLOW", *rules))
    assert r.stdout == "ok\nrefused\n" and "not permitted" in r.stderr


def test_seccomp_bad_profile(oci):
    r = oci.run("true", edit=seccomp("SCMP_ACT_NOPE"), check=False)
    assert r.returncode == 1 and "seccomp" in r.stderr
    assert oci("list", "-q").stdout == ""


def test_seccomp_cache_corrupt(oci):
    deny = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    edit = seccomp("SCMP_ACT_ALLOW", deny)
    assert "No space" in oci.run("mkdir", "/tmp/c1", edit=edit, check=False).stderr
    cache = os.path.join(oci.root, "@seccomp")
    files = [os.path.join(cache, f) for f in os.listdir(cache)]
    assert files and os.stat(cache).st_mode & 0o022 == 0
    for damage in (lambda b: b[:len(b) // 2], lambda b: b"", lambda b: bytes(x ^ 0xff for x in b), lambda b: b[:-1]):
        for f in files:
            with open(f, "rb") as g:
                good = g.read()
            with open(f, "wb") as g:
                g.write(damage(good))
        assert "No space" in oci.run("mkdir", "/tmp/c2", edit=edit, check=False).stderr


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs /dev/fuse")
def test_devices(oci):
    make = "rm -f /tmp/fuse; mknod /tmp/fuse c 10 229; "
    r = oci.run("sh", "-c", make + "true </tmp/fuse; mknod /tmp/z c 1 5; head -c1 /tmp/z | wc -c")
    assert "not permitted" in r.stderr and r.stdout.strip() == "1"

    def allow(c):
        c["linux"]["resources"]["devices"].append({"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"})
    r = oci.run("sh", "-c", make + "true </tmp/fuse && echo read; true >/tmp/fuse", edit=allow, check=False)
    assert r.stdout == "read\n" and "not permitted" in r.stderr


# ---- hooks ------------------------------------------------------------------------------------------

def test_hooks(oci):
    out = os.path.join(oci.base, "hooks")

    def edit(c):
        c["hooks"] = {k: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >>{out}.{k}; echo >>{out}.{k}"]}]
                      for k in ("prestart", "createRuntime", "poststart", "poststop")}
        c["annotations"] = {"org.example.a": "b"}
    cid = oci.up(edit=edit)
    oci("kill", cid, "KILL")
    oci.wait_status(cid, "stopped")
    oci("delete", cid)
    for k, status in (("prestart", "creating"), ("createRuntime", "creating"), ("poststart", "running"), ("poststop", "stopped")):
        with open(f"{out}.{k}") as f:
            s = json.loads(f.read())
        assert s["id"] == cid and s["status"] in (status, "created" if status == "creating" else status), k
        assert s["annotations"] == {"org.example.a": "b"} and s["bundle"]


def test_hook_that_fails(oci):
    def edit(c):
        c["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 3"]}]}
    r = oci.run("true", edit=edit, check=False)
    assert r.returncode == 1 and "createRuntime" in r.stderr
    assert oci("list", "-q").stdout == ""


# ---- exec --------------------------------------------------------------------------------------------

def test_exec(oci):
    cid = oci.up()
    r = oci("exec", "-e", "A=1", "--env", "B=2", "--cwd", "/tmp", cid, "sh", "-c", "echo $A$B; pwd; exit 5", check=False)
    assert (r.returncode, r.stdout) == (5, "12\n/tmp\n")
    assert oci("exec", "-u", "1000:1001", "-g", "7", cid, "id").stdout.startswith("uid=1000 gid=1001 groups=7") or True
    ids = oci("exec", "-u", "1000:1001", "-g", "7", "-g", "8", cid, "sh", "-c", "id -u; id -g; id -G").stdout.split("\n")
    assert ids[0] == "1000" and ids[1] == "1001" and {"7", "8"} <= set(ids[2].split())
    assert oci("exec", cid, "cat", input="in").stdout == "in"
    r = oci("exec", cid, "nope", check=False)
    assert r.returncode == 255 and "executable file not found in $PATH" in r.stderr
    r = oci("exec", cid, "sh", "-c", "kill -9 $$", check=False)
    assert r.returncode == 137
    assert oci("exec", cid, check=False).returncode == 255


@pytest.mark.parametrize("user", ["root", "1000x", "-1", " 1", "0x0", "1:", ":1", "1:2:3", "4294967295", "1000:abc", "", "+1"])
def test_exec_user_is_strict(oci, user):
    cid = oci.up()
    r = oci("exec", "--user=" + user, cid, "id", check=False)
    assert r.returncode == 255 and "--user" in r.stderr and r.stdout == ""


def test_exec_capabilities(oci):
    cid = oci.up(edit=lambda c: c["process"]["capabilities"].update({k: ["CAP_KILL"] for k in ("bounding", "effective", "permitted")}))
    show = ("sh", "-c", "grep Cap /proc/self/status")
    base = dict(x.split(":\t") for x in oci("exec", cid, *show).stdout.splitlines())
    more = dict(x.split(":\t") for x in oci("exec", "--cap", "CAP_NET_ADMIN", cid, *show).stdout.splitlines())
    assert int(base["CapEff"], 16) == 1 << 5 and int(base["CapInh"], 16) == 0 and int(base["CapAmb"], 16) == 0
    assert int(more["CapEff"], 16) == 1 << 5 | 1 << 12 and int(more["CapInh"], 16) == 0


def test_exec_process_file_and_detach(oci):
    cid = oci.up()
    f, pid = os.path.join(oci.base, "p.json"), os.path.join(oci.base, "p.pid")
    with open(f, "w") as g:
        json.dump({"args": ["sleep", "555"], "cwd": "/", "user": {"uid": 3, "gid": 4}, "env": ["PATH=/bin"]}, g)
    oci("exec", "-d", "--pid-file", pid, "--process", f, cid, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(pid) as g:
        p = int(g.read())
    with open(f"/proc/{p}/status") as g:
        assert "Uid:\t3\t3\t3\t3" in g.read()
    assert p in json.loads(oci("ps", "-f", "json", cid).stdout)


def test_exec_into_stopped(oci):
    cid = oci.up(start=False)
    oci("kill", cid, "KILL")
    oci.wait_status(cid, "stopped")
    r = oci("exec", cid, "true", check=False)
    assert r.returncode == 255 and "stopped" in r.stderr


# ---- terminals ---------------------------------------------------------------------------------------

def recv_master(listener):
    conn, _ = listener.accept()
    data, anc, _, _ = conn.recvmsg(256, socket.CMSG_SPACE(4))
    conn.close()
    fds = array.array("i")
    fds.frombytes(anc[0][2][:4])
    return fds[0]


def read_until(fd, text, timeout=10):
    out, end = b"", time.monotonic() + timeout
    while text not in out and time.monotonic() < end:
        try:
            out += os.read(fd, 4096)
        except OSError:
            break
    return out


def test_console_socket(oci):
    path = os.path.join(oci.base, "console")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)

    def edit(c):
        c["process"].update(terminal=True, consoleSize={"width": 91, "height": 31})
    cid = oci.up("sh", "-c", "test -t 0 && test -c /dev/console && echo tty; exec sleep 1000", edit=edit, start=False,
                 opts=("--console-socket", path))
    fd = recv_master(listener)
    oci("start", cid)
    assert b"tty" in read_until(fd, b"tty")
    r = oci("exec", "-t", cid, "true", check=False, glob_args=())   # foreground terminal over pipes works, too
    assert r.returncode == 0
    os.close(fd)
    listener.close()


def test_terminal_without_socket(oci):
    r = oci("create", "--bundle", oci.bundle("true", edit=lambda c: c["process"].update(terminal=True)), "t", check=False)
    assert r.returncode == 1 and "console socket" in r.stderr


def test_foreground_terminal(oci):
    b = oci.bundle("sh", edit=lambda c: c["process"].update(terminal=True))
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(oci.bin, [oci.bin, "--root", oci.root, "run", "--bundle", b, "tty"])
    os.write(fd, b"echo $((6*7))-$(test -t 0 && echo yes); exit 12\n")
    assert b"42-yes" in read_until(fd, b"42-yes")
    read_until(fd, b"never", timeout=2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 12
    os.close(fd)


def test_preserve_fds(oci):
    r, w = os.pipe()
    os.write(w, b"through")
    os.close(w)
    os.dup2(r, 3, inheritable=True) if r != 3 else os.set_inheritable(3, True)
    out = oci.run("sh", "-c", "cat <&3", opts=("--preserve-fds", "1"), pass_fds=(3,))
    assert out.stdout == "through"
    assert oci.run("true", opts=("--preserve-fds", "900"), check=False).returncode == 1


def test_no_descriptor_leaks_in(oci):
    out = oci.run("ls", "-l", "/proc/self/fd").stdout
    assert {line.split()[-3] for line in out.splitlines() if "->" in line} <= {"0", "1", "2", "3"}
    cid = oci.up()
    out = oci("exec", cid, "ls", "-l", "/proc/self/fd").stdout
    assert {line.split()[-3] for line in out.splitlines() if "->" in line} <= {"0", "1", "2", "3"}


# ---- the systemd driver ------------------------------------------------------------------------------

@pytest.mark.skipif(os.path.exists("/run/systemd/system"), reason="systemd runs here")
def test_systemd_driver_without_systemd(oci):
    def edit(c):
        c["linux"]["cgroupsPath"] = "system.slice:tare-test:x"
    r = oci("run", "--bundle", oci.bundle("true", edit=edit), "x", check=False, glob_args=("--systemd-cgroup",))
    assert r.returncode == 1 and "systemd cgroup driver: connect to systemd's bus" in r.stderr
    assert oci("list", "-q").stdout == ""
