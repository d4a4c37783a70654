"""What the tests with other engines share: a busybox root file system as a tar."""
import os
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "run"))
from ocilib import make_rootfs  # noqa: E402


def busybox_tar(base):
    root = make_rootfs(os.path.join(base, "rootfs"))
    out = os.path.join(base, "busybox.tar")
    with tarfile.open(out, "w") as t:
        t.add(root, arcname=".")
    return out
