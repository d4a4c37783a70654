#!/usr/bin/python3
"""Fails on an include that the table of rooms in docs/architecture.md does not allow, and on a circle between files."""
import os
import re
import sys

ALLOWED = {
    "base": "",
    "sys": "base",
    "spec": "base",
    "http": "sys base",
    "store": "sys base",
    "image": "store spec http sys base",
    "net": "store spec sys base",
    "ipc": "spec sys base",
    "oci": "spec sys base",
    "monitor": "oci ipc spec sys base",
    "engine": "image net ipc store spec sys base",
    "cri": "engine http ipc spec sys base",
    "cmd": "cri engine image net ipc store spec http sys base oci monitor",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def main(src):
    bad, graph = [], {}
    for top, _, files in os.walk(src):
        for f in files:
            if not f.endswith((".c", ".h")):
                continue
            path = os.path.join(top, f)
            rel = os.path.relpath(path, src)
            room = rel.split(os.sep)[0]
            with open(path) as fh:
                text = fh.read()
            graph[rel] = INCLUDE.findall(text)
            for inc in graph[rel]:
                to = inc.split("/")[0]
                if inc.endswith(".pb-c.h"):
                    continue
                if to not in ALLOWED:
                    bad.append(f"{rel}: include \"{inc}\" does not begin with a room")
                elif to != room and to not in ALLOWED.get(room, "").split():
                    bad.append(f"{rel}: room {room} may not include {inc}")
            if re.search(r"^\s*#\s*include\s+<sqlite3.h>", text, re.M) and room != "store":
                bad.append(f"{rel}: only store/ may use SQLite")
    done, stack = set(), []

    def visit(f):
        if f in stack:
            bad.append("circle: " + " -> ".join(stack[stack.index(f):] + [f]))
            return
        if f in done or f not in graph:
            return
        stack.append(f)
        for inc in graph[f]:
            visit(inc)
        stack.pop()
        done.add(f)

    for f in sorted(graph):
        visit(f)
    for b in sorted(set(bad)):
        print(b)
    print(f"rooms: {len(graph)} files, {len(bad)} problems")
    return 1 if bad else 0


sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..", "src")))
