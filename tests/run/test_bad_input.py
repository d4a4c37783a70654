"""Input that is broken, hostile or too much: one clear line each, and nothing left."""
import gzip
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
import time

import pytest

import crashlib
import ocilib
from conftest import program

pytestmark = pytest.mark.skipif(not os.path.exists(program("tare")), reason="tare is not built")


@pytest.fixture
def tare(workdir):
    t = crashlib.Crash(workdir)
    yield t
    t.clear()


def one_line(r, *words, code=None):
    """Failed with a single line that says all of these words."""
    assert r.returncode != 0 and (code is None or r.returncode == code), (r.returncode, r.stdout, r.stderr)
    assert r.stderr.count("\n") == 1 and r.stderr.startswith("tare"), r.stderr
    for w in words:
        assert w in r.stderr, r.stderr


def nothing_left(t):
    assert crashlib.settled(t, lambda: crashlib.strays(t) + crashlib.unfinished(t)) == []
    held = [c for c in crashlib.contents(t) if not c.startswith("ingest/")]
    assert t("images", "-q").stdout == "" and held == []


# ---- images ------------------------------------------------------------------------------------------------------------

def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(*entries):
    """(name, type, link, data)"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, kind, link, data in entries:
            i = tarfile.TarInfo(name)
            i.type, i.linkname, i.size, i.mode = kind, link, len(data), 0o644
            t.addfile(i, io.BytesIO(data))
    return out.getvalue()


PLAIN = tar_of(("etc/x", tarfile.REGTYPE, "", os.urandom(300000)))


class Image:
    """One layer; blobs by digest, the manifest as text."""

    def __init__(self, layer=PLAIN, packed=None, diff=None):
        packed = gzip.compress(layer) if packed is None else packed
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": [diff or digest(layer)]}}).encode()
        self.layer = digest(packed)
        self.blobs = {digest(config): config, self.layer: packed}
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": self.layer, "size": len(packed)}]}).encode()


class Registry:
    """Serves one image; layer(handler, bytes) answers for its layer, front(handler) for everything when it returns True."""

    def __init__(self, image, layer=None, front=None):
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def send(self, status, body=b"", kind="application/octet-stream", **headers):
                self.send_response(status)
                for k, v in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(k, v)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_GET(self):
                try:
                    self.serve()
                except OSError:
                    self.close_connection = True

            do_HEAD = do_GET

            def serve(self):
                name = self.path.rsplit("/", 1)[1]
                if front and front(self):
                    return
                if self.path == "/v2/":
                    self.send(200, b"{}")
                elif "/manifests/" in self.path:
                    self.send(200, image.manifest, "application/vnd.oci.image.manifest.v1+json",
                              **{"Docker-Content-Digest": digest(image.manifest)})
                elif name == image.layer and layer:
                    layer(self, image.blobs[name])
                elif name in image.blobs:
                    self.send(200, image.blobs[name])
                else:
                    self.send(404)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        registry.ref = f"127.0.0.1:{self.server.server_address[1]}/bad/image:latest"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def cut(h, data):
    h.send_response(200)
    h.send_header("Content-Length", str(len(data)))
    h.end_headers()
    h.wfile.write(data[:len(data) // 2])
    h.close_connection = True


def hang(h, data=b""):
    h.send_response(200)
    h.send_header("Content-Length", str(len(data) or 1000))
    h.end_headers()
    h.wfile.write(data[:len(data) // 2])
    h.wfile.flush()
    time.sleep(20)
    h.close_connection = True


def wrong(h, data):
    h.send(200, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


def html(h, *_):
    h.send(200, b"<html>please log in</html>", "text/html")
    return True


def loop(h, *_):
    h.send(307, b"", Location=h.path)
    return True


def stall(t):
    with open(t.config, "a") as f:
        f.write("registry:\n  stall_seconds: 1\n")


@pytest.mark.parametrize("layer,words", [(wrong, ["digest"]), (cut, ["sha256:"]), (html, []), (loop, ["redirect"])],
                         ids=["wrong", "cut", "html", "loop"])
def test_layer_that_is_served_badly(tare, layer, words):
    with Registry(Image(), layer=layer) as r:
        start = time.time()
        one_line(tare("pull", "-q", r.ref, check=False), r.ref, *words)
        assert time.time() - start < 30
    nothing_left(tare)


@pytest.mark.parametrize("front,words", [(html, []), (loop, ["redirect"]), (lambda h: h.send(500) or True, ["500"])], ids=["html", "loop", "500"])
def test_registry_that_talks_nonsense(tare, front, words):
    with Registry(Image(), front=front) as r:
        one_line(tare("pull", "-q", r.ref, check=False), r.ref, *words)
    nothing_left(tare)


def test_registry_that_hangs(tare):
    stall(tare)
    with Registry(Image(), front=lambda h: hang(h) or True) as r:
        start = time.time()
        one_line(tare("pull", "-q", r.ref, check=False), r.ref)
        assert time.time() - start < 40
    nothing_left(tare)


OUT = "/tmp/tare-test-climbed-out"
CLIMBERS = {
    "dotdot": [("../../../../../../../../" + OUT, tarfile.REGTYPE, "", b"x")],
    "absolute": [(OUT, tarfile.REGTYPE, "", b"x")],
    "symlink": [("d", tarfile.SYMTYPE, "/tmp", b""), ("d/tare-test-climbed-out", tarfile.REGTYPE, "", b"x")],
    "symlink-up": [("d", tarfile.SYMTYPE, "../../../../../../../../../tmp", b""), ("d/tare-test-climbed-out", tarfile.REGTYPE, "", b"x")],
    "hardlink": [("h", tarfile.LNKTYPE, "../../../../../../../../../../etc/hostname", b"")],
    "hardlink-absolute": [("h", tarfile.LNKTYPE, "/etc/hostname", b"")],
}


@pytest.mark.parametrize("name", CLIMBERS)
def test_tar_that_climbs_out(tare, name):
    """It is refused in one line, or what it names is taken as inside of the layer; never is anything written or linked outside."""
    links = os.stat("/etc/hostname").st_nlink
    with Registry(Image(layer=tar_of(*CLIMBERS[name]))) as r:
        p = tare("pull", "-q", r.ref, check=False)
    assert not os.path.exists(OUT) and os.stat("/etc/hostname").st_nlink == links
    if p.returncode != 0:
        one_line(p, "layer")
        nothing_left(tare)
    else:
        tare("rmi", r.ref)
        nothing_left(tare)


@pytest.mark.parametrize("packed", [b"", b"\x1f\x8b", gzip.compress(PLAIN)[:-5000], gzip.compress(PLAIN[:-4000]),
                                    gzip.compress(b"A" * 5000)], ids=["empty", "header", "cut", "cut-tar", "no-tar"])
def test_layer_that_is_broken_under_its_digest(tare, packed):
    with Registry(Image(packed=packed)) as r:
        one_line(tare("pull", "-q", r.ref, check=False), "layer")
    nothing_left(tare)


def test_layer_of_another_content(tare):
    with Registry(Image(diff=digest(b"else"))) as r:
        one_line(tare("pull", "-q", r.ref, check=False), "layer")
    nothing_left(tare)


@pytest.mark.parametrize("data", [b"", b"junk" * 1000, tar_of(("x", tarfile.REGTYPE, "", b"y")),
                                  tar_of(("manifest.json", tarfile.REGTYPE, "", b"[{"))], ids=["empty", "junk", "no-manifest", "bad-manifest"])
def test_archive_that_is_none(tare, tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    one_line(tare("load", "-i", str(tmp_path / "a"), check=False))
    nothing_left(tare)


def test_archive_that_is_cut_off(tare, tmp_path, busybox_archive):
    with open(busybox_archive, "rb") as f:
        data = f.read()
    for part in (0.1, 0.5, 0.9):
        (tmp_path / "a").write_bytes(data[:int(len(data) * part)])
        one_line(tare("load", "-i", str(tmp_path / "a"), check=False))
        nothing_left(tare)


# ---- a full disk ---------------------------------------------------------------------------------------------------------

def on_small_disk(t, size, *args):
    """tare in a mount namespace of its own, its root on a tmpfs; then what it left there. The mount goes with the namespace."""
    script = f'mount -t tmpfs -o size={size} t {t.root} && {{ "$@"; echo "exit $?" >&2; find {t.root}/blobs/sha256 {t.root}/layers {t.root}/trash -mindepth 1 -maxdepth 1; }}'
    os.makedirs(t.root, exist_ok=True)
    r = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *t.argv(*args)], capture_output=True,
                       text=True, timeout=60)
    lines = r.stderr.splitlines()
    assert lines[-1].startswith("exit ") and lines[-1] != "exit 0", r.stderr
    assert len(lines) == 2 and "No space left" in lines[0], r.stderr
    assert r.stdout == "", "left: " + r.stdout


@pytest.mark.parametrize("size", ["1m", "3m", "5m"])
def test_full_disk_in_mid_load(tare, busybox_archive, size):
    on_small_disk(tare, size, "load", "-q", "-i", busybox_archive)


@pytest.mark.parametrize("size", ["1m", "3m", "5m"])
def test_full_disk_in_mid_pull(tare, size):
    with Registry(Image(layer=tar_of(*((f"f{i}", tarfile.REGTYPE, "", os.urandom(1 << 20)) for i in range(4))))) as r:
        on_small_disk(tare, size, "pull", "-q", r.ref)


# ---- containers -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def loaded(tare, busybox_archive):
    tare("load", "-i", busybox_archive)
    return tare


@pytest.mark.parametrize("argv,code", [(["/no/such"], 127), (["nosuch"], 127), (["/etc"], 126), (["/etc/passwd"], 126)])
def test_command_that_cannot_run(loaded, argv, code):
    for extra in ([], ["-d"], ["--rm"]):
        one_line(loaded("run", "--network", "none", "--name", "x", *extra, "busybox", *argv, check=False), argv[0], code=code)
        loaded("rm", "-f", "x", check=False)
        assert loaded.ids() == set() and crashlib.strays(loaded) == []
    loaded("run", "-d", "--network", "none", "--name", "x", "busybox", "sleep", "100")
    one_line(loaded("exec", "x", *argv, check=False), argv[0], code=code)


def both(t, *argvs):
    ps = [t.popen(*a, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for a in argvs]
    out = [p.communicate(timeout=60) for p in ps]
    return [(p.returncode, *o) for p, o in zip(ps, out)]


def test_two_make_the_same_name(loaded):
    for _ in range(5):
        r = both(loaded, *[["create", "--network", "none", "--name", "same", "busybox", "true"]] * 3)
        assert sorted(x[0] for x in r) == [0, 125, 125], r
        assert all(x[2].count("\n") == 1 and "in use" in x[2] for x in r if x[0])
        assert len(loaded.ids()) == 1 and crashlib.strays(loaded) == []
        other = loaded("create", "--network", "none", "busybox", "true").stdout.strip()
        one_line(loaded("rename", other, "same", check=False), "in use")
        loaded("rm", "-f", "same", other)


def test_two_remove_the_same(loaded):
    for _ in range(5):
        loaded("run", "-d", "--network", "none", "--name", "same", "busybox", "sleep", "1000")
        r = both(loaded, *[["rm", "-f", "same"]] * 3)
        assert 0 in [x[0] for x in r]
        assert all(x[0] == 0 or (x[2].count("\n") == 1 and "no such" in x[2].lower()) for x in r), r
        assert loaded.ids() == set() and crashlib.settled(loaded, lambda: crashlib.strays(loaded) + crashlib.unfinished(loaded)) == []


def test_remove_and_start_at_once(loaded):
    for _ in range(5):
        loaded("create", "--network", "none", "--name", "same", "busybox", "sleep", "1000")
        r = both(loaded, ["start", "same"], ["rm", "-f", "same"])
        assert r[1][0] == 0 and r[0][2].count("\n") <= 1, r
        assert loaded.ids() == set() and crashlib.settled(loaded, lambda: crashlib.strays(loaded) + crashlib.unfinished(loaded)) == []


# ---- tare-oci ------------------------------------------------------------------------------------------------------------------

class Oci:
    def __init__(self, base):
        self.base, self.state = base, os.path.join(base, "oci")
        self.bundle, self.rootfs = os.path.join(base, "b"), os.path.join(base, "b/rootfs")
        os.makedirs(self.bundle)
        ocilib.make_rootfs(self.rootfs)
        self.config = ocilib.config("rootfs", "/bin/true")

    def run(self, text=None):
        with open(self.bundle + "/config.json", "w") as f:
            f.write(json.dumps(self.config) if text is None else text)
        return subprocess.run([program("tare-oci"), "--root", self.state, "run", "--bundle", self.bundle, "x"], capture_output=True, text=True,
                              timeout=60)

    def refused(self, r, *words):
        one_line(r, *words)
        assert subprocess.run([program("tare-oci"), "--root", self.state, "list", "-q"], capture_output=True, text=True).stdout == ""


@pytest.fixture
def oci(workdir):
    return Oci(workdir)


def test_config_that_is_cut_off(oci):
    text = json.dumps(oci.config)
    for n in (1, 10, len(text) // 2, len(text) - 1):
        oci.refused(oci.run(text[:n]), "config.json")


def test_config_that_is_too_big(oci):
    oci.refused(oci.run(json.dumps(dict(oci.config, annotations={"a": "x" * (70 << 20)}))), "config.json")
    oci.refused(oci.run("[" * 100000), "config.json")


def test_root_that_is_missing_or_a_link(oci):
    os.rename(oci.rootfs, oci.rootfs + "2")
    oci.refused(oci.run(), "rootfs")
    os.symlink("/", oci.rootfs)
    oci.refused(oci.run(), "rootfs")
    os.unlink(oci.rootfs)
    with open(oci.rootfs, "w"):
        pass
    oci.refused(oci.run(), "rootfs")
