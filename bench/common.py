"""Interleaved measuring: each round runs every subject once, so that a drift of the machine meets all of them alike."""
import os
import statistics
import subprocess
import sys
import time

MEASURE = os.path.join(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build"), "bench", "measure")


def once(argv, env=None):
    """(wall ms, CPU ms of the process and its reaped children, page faults, peak RSS in KiB)"""
    if not os.path.exists(MEASURE):
        subprocess.run(["ninja", "-C", os.path.dirname(os.path.dirname(MEASURE)), "bench/measure"], check=True, stdout=subprocess.DEVNULL)
    p = subprocess.run([MEASURE, *argv], stdin=subprocess.DEVNULL, capture_output=True, env=env)
    if p.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: exit {p.returncode}: {p.stderr.decode()[:500]}")
    wall, cpu, faults, rss = map(int, p.stdout.split())
    return wall / 1000, cpu / 1000, faults, rss


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
