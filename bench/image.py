#!/usr/bin/python3
"""Pull and unpack of a real image (five gzip layers out of this machine's /usr) from a loopback registry: tare against two floors
(curl | igzip -dc | tar x, and curl | igzip -dc > file, all layers at once) and against podman and skopeo+umoci.

usage: image.py BUILD [ROUNDS] [MEGABYTES]
"""
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common  # noqa: E402


def run(*argv, **kw):
    return subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, **kw)


def pick_folders(total):
    """Five lists of folders below /usr with about total/5 bytes each."""
    found = []
    for top, dirs, files in os.walk("/usr", followlinks=False):
        if top.count("/") == 3:
            size = int(subprocess.run(["du", "-sbx", top], capture_output=True, text=True).stdout.split()[0])
            found.append((size, top))
            dirs[:] = []
    found.sort(reverse=True)
    groups = [[0, []] for _ in range(5)]
    for size, path in found:
        g = min(groups, key=lambda g: g[0])
        if g[0] + size <= total / 5 * 1.1:
            g[0] += size
            g[1].append(path)
    return [g[1] for g in groups]


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while b := f.read(1 << 20):
            h.update(b)
    return "sha256:" + h.hexdigest()


def make_layout(out, megabytes):
    os.makedirs(f"{out}/blobs/sha256")
    layers, diffs = [], []
    for i, group in enumerate(pick_folders(megabytes << 20)):
        tar = f"{out}/layer{i}.tar"
        run("tar", "--xattrs", "-cf", tar, "-C", "/", *[g.lstrip("/") for g in group], stderr=subprocess.DEVNULL)
        diffs.append(digest(tar))
        run("gzip", "-6", "-n", tar)
        d = digest(tar + ".gz")
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": d, "size": os.path.getsize(tar + ".gz")})
        os.rename(tar + ".gz", f"{out}/blobs/sha256/{d[7:]}")

    def blob(o):
        data = json.dumps(o).encode()
        d = hashlib.sha256(data).hexdigest()
        with open(f"{out}/blobs/sha256/{d}", "wb") as f:
            f.write(data)
        return {"digest": "sha256:" + d, "size": len(data)}

    config = blob({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": diffs}})
    man = blob({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config}, "layers": layers})
    with open(f"{out}/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", **man,
                                                      "annotations": {"org.opencontainers.image.ref.name": "big"}}]}, f)
    with open(f"{out}/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')
    return layers


def registry(work):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with open(f"{work}/registry.yml", "w") as f:
        f.write(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
                f"http: {{addr: '127.0.0.1:{port}'}}\n")
    p = subprocess.Popen(["docker-registry", "serve", f"{work}/registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/")
            break
        except OSError:
            time.sleep(0.05)
    return p, port


def main():
    build = os.path.abspath(sys.argv[1])
    rounds, megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 3, int(sys.argv[3]) if len(sys.argv) > 3 else 900
    work = tempfile.mkdtemp(prefix="tare-bench-image-")
    reg = None
    try:
        layers = make_layout(f"{work}/layout", megabytes)
        reg, port = registry(work)
        run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{work}/layout:big", f"docker://127.0.0.1:{port}/big:latest")
        image = f"127.0.0.1:{port}/big:latest"
        urls = [f"http://127.0.0.1:{port}/v2/big/blobs/{l['digest']}" for l in layers]
        packed = sum(l["size"] for l in layers)

        def fresh():
            shutil.rmtree(f"{work}/out", ignore_errors=True)
            os.mkdir(f"{work}/out")
            subprocess.run(["sync", "-f", work])

        def measured(argv, env=None):
            fresh()
            return common.once(argv, env)

        def shell(text):
            return lambda: measured(["sh", "-c", " ".join(text % {"u": u, "i": i, "o": f"{work}/out"} for i, u in enumerate(urls)) + " wait"])

        subjects = {
            "floor: one flat file a layer": shell("(curl -s %(u)s | igzip -dc >%(o)s/%(i)d.tar) &"),
            "floor: files": shell("(mkdir %(o)s/%(i)d; curl -s %(u)s | igzip -dc | tar x --xattrs -C %(o)s/%(i)d) &"),
            "tare": lambda: measured([f"{build}/bin/tare", "--root", f"{work}/out/root", "--run", f"{work}/out/run", "pull", "-q", image]),
        }
        if shutil.which("podman"):
            subjects["podman"] = lambda: measured(["podman", "--root", f"{work}/out/root", "--runroot", f"{work}/out/run", "--cgroup-manager=cgroupfs",
                                                   "pull", "-q", "--tls-verify=false", image])
        if shutil.which("skopeo") and shutil.which("umoci"):
            subjects["skopeo+umoci"] = lambda: measured(["sh", "-c", f"skopeo copy -q --src-tls-verify=false docker://{image} oci:{work}/out/l:big && "
                                                         f"umoci --log=error unpack --image {work}/out/l:big {work}/out/bundle"])
        res = common.interleave(subjects, rounds)
        rows = []
        for name, r in res.items():
            rows.append([name, f"{common.median(r, 0) / 1000:.1f}", f"{common.ratio(r, res['floor: one flat file a layer'], 0):.2f}",
                         f"{common.ratio(r, res['floor: files'], 0):.2f}", f"{common.median(r, 1) / 1000:.1f}"])
        common.table(f"pull and unpack, five gzip layers, {packed >> 20} MB packed", ["", "wall s", "x flat floor", "x files floor", "CPU s"], rows)
    finally:
        if reg:
            reg.terminate()
            reg.wait()
        shutil.rmtree(work, ignore_errors=True)


main()
