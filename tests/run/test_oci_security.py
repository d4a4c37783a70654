"""What a hostile image, volume, config or neighbour must not get from tare-oci: a test for each known class of attack on runtimes."""
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from ocilib import Oci

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def oci(workdir):
    o = Oci(workdir)
    yield o
    o.clear()


def replace_dir(rootfs, name, link):
    shutil.rmtree(os.path.join(rootfs, name))
    os.symlink(link, os.path.join(rootfs, name))


def add_mount(destination, **kw):
    return lambda c: c["mounts"].append(dict(destination=destination, **kw))


# ---- descriptors and our own program (CVE-2016-9962, 2019-5736, 2024-21626) ---------------------------

def test_no_descriptor_is_left(oci):
    r = oci.run("sh", "-c", "ls /proc/self/fd")
    assert r.stdout.split() == ["0", "1", "2", "3"]     # 3 is ls's own
    cid = oci.up()
    assert oci("exec", cid, "ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]


def test_waiting_init_holds_nothing_of_the_host(oci):
    pid = oci.state(oci.up(start=False))["pid"]
    links = {f: os.readlink(f"/proc/{pid}/fd/{f}") for f in os.listdir(f"/proc/{pid}/fd")}
    others = {f: t for f, t in links.items() if int(f) > 2}
    assert all(t.endswith("/exec.fifo") for t in others.values()), links


def test_own_program_is_read_only(oci):
    pid = oci.state(oci.up(start=False))["pid"]
    assert os.path.samestat(os.stat(f"/proc/{pid}/exe"), os.stat(oci.bin))
    assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY


def test_script_that_names_our_program_cannot_write_it(oci):
    """The attack itself: our program runs inside, and a process of the container tries to write it when it has ended."""
    before = open(oci.bin, "rb").read()
    evil = os.path.join(oci.rootfs, "bin/evil")
    with open(evil, "w") as f:
        f.write("#!/proc/self/exe\n")
    os.chmod(evil, 0o755)
    cid = oci.up("sh", "-c", "while :; do for p in /proc/[0-9]*; do case $p in /proc/1) ;; *) (exec 9<$p/exe && sleep 1; "
                 "echo x >/proc/self/fd/9) 2>/dev/null;; esac; done; done")
    for _ in range(10):
        oci("exec", cid, "/bin/evil", check=False)
    assert open(oci.bin, "rb").read() == before


@pytest.mark.parametrize("fd", range(3, 24))
def test_cwd_and_program_by_descriptor(oci, fd):
    if fd % 4 == 3:
        r = oci.run("true", edit=lambda c: c["process"].update(cwd=f"/proc/self/fd/{fd}"), check=False)
        assert r.returncode != 0
    r = oci.run(f"/proc/self/fd/{fd}/../../../../../../bin/ls", "/", check=False)
    assert r.returncode != 0 and r.stdout == ""


def test_exec_cwd_and_program_by_descriptor(oci):
    cid = oci.up()
    for fd in range(3, 24):
        assert oci("exec", "--cwd", f"/proc/self/fd/{fd}", cid, "ls", check=False).returncode != 0
        r = oci("exec", cid, f"/proc/self/fd/{fd}/../../../../../../bin/ls", "/", check=False)
        assert r.returncode in (126, 127, 255) and r.stdout == ""


def test_preserved_descriptors_only(oci):
    def run(n):
        b = oci.bundle("ls", "/proc/self/fd")
        return subprocess.run(["sh", "-c", 'exec 3</dev/null; exec "$@"', "sh", oci.bin, "--root", oci.root, "run", "--preserve-fds",
                               str(n), "--bundle", b, "p%d" % n], capture_output=True, text=True, timeout=20)
    assert run(1).stdout.split() == ["0", "1", "2", "3", "4"]
    bad = run(5)
    assert bad.returncode != 0 and "preserve-fds" in bad.stderr


# ---- symlinks in the image (CVE-2021-30465, 2023-27561, 2023-28642, 2024-45310, 2026-41579) -------------

@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_kernel_folders_are_not_followed(oci, name):
    os.makedirs(os.path.join(oci.rootfs, "elsewhere"))
    replace_dir(oci.rootfs, name, "/elsewhere")
    r = oci.run("true", check=False, edit=lambda c: c.update(mounts=[m for m in c["mounts"] if m["destination"] == "/" + name]))
    assert r.returncode != 0 and name in r.stderr
    assert os.listdir(os.path.join(oci.rootfs, "elsewhere")) == []


def test_mount_target_stays_in_the_root(oci, workdir):
    outside = os.path.join(workdir, "outside")
    os.mkdir(outside)
    os.symlink(outside, os.path.join(oci.rootfs, "out"))
    os.symlink("../" * 20 + outside.lstrip("/"), os.path.join(oci.rootfs, "up"))
    for t in ("/out/made", "/up/made", "/../../../../../.." + outside + "/made"):
        oci.run("true", edit=add_mount(t, type="tmpfs", source="tmpfs"), check=False)
        assert os.listdir(outside) == [], t


def test_mount_target_that_is_being_swapped(oci, workdir):
    outside = os.path.join(workdir, "outside")
    os.mkdir(outside)
    a, b = os.path.join(oci.rootfs, "a"), os.path.join(oci.rootfs, "b")
    os.mkdir(a)
    os.symlink("../" * 20 + outside.lstrip("/"), b)
    stop = threading.Event()

    def swap():
        x = os.path.join(oci.rootfs, "x")
        while not stop.is_set():
            try:
                os.rename(a, x)
                os.rename(b, a)
                os.rename(x, b)
            except OSError:     # the runtime has made a folder in the moment when there was none
                shutil.rmtree(a, ignore_errors=True)
                if os.path.lexists(x):
                    os.rename(x, a)

    t = threading.Thread(target=swap)
    t.start()
    try:
        for _ in range(20):
            oci.run("true", edit=add_mount("/a/made/deep", type="tmpfs", source="tmpfs"), check=False)
            assert os.listdir(outside) == []
    finally:
        stop.set()
        t.join()


def test_nothing_is_mounted_inside_proc(oci):
    r = oci.run("true", edit=add_mount("/proc/self/attr", type="tmpfs", source="tmpfs"), check=False)
    assert r.returncode != 0
    r = oci.run("true", edit=add_mount("/proc/sys/kernel", type="bind", source="/tmp", options=["bind"]), check=False)
    assert r.returncode != 0 and "/proc" in r.stderr


def test_masks_do_not_follow_out_of_the_root(oci, workdir):
    secret = os.path.join(workdir, "secret")
    with open(secret, "w") as f:
        f.write("x")
    os.symlink(secret, os.path.join(oci.rootfs, "etc/link"))
    oci.run("true", edit=lambda c: c["linux"].update(maskedPaths=["/etc/link"], readonlyPaths=["/etc/link"]))
    assert open(secret).read() == "x"


# ---- what is masked and read-only really is (CVE-2025-31133, 2025-52565, 2025-52881) --------------------

def test_masked_and_read_only_paths(oci):
    r = oci.run("sh", "-c", "wc -c </proc/keys; ls -a /sys/firmware; echo 1 >/proc/sys/vm/drop_caches; echo b >/proc/sysrq-trigger",
                check=False)
    assert r.stdout.split() == ["0", ".", ".."]
    assert r.stderr.count("Read-only file system") + r.stderr.count("can't create") >= 2


def test_null_device_of_the_image_is_not_used_for_masks(oci):
    with open(os.path.join(oci.rootfs, "dev/null"), "w") as f:
        f.write("not the null device")
    with open(os.path.join(oci.rootfs, "etc/hidden"), "w") as f:
        f.write("hidden")
    r = oci.run("sh", "-c", "cat /etc/hidden; stat -c %F /etc/hidden", edit=lambda c: c["linux"].update(maskedPaths=["/etc/hidden"]))
    assert r.stdout.strip() == "character special file"


def test_device_node_that_is_something_else_is_refused(oci):
    with open(os.path.join(oci.rootfs, "dev/null"), "w") as f:
        f.write("x")
    r = oci.run("true", check=False, edit=lambda c: c.update(mounts=[m for m in c["mounts"] if not m["destination"].startswith("/dev")]))
    assert r.returncode != 0 and "/dev/null" in r.stderr


def test_sysctl_of_the_host_is_refused(oci):
    for key in ("kernel.panic", "vm.overcommit_memory", "net/../kernel/panic", "kernel.core_pattern"):
        r = oci.run("true", edit=lambda c: c["linux"].update(sysctl={key: "1"}), check=False)
        assert r.returncode != 0 and "sysctl" in r.stderr, key

    def shared(c):
        c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "network"]
        c["linux"]["sysctl"] = {"net.ipv4.ip_forward": "0"}
    before = open("/proc/sys/net/ipv4/ip_forward").read()
    assert oci.run("true", edit=shared, check=False).returncode != 0
    assert open("/proc/sys/net/ipv4/ip_forward").read() == before


# ---- privileges (CVE-2022-29162, 2022-24769, crun 2022-27650, crun 2026-30892) -------------------------

def caps(text):
    return {line.split()[0].rstrip(":"): line.split()[1] for line in text.splitlines() if line.startswith("Cap")}


def test_inheritable_capabilities_are_empty(oci):
    c = caps(oci.run("cat", "/proc/self/status").stdout)
    assert int(c["CapInh"], 16) == 0 and int(c["CapAmb"], 16) == 0 and int(c["CapBnd"], 16) == int(c["CapEff"], 16) != 0
    cid = oci.up()
    c = caps(oci("exec", "--cap", "CAP_NET_ADMIN", cid, "cat", "/proc/self/status").stdout)
    assert int(c["CapInh"], 16) == 0


def test_no_capabilities_for_a_user(oci):
    r = oci.run("cat", "/proc/self/status", edit=lambda c: c["process"]["user"].update(uid=1000, gid=1000))
    c = caps(r.stdout)
    assert int(c["CapEff"], 16) == 0 and int(c["CapPrm"], 16) == 0 and "Groups:\t \n" in r.stdout


def test_no_new_privileges(oci):
    def edit(c):
        c["process"]["noNewPrivileges"] = True
    assert "NoNewPrivs:\t1" in oci.run("cat", "/proc/self/status", edit=edit).stdout


@pytest.mark.parametrize("user", ["1000x", "-1", "0x10", "4294967296", "", "1:2:3", " 1", "+1", "root"])
def test_exec_user_is_strict(oci, user):
    cid = oci.up()
    assert oci("exec", "--user", user, cid, "id", check=False).returncode != 0


# ---- names (ids, cgroup paths) ---------------------------------------------------------------------------

@pytest.mark.parametrize("cid", ["..", ".", "a/b", "../x", "a b", "a\nb", "", "x" * 2000, "a;b", "é"])
def test_bad_ids(oci, cid):
    b = oci.bundle("true")
    assert oci("run", "--bundle", b, cid, check=False).returncode != 0
    assert oci("delete", "--force", cid, check=False).returncode != 0


@pytest.mark.parametrize("path", ["/../x", "/a/../../b", "..", "/", "/tare-test/./x", "/a/.."])
def test_bad_cgroup_paths(oci, path):
    r = oci.run("true", edit=lambda c: c["linux"].update(cgroupsPath=path), check=False)
    assert r.returncode != 0 and "cgroupsPath" in r.stderr


# ---- cgroups and devices -----------------------------------------------------------------------------------

def test_devices_are_refused(oci):
    r = oci.run("sh", "-c", "mknod /tmp/disk b 254 0 && cat /tmp/disk", check=False,
                edit=add_mount("/tmp", type="tmpfs", source="tmpfs", options=["dev"]))
    assert r.returncode != 0 and "Operation not permitted" in r.stderr


def test_devices_are_refused_without_resources(oci):
    def edit(c):
        del c["linux"]["resources"]
        c["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["dev"]})
    r = oci.run("sh", "-c", "mknod /tmp/disk b 254 0 && cat /tmp/disk", check=False, edit=edit)
    assert r.returncode != 0 and "Operation not permitted" in r.stderr


def test_cgroup_mount_is_read_only_and_its_own(oci):
    r = oci.run("sh", "-c", "cat /proc/self/cgroup; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x && echo made; done",
                edit=add_mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=["ro", "nosuid", "noexec", "nodev"]), check=False)
    assert "made" not in r.stdout
    assert all(line.endswith(":/") for line in r.stdout.split())


# ---- dying in the middle -------------------------------------------------------------------------------------

@pytest.mark.parametrize("delay", [0.001, 0.003, 0.005, 0.008, 0.012])
def test_killed_create_leaves_no_process(oci, delay):
    b = oci.bundle("sleep", "1000")
    for i in range(4):
        p = subprocess.Popen([oci.bin, "--root", oci.root, "create", "--bundle", b, "k"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay + i / 3000)
        p.send_signal(signal.SIGKILL)
        p.wait()
        oci("delete", "--force", "k", check=False)
        end = time.monotonic() + 3
        while init_of(oci) and time.monotonic() < end:
            oci.reap()
            time.sleep(0.02)
        assert not init_of(oci)
        assert not os.path.exists(os.path.join(oci.root, "k"))


def init_of(oci):
    """Processes that are still our program, started for this test's state folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            cmd = open(f"/proc/{pid}/cmdline", "rb").read().decode(errors="replace").split("\0")
            if oci.root in cmd and open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
                found.append(pid)
        except OSError:
            continue
    return found


def test_one_clear_error(oci):
    r = oci.run("true", edit=add_mount("/x", type="bind", source="/nowhere", options=["bind"]), check=False)
    assert r.returncode == 1 and r.stderr.count("\n") == 1 and "mounts[" in r.stderr and "/nowhere" in r.stderr
    assert not [d for d in (os.listdir(oci.root) if os.path.isdir(oci.root) else []) if "@" not in d]
    assert json.loads(oci("list", "-f", "json").stdout) in ([], None)


# ---- what surrounds a process ---------------------------------------------------------------------------------

def test_missing_working_directory_is_made_inside(oci):
    assert oci.run("pwd", edit=lambda c: c["process"].update(cwd="/srv/new/dir")).stdout == "/srv/new/dir\n"
    os.symlink("../../../../../../tmp", os.path.join(oci.rootfs, "etc/up"))
    oci.run("true", edit=lambda c: c["process"].update(cwd="/etc/up/made-by-cwd"))
    assert not os.path.exists("/tmp/made-by-cwd") and os.path.isdir(os.path.join(oci.rootfs, "tmp/made-by-cwd"))


def test_listen_fds(oci):
    b = oci.bundle("sh", "-c", "ls /proc/self/fd | tr '\\n' ' '; echo $LISTEN_FDS $LISTEN_PID")
    r = subprocess.run(["sh", "-c", 'exec 3</dev/null 4</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh", oci.bin, "--root",
                        oci.root, "run", "--bundle", b, "l"], capture_output=True, text=True, timeout=20)
    assert r.stdout == "0 1 2 3 4 1 1\n"       # the fifth is ls's own: our caller's 4 is not among them


def test_user_namespace(oci):
    for p, _, _ in os.walk(oci.rootfs):
        os.chown(p, 100000, 100000)
    os.chmod(oci.base, 0o755)

    def edit(c):
        c["linux"]["namespaces"].append({"type": "user"})
        c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        c["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 40}]
    r = oci.run("sh", "-c", "id -u; ulimit -n; echo x >/dev/null && tr -s ' ' </proc/self/uid_map", edit=edit)
    assert r.stdout == "0\n20\n 0 100000 65536\n"
    cid = oci.up(edit=edit)
    assert os.stat(f"/proc/{oci.state(cid)['pid']}").st_uid == 100000
    assert oci("exec", cid, "id", "-u").stdout == "0\n"
