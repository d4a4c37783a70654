"""A layer of more than 10,000 files as tare unpacks it, compared file by file with umoci's."""
import os
import shutil
import stat
import subprocess

import pytest

from conftest import program

SOURCES = ["/usr/lib/python3.11", "/usr/lib/python3", "/usr/share/doc", "/usr/share/man", "/usr/share/perl"]
ENOUGH = 10000

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("umoci") or not shutil.which("skopeo"), reason="needs umoci and skopeo"),
    pytest.mark.skipif(not os.path.exists(program("tare")), reason="needs tare"),
]


def run(*argv, **kw):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, **kw)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def describe(path):
    st = os.lstat(path)
    xattrs = sorted((k, os.getxattr(path, k, follow_symlinks=False)) for k in os.listxattr(path, follow_symlinks=False))
    kind = stat.S_IFMT(st.st_mode)
    content = os.readlink(path) if kind == stat.S_IFLNK else st.st_rdev
    if kind == stat.S_IFREG:
        with open(path, "rb") as f:
            content = f.read()
    links = 1 if kind == stat.S_IFDIR else st.st_nlink
    size = st.st_size if kind == stat.S_IFREG else 0
    return st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns // 10**9, links, size, xattrs, content


def names(top):
    top = os.fsencode(top)
    return {os.path.relpath(os.path.join(d, n), top) for d, dirs, files in os.walk(top) for n in dirs + files}


def fill(rootfs):
    for source in SOURCES:
        if os.path.isdir(source):
            target = rootfs + os.path.dirname(source)
            os.makedirs(target, exist_ok=True)
            subprocess.run(["cp", "-a", source, target], check=True)
    odd = os.path.join(rootfs, "odd")
    os.makedirs(odd)
    for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("none", 0)):
        with open(os.path.join(odd, name), "w") as f:
            f.write(name)
        os.chown(os.path.join(odd, name), 1000, 100000)
        os.chmod(os.path.join(odd, name), mode)
    os.link(os.path.join(odd, "suid"), os.path.join(odd, "hard"))
    os.setxattr(os.path.join(odd, "sgid"), "user.note", b"\x00\xff")
    os.mkfifo(os.path.join(odd, "fifo"))
    os.mknod(os.path.join(odd, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.symlink("/etc/passwd", os.path.join(odd, "link"))
    with open(os.path.join(odd, "sparse"), "wb") as f:
        f.truncate(8 << 20)
        f.seek(4 << 20)
        f.write(b"middle")
    with open(os.path.join(os.fsencode(odd), b"raw-\xff\xfe"), "w") as f:
        f.write("raw")
    with open(os.path.join(odd, "n" * 250), "w") as f:
        f.write("long")
    os.utime(odd, ns=(10**18, 10**18))


def test_same_as_umoci(tmp_path):
    layout, bundle, other = tmp_path / "layout", tmp_path / "bundle", tmp_path / "other"
    run("umoci", "init", "--layout", str(layout))
    run("umoci", "new", "--image", f"{layout}:t")
    run("umoci", "unpack", "--image", f"{layout}:t", str(bundle))
    fill(str(bundle / "rootfs"))
    run("umoci", "repack", "--image", f"{layout}:t", str(bundle))
    run("umoci", "unpack", "--image", f"{layout}:t", str(other))
    archive = tmp_path / "image.tar"
    run("skopeo", "copy", "-q", f"oci:{layout}:t", f"oci-archive:{archive}:docker.io/library/unpack:1")
    root = tmp_path / "root"
    try:
        run(program("tare"), "--root", str(root), "--run", str(tmp_path / "run"), "load", str(archive))
        diffs = [root / "layers" / d / "diff" for d in os.listdir(root / "layers")]
        assert len(diffs) == 1
        ours, theirs = names(diffs[0]), names(other / "rootfs")
        assert len(theirs) >= ENOUGH and ours == theirs
        mine, peer = os.fsencode(diffs[0]), os.fsencode(other / "rootfs")
        wrong = [n for n in sorted(theirs) if describe(os.path.join(mine, n)) != describe(os.path.join(peer, n))]
        assert not wrong, wrong[:20]
        assert os.stat(diffs[0] / "odd/sparse").st_blocks * 512 < 8 << 20 or os.stat(other / "rootfs/odd/sparse").st_blocks * 512 >= 8 << 20
    finally:
        shutil.rmtree(root, ignore_errors=True)
