#!/usr/bin/python3
"""mkbusybox.py OUT [--format docker|oci] [--name NAME] [--busybox FILE] [--env K=V] [--cmd WORD]... [--extra PATH=TEXT]

Writes an archive of a busybox image, made from Debian's static busybox: one layer with /bin/busybox, its applets as hard links,
/etc/passwd and group. The same input gives the same bytes."""
import argparse
import gzip
import hashlib
import io
import json
import subprocess
import tarfile

FOLDERS = {"bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o755, "root": 0o700, "sys": 0o755, "tmp": 0o1777,
           "usr": 0o755, "usr/bin": 0o755, "usr/sbin": 0o755, "sbin": 0o755, "var": 0o755, "var/www": 0o755, "run": 0o755}
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
                  "www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:www-data\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def entry(name, mode, kind=tarfile.REGTYPE, size=0, link=""):
    t = tarfile.TarInfo(name)
    t.mode, t.type, t.size, t.linkname = mode, kind, size, link
    return t


def layer(busybox, extra):
    with open(busybox, "rb") as f:
        program = f.read()
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in FOLDERS.items():
            tar.addfile(entry(name + "/", mode, tarfile.DIRTYPE))
        tar.addfile(entry("bin/busybox", 0o755, size=len(program)), io.BytesIO(program))
        for a in sorted(set(applets) - {"busybox"}):
            tar.addfile(entry("bin/" + a, 0o755, tarfile.LNKTYPE, link="bin/busybox"))
        for name, text in {**FILES, **extra}.items():
            data = text.encode()
            tar.addfile(entry(name, 0o640 if name == "etc/shadow" else 0o644, size=len(data)), io.BytesIO(data))
    return out.getvalue()


def add(tar, name, data):
    tar.addfile(entry(name, 0o644, size=len(data)), io.BytesIO(data))


def digest(data):
    return hashlib.sha256(data).hexdigest()


def image_config(diff, args):
    return {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(subprocess.run(["uname", "-m"], capture_output=True, text=True).stdout.strip(), "amd64"),
        "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *args.env],
                   "Cmd": args.cmd or ["sh"], **({"User": args.user} if args.user else {}),
                   **({"Entrypoint": args.entrypoint} if args.entrypoint else {}),
                   **({"Volumes": {v: {} for v in args.volume}} if args.volume else {}),
                   **({"ExposedPorts": {p: {} for p in args.expose}} if args.expose else {}),
                   "Labels": {"org.opencontainers.image.title": "busybox"}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest(diff)]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox-static and its applets"}],
    }


def write_docker(out, diff, config, name):
    with tarfile.open(out, "w") as tar:
        add(tar, digest(diff) + "/layer.tar", diff)
        add(tar, digest(config) + ".json", config)
        add(tar, "manifest.json", json.dumps([{"Config": digest(config) + ".json", "RepoTags": [name],
                                               "Layers": [digest(diff) + "/layer.tar"]}]).encode())


def write_oci(out, diff, config, name):
    packed = gzip.compress(diff, 6, mtime=0)
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + digest(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:" + digest(packed), "size": len(packed)}],
    }).encode()
    index = {"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + digest(manifest), "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}}]}
    with tarfile.open(out, "w") as tar:
        add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add(tar, "index.json", json.dumps(index).encode())
        for blob in (packed, config, manifest):
            add(tar, "blobs/sha256/" + digest(blob), blob)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--format", choices=["docker", "oci"], default="docker")
    p.add_argument("--name", default="docker.io/library/busybox:latest")
    p.add_argument("--busybox", default="/bin/busybox")
    p.add_argument("--user", default="")
    for repeated in ("env", "cmd", "entrypoint", "volume", "expose", "extra"):
        p.add_argument("--" + repeated, action="append", default=[])
    args = p.parse_args()
    extra = dict(e.split("=", 1) for e in args.extra)
    diff = layer(args.busybox, {k.lstrip("/"): v for k, v in extra.items()})
    config = json.dumps(image_config(diff, args)).encode()
    (write_oci if args.format == "oci" else write_docker)(args.out, diff, config, args.name)


main()
