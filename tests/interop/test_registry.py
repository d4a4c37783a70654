"""Pull and push against Debian's docker-registry: formats, TLS, credentials, and a proxy that misbehaves."""
import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(REPO, "tests", "tools"))
from chaos import Chaos, TokenAuth  # noqa: E402

BIN = os.environ.get("TARE_BIN", os.path.join(REPO, "build", "bin"))
CLIENT = os.environ.get("TARE_PULL_CLIENT", os.path.join(os.path.dirname(BIN), "tests", "tools", "pull-client"))
pytestmark = [pytest.mark.skipif(not shutil.which(p), reason=f"no {p}") for p in ("docker-registry", "skopeo", "umoci")]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    def __init__(self, folder, name, tls=None, htpasswd=None):
        self.port = free_port()
        base = os.path.join(folder, name)
        os.makedirs(base)
        http = {"addr": f"127.0.0.1:{self.port}"}
        if tls:
            http["tls"] = {"certificate": tls[0], "key": tls[1]}
            if len(tls) > 2:
                http["tls"]["clientcas"] = [tls[2]]
        config = {"version": 0.1, "http": http, "log": {"level": "error"},
                  "storage": {"filesystem": {"rootdirectory": os.path.join(base, "data")}, "delete": {"enabled": True}}}
        if htpasswd:
            config["auth"] = {"htpasswd": {"realm": "test", "path": htpasswd}}
        path = os.path.join(base, "config.yml")
        with open(path, "w") as f:
            json.dump(config, f)    # JSON is YAML
        self.process = subprocess.Popen(["docker-registry", "serve", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("docker-registry does not listen")

    def close(self):
        self.process.terminate()
        self.process.wait(10)


def sh(*args, **kw):
    r = subprocess.run(args, capture_output=True, text=True, timeout=120, **kw)
    assert r.returncode == 0, f"{args}: {r.stdout}{r.stderr}"
    return r.stdout


class Client:
    def __init__(self, folder):
        self.root, self.run, self.env = os.path.join(folder, "root"), os.path.join(folder, "run"), dict(os.environ, HOME=folder)

    def argv(self, *args):
        return [CLIENT, "--root", self.root, "--run", self.run, *args]

    def __call__(self, *args, ok=True, timeout=60):
        r = subprocess.run(self.argv(*args), capture_output=True, text=True, timeout=timeout, env=self.env)
        if ok is not None:
            assert (r.returncode == 0) == ok, f"{args}: exit {r.returncode}\n{r.stdout}{r.stderr}"
        return r

    def fails(self, *args):
        return self(*args, ok=False).stderr

    def files(self, sub):
        d = os.path.join(self.root, sub)
        return sorted(os.listdir(d)) if os.path.isdir(d) else []

    def nothing_visible(self):
        """No layer, nothing half-unpacked, no image: at most ingests that can be resumed."""
        assert self.files("layers") == []
        assert self("push", "127.0.0.1:1/x", ok=None).returncode != 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tare-registry"))


def make_layout(folder):
    """An OCI layout of two layers, by umoci: the second one is big enough to be cut in pieces."""
    layout = os.path.join(folder, "layout")
    sh("umoci", "init", "--layout", layout)
    sh("umoci", "new", "--image", f"{layout}:a")
    for n, (name, size) in enumerate((("small.txt", 2000), ("big.bin", 3000000))):
        path = os.path.join(folder, name)
        with open(path, "wb") as f:
            seed, left = hashlib.sha512(name.encode()).digest(), size
            while left > 0:     # does not compress
                f.write(seed[:left])
                left -= len(seed)
                seed = hashlib.sha512(seed).digest()
        sh("umoci", "insert", "--image", f"{layout}:a", path, f"/data/{n}-{name}")
    return layout


@pytest.fixture(scope="module")
def registry(folder):
    r = Registry(folder, "plain")
    layout = make_layout(folder)
    sh("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:a", f"docker://127.0.0.1:{r.port}/oci/img:1")
    sh("skopeo", "copy", "--dest-tls-verify=false", "-f", "v2s2", f"oci:{layout}:a", f"docker://127.0.0.1:{r.port}/s2/img:1")
    sh("skopeo", "copy", "--dest-tls-verify=false", "--dest-compress-format", "zstd", "--dest-compress", f"oci:{layout}:a",
       f"docker://127.0.0.1:{r.port}/zstd/img:1")
    yield r
    r.close()


@pytest.fixture
def workdir():
    """Of our own: no daemon, mount or cgroup is made here that could be left behind."""
    d = tempfile.mkdtemp(prefix="tare-registry-")
    yield d
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def client(workdir):
    return Client(workdir)


@pytest.fixture
def chaos(registry):
    c = Chaos(registry.port)
    yield c
    c.close()


def big_layer(registry, repo="oci/img"):
    m = json.loads(sh("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://127.0.0.1:{registry.port}/{repo}:1"))
    return max(m["layers"], key=lambda x: x["size"])


def check_tree(client, folder):
    found = {}
    for layer in (x for x in client.files("layers") if ".tmp-" not in x):
        for top, _, names in os.walk(os.path.join(client.root, "layers", layer, "diff")):
            for n in names:
                with open(os.path.join(top, n), "rb") as f:
                    found[n] = f.read()
    for n in ("small.txt", "big.bin"):
        with open(os.path.join(folder, n), "rb") as f:
            assert found[next(k for k in found if k.endswith(n))] == f.read(), n


@pytest.mark.parametrize("repo", ["oci/img", "s2/img", "zstd/img"])
def test_formats(client, registry, folder, repo):
    ref = f"127.0.0.1:{registry.port}/{repo}:1"
    assert "pulled sha256:" in client("pull", ref).stdout
    check_tree(client, folder)
    assert client.files("ingest") == []


def test_second_pull_is_one_head(client, chaos):
    ref = f"127.0.0.1:{chaos.port}/oci/img:1"
    client("pull", ref)
    del chaos.log[:]
    client("pull", ref)
    assert [x[0] for x in chaos.log] == ["HEAD"]


def test_by_digest_and_push_back(client, registry, folder):
    host = f"127.0.0.1:{registry.port}"
    digest = json.loads(sh("skopeo", "inspect", "--tls-verify=false", f"docker://{host}/oci/img:1"))["Digest"]
    client("pull", f"{host}/oci/img@{digest}")
    client("--to", f"{host}/back/img:7", "push", f"{host}/oci/img@{digest}")
    assert json.loads(sh("skopeo", "inspect", "--tls-verify=false", f"docker://{host}/back/img:7"))["Digest"] == digest
    assert client("tags", f"{host}/back/img").stdout == "7\n"
    sh("skopeo", "copy", "--src-tls-verify=false", f"docker://{host}/back/img:7", f"oci:{folder}/again:1")


def test_dropped_blobs(client, registry, folder):
    ref = f"127.0.0.1:{registry.port}/oci/img:1"
    client("--drop-blobs", "pull", ref)
    check_tree(client, folder)
    assert big_layer(registry)["digest"][7:] not in client.files("blobs/sha256")
    assert "in its compressed form" in client.fails("--to", f"127.0.0.1:{registry.port}/dropped/x:1", "push", ref)


def test_not_found(client, registry):
    assert "has no oci/img:none" in client.fails("pull", f"127.0.0.1:{registry.port}/oci/img:none")
    client.nothing_visible()


# ---- a server that misbehaves ---------------------------------------------------------------------------------------


def only_blob(digest, action, times=1):
    left = [times]

    def rule(h, path):
        if h.command == "GET" and path.endswith(f"/blobs/{digest}") and left[0] > 0:
            left[0] -= 1
            action(h)
            return True
        return False
    return rule


def test_cut_is_resumed_by_range(client, chaos, registry, folder):
    d = big_layer(registry)["digest"]
    chaos.rules.append(only_blob(d, lambda h: h.relay(cut=1000000), times=2))
    client("pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    ranges = [x[2].get("Range") for x in chaos.gets(d)]
    assert ranges[0] is None and ranges[1] == "bytes=1000000-" and len(ranges) == 3
    check_tree(client, folder)


def test_stall_is_broken_off_and_resumed(client, chaos, registry, folder):
    d = big_layer(registry)["digest"]
    chaos.rules.append(only_blob(d, lambda h: h.relay(cut=500000, stall=20)))
    begin = time.monotonic()
    client("--stall", "2", "pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    assert time.monotonic() - begin < 15
    check_tree(client, folder)


def test_killed_pull_resumes(client, chaos, registry, folder):
    d = big_layer(registry)["digest"]
    rule = only_blob(d, lambda h: h.relay(cut=1500000, stall=5))
    chaos.rules.append(rule)
    p = subprocess.Popen(client.argv("pull", f"127.0.0.1:{chaos.port}/oci/img:1"), stdout=subprocess.DEVNULL, env=client.env)
    path = os.path.join(client.root, "ingest", d[7:])
    for _ in range(400):
        if os.path.exists(path) and os.path.getsize(path) >= 1500000:
            break
        time.sleep(0.02)
    p.kill()
    p.wait()
    assert all(".tmp-" in x for x in client.files("layers"))
    client("pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    assert chaos.gets(d)[-1][2].get("Range") == "bytes=1500000-"
    check_tree(client, folder)


def test_server_without_ranges(client, chaos, registry, folder):
    d = big_layer(registry)["digest"]

    def whole(h):
        del h.headers["Range"]
        h.relay()
    chaos.rules += [only_blob(d, lambda h: h.relay(cut=700000)), only_blob(d, whole)]
    client("pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    check_tree(client, folder)


def corrupt(h):
    _, data = h.upstream_answer()
    del h.headers["Range"]
    h.relay(data=data[:len(data) // 2] + b"X" + data[len(data) // 2 + 1:])


def test_corrupt_layer_leaves_nothing(client, chaos, registry):
    d = big_layer(registry)["digest"]
    chaos.rules.append(only_blob(d, corrupt, times=100))
    text = client.fails("pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    assert "has the digest sha256:" in text
    client.nothing_visible()
    assert d[7:] not in client.files("blobs/sha256")


def test_truncated_for_ever(client, chaos, registry):
    d = big_layer(registry)["digest"]

    def short(h):
        h.answer(200, b"x" * 100, Content_Type="application/octet-stream")
    chaos.rules.append(only_blob(d, short, times=100))
    text = client.fails("--retries", "1", "pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    assert "ended after 100 of" in text or "has the digest" in text
    client.nothing_visible()


def test_longer_than_told(client, chaos, registry):
    d = big_layer(registry)["digest"]
    chaos.rules.append(only_blob(d, lambda h: h.answer(200, b"x" * 4000000), times=100))
    assert "is longer than its" in client.fails("pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    client.nothing_visible()


def on_path(part, action, times=1000):
    left = [times]

    def rule(h, path):
        if part in path and left[0] > 0:
            left[0] -= 1
            action(h)
            return True
        return False
    return rule


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_html(client, chaos, part):
    chaos.rules.append(on_path(part, lambda h: h.answer(200, b"<html>log in</html>", Content_Type="text/html")))
    assert "returned HTML instead of" in client.fails("pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    client.nothing_visible()


def test_wrong_media_type(client, chaos):
    chaos.rules.append(on_path("/manifests/", lambda h: h.answer(200, b"{}", Content_Type="application/x-thing")))
    assert "no kind of manifest" in client.fails("pull", f"127.0.0.1:{chaos.port}/oci/img:1")


def test_huge_manifest(client, chaos):
    chaos.rules.append(on_path("/manifests/", lambda h: h.answer(200, b" " * (5 << 20), Content_Type="application/json")))
    assert "larger than" in client.fails("pull", f"127.0.0.1:{chaos.port}/oci/img:1")


def test_redirect_loop(client, chaos):
    chaos.rules.append(on_path("/blobs/", lambda h: h.answer(307, Location=h.path)))
    assert "redirects without end" in client.fails("pull", f"127.0.0.1:{chaos.port}/oci/img:1")


def test_retry_after_and_server_errors(client, chaos, folder):
    chaos.rules += [on_path("/manifests/", lambda h: h.answer(429, Retry_After="1"), times=1),
                    on_path("/blobs/", lambda h: h.answer(503), times=2)]
    begin = time.monotonic()
    client("pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    assert time.monotonic() - begin >= 1
    check_tree(client, folder)


def test_foreign_layer_is_refused(client, chaos, registry):
    def foreign(h):
        _, data = h.upstream_answer()
        m = json.loads(data)
        m["layers"][0]["urls"] = [f"http://127.0.0.1:{registry.port}/secret"]
        body = json.dumps(m).encode()
        return h.answer(200, body, Content_Type=m.get("mediaType", "application/vnd.oci.image.manifest.v1+json"))
    chaos.rules.append(lambda h, path: h.command == "GET" and on_path("/manifests/", foreign)(h, path))
    assert "foreign" in client.fails("pull", f"127.0.0.1:{chaos.port}/oci/img:1")


# ---- mirrors ---------------------------------------------------------------------------------------------------------


def hosts_dir(workdir, host, *mirrors, **server):
    d = os.path.join(workdir, "certs.d", host)
    os.makedirs(d)
    with open(os.path.join(d, "hosts.toml"), "w") as f:
        for k, v in server.items():
            f.write(f"{k} = {json.dumps(v)}\n")
        for m in mirrors:
            f.write(f'[host."{m}"]\n  capabilities = ["pull", "resolve"]\n')
    return os.path.join(workdir, "certs.d")


def test_mirror_of_docker_hub(client, registry, workdir, folder):
    d = hosts_dir(workdir, "docker.io", f"http://127.0.0.1:{registry.port}")
    r = client("--hosts-dir", d, "pull", "oci/img:1")
    assert "docker.io/oci/img:1" in r.stdout
    check_tree(client, folder)


def test_fail_over_within_a_blob(client, chaos, registry, workdir, folder):
    d = big_layer(registry)["digest"]

    def die(h):
        h.relay(cut=900000)
        chaos.rules.append(lambda x, path: x.answer(500))
    chaos.rules.append(only_blob(d, die))
    certs = hosts_dir(workdir, "example.test", f"http://127.0.0.1:{chaos.port}", f"http://127.0.0.1:{registry.port}")
    client("--retries", "1", "--hosts-dir", certs, "pull", "example.test/oci/img:1")
    check_tree(client, folder)


def test_lying_mirror_is_passed_over(client, chaos, registry, workdir, folder):
    chaos.rules.append(only_blob(big_layer(registry)["digest"], corrupt, times=100))
    certs = hosts_dir(workdir, "example.test", f"http://127.0.0.1:{chaos.port}", f"http://127.0.0.1:{registry.port}")
    client("--hosts-dir", certs, "pull", "example.test/oci/img:1")
    check_tree(client, folder)


def test_registries_conf(client, registry, workdir, folder):
    conf = os.path.join(workdir, "registries.conf")
    with open(conf, "w") as f:
        f.write(f'''unqualified-search-registries = ["none.test", "short.test"]
[[registry]]
prefix = "none.test"
location = "127.0.0.1:{registry.port}/nothing"
[[registry]]
prefix = "short.test"
location = "127.0.0.1:{registry.port}/oci"
[[registry]]
prefix = "blocked.test"
blocked = true
''')
    assert "short.test/img:1" in client("--registries-conf", conf, "pull", "img:1").stdout
    check_tree(client, folder)
    assert "blocked by" in client.fails("--registries-conf", conf, "pull", "blocked.test/x")
    with open(conf, "a") as f:
        f.write("blocked = maybe\n")
    assert "registries.conf:11: value maybe" in client.fails("--registries-conf", conf, "pull", "img:1")


# ---- TLS and credentials -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(folder):
    d = os.path.join(folder, "tls")
    os.makedirs(d)

    def make(name, subject, extra, ca=True):
        sh("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{d}/{name}.key", "-out", f"{d}/{name}.csr", "-subj", subject)
        with open(f"{d}/{name}.ext", "w") as f:
            f.write(extra)
        sign = ["-signkey", f"{d}/{name}.key"] if ca else ["-CA", f"{d}/ca.crt", "-CAkey", f"{d}/ca.key", "-CAcreateserial"]
        sh("openssl", "x509", "-req", "-in", f"{d}/{name}.csr", "-days", "30", "-extfile", f"{d}/{name}.ext", "-out", f"{d}/{name}.crt", *sign)
    make("ca", "/CN=test ca", "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n")
    make("server", "/CN=127.0.0.1", "subjectAltName=IP:127.0.0.1,DNS:localhost\n", ca=False)
    make("client", "/CN=client", "extendedKeyUsage=clientAuth\n", ca=False)
    return d


def test_tls(client, folder, tls, workdir):
    r = Registry(workdir, "tls", (f"{tls}/server.crt", f"{tls}/server.key"))
    try:
        host = f"127.0.0.1:{r.port}"
        sh("skopeo", "copy", "--dest-tls-verify=false", f"oci:{folder}/layout:a", f"docker://{host}/oci/img:1")
        assert "is not trusted" in client.fails("pull", f"{host}/oci/img:1")
        certs = hosts_dir(workdir, f"127.0.0.1_{r.port}_", server=f"https://{host}", ca=f"{tls}/ca.crt")
        client("--hosts-dir", certs, "pull", f"{host}/oci/img:1")
        check_tree(client, folder)
        shutil.rmtree(client.root)
        client("--insecure", "pull", f"{host}/oci/img:1")
        assert f"{tls}/ca.crt" in client("--hosts-dir", certs, "explain", f"{host}/oci/img:1").stdout
    finally:
        r.close()


def test_client_certificate(client, folder, tls, workdir):
    r = Registry(workdir, "mtls", (f"{tls}/server.crt", f"{tls}/server.key", f"{tls}/ca.crt"))
    try:
        host = f"127.0.0.1:{r.port}"
        certs = os.path.join(workdir, "push-certs")
        os.makedirs(certs)
        for n, to in (("ca.crt", "ca.crt"), ("client.crt", "client.cert"), ("client.key", "client.key")):
            shutil.copy(f"{tls}/{n}", os.path.join(certs, to))
        sh("skopeo", "copy", "--dest-cert-dir", certs, f"oci:{folder}/layout:a", f"docker://{host}/oci/img:1")
        d = hosts_dir(workdir, f"127.0.0.1_{r.port}_", server=f"https://{host}", ca=f"{tls}/ca.crt")
        client.fails("--retries", "0", "--hosts-dir", d, "pull", f"{host}/oci/img:1")
        shutil.rmtree(d)
        d = hosts_dir(workdir, f"127.0.0.1_{r.port}_", server=f"https://{host}", ca=f"{tls}/ca.crt",
                      client=[[f"{tls}/client.crt", f"{tls}/client.key"]])
        client("--hosts-dir", d, "pull", f"{host}/oci/img:1")
        check_tree(client, folder)
    finally:
        r.close()


def write_auth(workdir, **entries):
    path = os.path.join(workdir, "auth.json")
    with open(path, "w") as f:
        json.dump({"auths": {k: {"auth": base64.b64encode(v.encode()).decode()} for k, v in entries.items()}}, f)
    return path


def test_basic_auth(client, folder, workdir):
    htpasswd = os.path.join(workdir, "htpasswd")
    with open(htpasswd, "w") as f:
        f.write(sh("htpasswd", "-nbB", "me", "se:cret"))
    r = Registry(workdir, "basic", htpasswd=htpasswd)
    try:
        host = f"127.0.0.1:{r.port}"
        sh("skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", "me:se:cret", f"oci:{folder}/layout:a", f"docker://{host}/oci/img:1")
        assert f"run tare login {host}" in client.fails("pull", f"{host}/oci/img:1")
        assert "refused" in client.fails("--creds", "me:wrong", "pull", f"{host}/oci/img:1")
        client("--creds", "me:se:cret", "check", host)
        client("--authfile", write_auth(workdir, **{host: "me:se:cret"}), "pull", f"{host}/oci/img:1")
        check_tree(client, folder)
    finally:
        r.close()


def test_token_auth(client, chaos, workdir, folder):
    auth = TokenAuth(users={"me": "secret"})
    chaos.rules.append(auth)
    host = f"127.0.0.1:{chaos.port}"
    assert "no anonymous access" in client.fails("pull", f"{host}/oci/img:1")
    assert "refused" in client.fails("--creds", "me:wrong", "pull", f"{host}/oci/img:1")
    del auth.asked[:]
    client("--authfile", write_auth(workdir, **{host + "/oci": "me:secret", host: "me:wrong"}), "pull", f"{host}/oci/img:1")
    check_tree(client, folder)
    assert auth.asked[0][1]["scope"] == ["repository:oci/img:pull"] and auth.asked[0][1]["service"] == ["test"]


def test_anonymous_token_that_expires(client, chaos, registry, folder):
    auth = TokenAuth(anonymous=True, lifetime=300)
    d = big_layer(registry)["digest"]

    def forget(h):
        auth.given.clear()
        h.relay(cut=600000)
    chaos.rules += [auth, only_blob(d, forget)]
    client("pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    check_tree(client, folder)
    assert len(auth.asked) >= 2


def test_identity_token(client, chaos):
    auth = TokenAuth()
    chaos.rules.append(auth)
    client("--identity-token", "refresh-me", "pull", f"127.0.0.1:{chaos.port}/oci/img:1")
    assert auth.asked[0][0] == "POST"


def test_credentials_stay_with_their_host(client, chaos, registry, folder):
    """A blob that is redirected to another host is fetched there without the registry's credential."""
    other = Chaos(registry.port)
    try:
        auth = TokenAuth(users={"me": "secret"})

        def away(h):
            return h.answer(307, Location=f"http://127.0.0.1:{other.port}{h.path}")
        chaos.rules += [auth, on_path("/blobs/", away)]
        client("--creds", "me:secret", "pull", f"127.0.0.1:{chaos.port}/oci/img:1")
        check_tree(client, folder)
        assert other.log and all("Authorization" not in x[2] for x in other.log)
    finally:
        other.close()


def test_token_service_without_tls_is_refused(client, chaos, workdir, registry):
    chaos.rules.append(lambda h, path: h.answer(401, b"", WWW_Authenticate='Bearer realm="ftp://example.test/token"'))
    assert "not HTTPS" in client.fails("--creds", "me:secret", "pull", f"127.0.0.1:{chaos.port}/oci/img:1")


# ---- many at once ----------------------------------------------------------------------------------------------------


def test_two_pulls_fetch_a_blob_once(client, chaos, registry, folder):
    d = big_layer(registry)["digest"]
    slow = only_blob(d, lambda h: (time.sleep(1), h.relay()))
    chaos.rules.append(slow)
    ps = [subprocess.Popen(client.argv("pull", f"127.0.0.1:{chaos.port}/{repo}"), stdout=subprocess.DEVNULL, env=client.env)
          for repo in ("oci/img:1", "oci/img:1")]
    assert [p.wait(60) for p in ps] == [0, 0]
    assert len(chaos.gets(d)) == 1
    check_tree(client, folder)
