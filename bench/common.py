"""Interleaved measuring: each round runs every subject once, so that a drift of the machine meets all of them alike."""
import os
import resource
import statistics
import subprocess
import time


def once(argv, env=None):
    """(wall ms, CPU ms of the process and its reaped children, page faults, peak RSS in KiB)"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    t = time.monotonic()
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    _, status, usage = os.wait4(p.pid, 0)
    wall = (time.monotonic() - t) * 1000
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: exit {p.returncode}: {p.stderr.read().decode()[:500]}")
    p.stderr.close()
    del before
    return wall, (usage.ru_utime + usage.ru_stime) * 1000, usage.ru_minflt, usage.ru_maxrss


def interleave(subjects, rounds, gap=0.0):
    """subjects: name -> callable giving a tuple of figures. Returns name -> list of tuples."""
    out = {n: [] for n in subjects}
    for f in subjects.values():
        f()     # a warm-up that does not count
    for _ in range(rounds):
        for name, f in subjects.items():
            if gap:
                time.sleep(gap)
            out[name].append(f())
    return out


def median(rows, i):
    return statistics.median(r[i] for r in rows)


def ratio(rows, base, i):
    """Median of the ratios round by round."""
    return statistics.median(a[i] / b[i] for a, b in zip(rows, base) if b[i])


def table(title, columns, rows):
    print(f"\n{title}\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for r in rows:
        print("| " + " | ".join(str(c) for c in r) + " |")
