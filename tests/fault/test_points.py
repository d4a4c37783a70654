"""Every named point of every operation: tare kills itself there, and the next command has to put things right.

Needs a build with -Dfault=true (make fault). The points are found by letting each operation run once and tell which it passes, so
that none is forgotten; the number tried is printed at the end."""
import collections
import os
import signal
import subprocess
import sys

import pytest

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(REPO, "tests", "run"))
import crashlib  # noqa: E402
from conftest import BIN, program  # noqa: E402
from test_crash import registry  # noqa: E402, F401

pytestmark = pytest.mark.skipif(not os.path.exists(program("tare")) or b"TARE_FAULT_TRACE" not in open(program("tare"), "rb").read(),
                                reason=f"no fault points in {BIN}")


@pytest.fixture
def tare(workdir, busybox_archive):
    t = crashlib.Crash(workdir)
    t("load", "-i", busybox_archive)
    yield t
    t.clear()


def passed(t, op):
    """The points of one undisturbed run, each as often as it is passed."""
    trace = os.path.join(t.base, "trace")
    crashlib.make(t, op)
    r = subprocess.run(t.argv(*op.argv), env=dict(t.env, TARE_FAULT_TRACE=trace), capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    for argv in op.after:
        t(*crashlib.whole(t, argv))
    with open(trace) as f:
        return collections.Counter(f.read().split())


def kill_at_each(t, op, record):
    tried = 0
    for point, times in sorted(passed(t, op).items()):
        for n in range(1, times + 1):
            crashlib.make(t, op)
            r = subprocess.run(t.argv(*op.argv), env=dict(t.env, TARE_FAULT=f"{point}:{n}"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, timeout=60)
            assert r.returncode == -signal.SIGKILL, f"{op.name} was not killed at {point}:{n}"
            tried += 1
            crashlib.check_after_kill(t, op, f"at {point}:{n}")
    record("points", tried)


@pytest.mark.parametrize("name", crashlib.NAMES)
def test_killed_at_each_point(tare, busybox_archive, record_property, name):
    kill_at_each(tare, next(o for o in crashlib.operations(busybox_archive) if o.name == name), record_property)


def test_pull_killed_at_each_point(tare, busybox_archive, registry, record_property):  # noqa: F811
    tare("rmi", "-f", "busybox")
    kill_at_each(tare, crashlib.operations(busybox_archive, registry)[-1], record_property)
    assert crashlib.contents(tare) == []
