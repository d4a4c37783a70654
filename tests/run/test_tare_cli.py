"""tare as people use it: run, exit codes, lists, logs, exec, cp, volumes, images. Needs no registry: the image is loaded."""
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from conftest import program

pytestmark = pytest.mark.skipif(not os.path.exists(program("tare")), reason="tare is not built")


@pytest.fixture
def tare(tare_env, busybox_archive):
    tare_env("load", "-i", busybox_archive)
    return tare_env


def run(tare, *args, **kw):
    return tare("run", "--rm", "--network", "none", *args, **kw)


def test_help_and_usage(tare_env):
    assert "Create and run" in tare_env("--help").stdout
    r = tare_env("run", check=False)
    assert r.returncode == 125 and r.stderr.count("\n") == 1 and "requires at least 1 argument" in r.stderr
    assert tare_env("frob", check=False).returncode == 1
    for shell in ("bash", "zsh", "fish"):
        assert ("-l memory" if shell == "fish" else "--memory") in tare_env("completion", shell).stdout


def test_output_and_streams(tare):
    r = run(tare, "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (r.stdout, r.stderr) == ("out\n", "err\n")
    assert run(tare, "-i", "busybox", "cat", input="hello").stdout == "hello"
    assert len(run(tare, "busybox", "head", "-c", "3000000", "/dev/zero", text=False).stdout) == 3000000


@pytest.mark.parametrize("argv,code", [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
                                       (["/no/such"], 127), (["nope"], 127), (["/etc"], 126), (["/etc/passwd"], 126)])
def test_exit_codes(tare, argv, code):
    assert run(tare, "busybox", *argv, check=False).returncode == code
    assert tare("ps", "-aq").stdout == ""


def test_missing_image(tare):
    r = run(tare, "--pull", "never", "nothere", check=False)
    assert r.returncode == 125 and "tare pull nothere" in r.stderr


def test_life(tare):
    cid = tare("run", "-d", "--network", "none", "--name", "web", "--label", "a=b", "busybox", "sleep", "1000").stdout.strip()
    assert len(cid) == 64
    assert tare("ps", "--format", "{{.Names}} {{.State}}").stdout == "web running\n"
    assert tare("ps", "-q", "--no-trunc", "--filter", "label=a=b").stdout.strip() == cid
    assert tare("exec", "web", "sh", "-c", "exit 3", check=False).returncode == 3
    info = json.loads(tare("inspect", "web").stdout)[0]
    assert info["State"]["Running"] and info["Id"] == cid and info["Name"] == "/web"
    assert tare("rm", "web", check=False).returncode == 1
    tare("pause", "web")
    assert "(Paused)" in tare("ps").stdout
    tare("unpause", "web")
    tare("rename", "web", "site")
    tare("kill", "-s", "TERM", cid[:12])
    tare("stop", "-t", "1", "site")
    assert tare("wait", "site").stdout.strip().isdigit()
    tare("rm", "site")
    assert tare("ps", "-aq").stdout == ""


def test_logs(tare):
    tare("run", "--network", "none", "--name", "l", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; done")
    assert tare("logs", "l").stdout == "1\n2\n3\n"
    assert tare("logs", "--tail", "1", "l").stdout == "3\n"
    assert tare("logs", "-t", "l").stdout.split()[0].endswith("Z")
    assert tare("logs", "--until", "1h", "l").stdout == ""


def test_cp_stays_inside(tare, tmp_path):
    tare("run", "-d", "--network", "none", "--name", "c", "busybox", "sleep", "1000")
    tare("exec", "c", "ln", "-s", "/../../../../etc", "/out")
    (tmp_path / "f").write_text("data")
    tare("cp", str(tmp_path / "f"), "c:/out/f")
    assert tare("exec", "c", "cat", "/etc/f").stdout == "data" and not os.path.exists("/etc/f")
    tare("cp", "c:/etc/f", str(tmp_path / "g"))
    assert (tmp_path / "g").read_text() == "data"


def test_cp_modes(tare, tmp_path):
    tare("run", "-d", "--network", "none", "--name", "c", "busybox", "sleep", "1000")
    tare("exec", "c", "sh", "-c", "mkdir /d; echo x >/d/f; chown 1000:1000 /d/f; chmod 4751 /d/f; ln -s /etc/shadow /d/l; mkfifo /d/p")
    tare("cp", "c:/d", str(tmp_path / "plain"))
    tare("cp", "-a", "c:/d", str(tmp_path / "kept"))
    plain, kept = os.stat(tmp_path / "plain/f"), os.stat(tmp_path / "kept/f")
    assert (plain.st_uid, plain.st_mode & 0o7777) == (os.getuid(), 0o751)  # no set-id bit for another owner
    assert (kept.st_uid, kept.st_mode & 0o7777) == (1000, 0o4751)
    assert os.readlink(tmp_path / "kept/l") == "/etc/shadow"


def test_volume_half_filled(tare):
    """A copy from the image that was killed is begun anew, one that ended is left alone."""
    tare("volume", "create", "vol")
    folder = os.path.join(tare.root, "volumes", "vol")
    for name in ("filling", "data/junk"):
        open(os.path.join(folder, name), "w").close()
    run(tare, "-v", "vol:/bin", "busybox", "true")
    assert sorted(os.listdir(folder)) == ["data", "meta.json"]
    have = os.listdir(os.path.join(folder, "data"))
    assert "sh" in have and "junk" not in have
    os.unlink(os.path.join(folder, "data", have[0] if have[0] not in ("sh", "true", "busybox") else "ls"))
    run(tare, "-v", "vol:/bin", "busybox", "true")
    assert len(os.listdir(os.path.join(folder, "data"))) == len(have) - 1


def test_anonymous_volume_goes_along(tare):
    run(tare, "-v", "/anonymous", "busybox", "touch", "/anonymous/f")
    assert tare("volume", "ls", "-q").stdout == ""


def test_volumes(tare, tmp_path):
    (tmp_path / "x").write_text("host")
    assert run(tare, "-v", f"{tmp_path}:/m:ro", "busybox", "cat", "/m/x").stdout == "host"
    assert run(tare, "-v", f"{tmp_path}:/m:ro", "busybox", "touch", "/m/y", check=False).returncode == 1
    run(tare, "-v", "data:/d", "busybox", "sh", "-c", "echo kept >/d/f")
    assert run(tare, "-v", "data:/d", "busybox", "cat", "/d/f").stdout == "kept\n"
    assert tare("volume", "ls", "-q").stdout == "data\n"
    tare("volume", "rm", "data")


def test_images(tare, tmp_path):
    tare("tag", "busybox", "other:v1")
    names = tare("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert set(names) == {"busybox:latest", "other:v1"}
    for form in ("docker-archive", "oci-archive"):
        out = tmp_path / form
        tare("save", "--format", form, "-o", str(out), "other:v1")
        tare("rmi", "other:v1")
        assert "other:v1" in tare("load", "-i", str(out)).stdout
    assert "busybox-static" in tare("history", "--no-trunc", "busybox").stdout


def test_signal_proxy(tare):
    p = tare.popen("run", "--rm", "--network", "none", "busybox", "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done",
                   stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "up\n"
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 9


def read_until(fd, want, timeout=20):
    text, end = b"", time.time() + timeout
    while want not in text and time.time() < end:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                text += os.read(fd, 4096)
            except OSError:
                break
    assert want in text, text
    return text


def test_terminal_detach(tare):
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(program("tare"), tare.argv("run", "-it", "--network", "none", "--name", "tty", "busybox"), tare.env)
    read_until(fd, b"# ")
    os.write(fd, b"stty size; echo A$((1+1))\r")
    read_until(fd, b"A2")
    os.write(fd, b"\x10\x11")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    assert tare("ps", "--format", "{{.Names}}").stdout == "tty\n"


def test_names(tare):
    cid = tare("create", "--network", "none", "busybox", "true").stdout.strip()
    name = tare("ps", "-a", "--format", "{{.Names}}").stdout.strip()
    assert "_" in name and json.loads(tare("inspect", name).stdout)[0]["Id"] == cid
    for bad in ("a b", "a/b", "-a", ".a", "a" * 129):
        r = tare("create", f"--name={bad}", "--network", "none", "busybox", check=False)
        assert r.returncode == 125 and "invalid container name" in r.stderr
        assert "invalid container name" in tare("rename", name, "--", bad, check=False).stderr
    r = tare("create", "--name", name, "--network", "none", "busybox", check=False)
    assert r.returncode == 125 and "is in use by container" in r.stderr


def test_an_exit_gives_everything_back(tare):
    """Without --rm too: what has ended keeps its files and its log, but no address, monitor or cgroup."""
    cid = tare("run", "-d", "--network", "none", "busybox", "echo", "done").stdout.strip()
    pod = os.path.join(tare.run_dir, "pods", cid)
    assert tare("wait", cid).stdout == "0\n"
    end = time.time() + 10
    while os.path.exists(os.path.join(pod, "netns")) and time.time() < end:
        time.sleep(0.05)
    assert not os.path.exists(os.path.join(pod, "netns"))
    assert not any(cid in d for top, dirs, _ in os.walk("/sys/fs/cgroup") for d in dirs)
    assert tare("logs", cid).stdout == "done\n"
    tare("start", "-a", cid)
    assert tare("logs", cid).stdout == "done\ndone\n"


def test_ps_tells_slips(tare_env):
    assert "a status is" in tare_env("ps", "--filter", "status=foo", check=False).stderr
    assert "no operation on" in tare_env("why", "nothing", check=False).stderr


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.skipif(not any(os.path.exists(d + "/bridge") for d in ("/opt/cni/bin", "/usr/lib/cni")), reason="no CNI plugins")
def test_ports(tare):
    port = free_port()
    serve = ("busybox", "sh", "-c", "echo page >/index.html; exec httpd -f -h /")
    tare("run", "-d", "--name", "one", "-p", f"127.0.0.1:{port}:80", *serve)
    tare("run", "-d", "--name", "two", "-p", "127.0.0.1::80", *serve)
    assert tare("port", "one", "80").stdout == f"127.0.0.1:{port}\n"
    for name in ("one", "two"):
        assert page(tare("port", name, "80").stdout.strip()) == "page\n"
    r = tare("run", "--rm", "-p", f"{port}:80", "busybox", "true", check=False)
    assert r.returncode == 125 and "is published by container" in r.stderr or "is in use on this host" in r.stderr
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        r = tare("run", "--rm", "-p", f"127.0.0.1:{s.getsockname()[1]}:80", "busybox", "true", check=False)
        assert r.returncode == 125 and "is in use on this host" in r.stderr
    tare("stop", "-t", "0", "one")
    assert "->" not in tare("ps", "-a", "--filter", "name=one", "--format", "{{.Ports}}").stdout
    tare("run", "--rm", "-p", f"127.0.0.1:{port}:80", "busybox", "true")
    tare("start", "one")
    assert page(f"127.0.0.1:{port}") == "page\n"


def page(address):
    for _ in range(50):
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as f:
                return f.read().decode()
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


@pytest.mark.skipif(not shutil.which("runc"), reason="no runc")
def test_another_runtime(tare):
    assert run(tare, "--runtime", "runc", "busybox", "echo", "hello").stdout == "hello\n"
    r = run(tare, "--runtime", "runc", "busybox", "nope", check=False)
    assert r.returncode == 127 and "level=" not in r.stderr and 'exec: "nope"' in r.stderr
    tare("run", "-d", "--name", "r", "--runtime", "runc", "--network", "none", "busybox", "sleep", "1000")
    assert tare("exec", "r", "echo", "in").stdout == "in\n"
    tare("kill", "r")
    assert tare("wait", "r").stdout == "137\n"
    tare("start", "r")
    tare("rm", "-f", "r")
    r = run(tare, "--runtime", "nothere", "busybox", "true", check=False)
    assert r.returncode == 125 and "nothere" in r.stderr


def test_save_of_nothing_writes_nothing(tare):
    r = tare("save", "busybox", "nothere", check=False, text=False)
    assert r.returncode == 1 and r.stdout == b"" and b"nothere" in r.stderr


def test_stop_ends_restarts(tare):
    tare("run", "-d", "--name", "again", "--restart", "always", "--network", "none", "busybox", "false")
    count = lambda: int(tare("inspect", "--format", "{{.RestartCount}}", "again").stdout)
    end = time.time() + 20
    while count() < 2 and time.time() < end:
        time.sleep(0.05)
    tare("stop", "-t", "0", "again")
    seen = count()
    time.sleep(1.5)     # longer than the pause before the next try
    assert seen >= 2 and count() == seen


def test_pod_names(tare):
    assert "invalid pod name" in tare("pod", "run", "--name", "a b", "--network", "none", check=False).stderr
    tare("pod", "run", "--name", "team", "--network", "none")
    assert "is in use by pod" in tare("pod", "run", "team", check=False).stderr
    assert tare("run", "--rm", "--pod", "team", "busybox", "hostname").stdout == "team\n"
