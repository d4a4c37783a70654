#!/usr/bin/python3
"""Fails on functions that are not used here, and on words of unfinished work; prints the longest functions and files."""
import os
import re
import sys

BANNED = {
    "strcpy": "buf_adds()", "strcat": "buf_adds()", "sprintf": "buf_addf() or snprintf()", "vsprintf": "buf_addf()",
    "strtok": "strcspn()", "gets": "fd_read_all()", "atoi": "num_i64()", "atol": "num_i64()", "atoll": "num_i64()",
    "strncpy": "memcpy() or snprintf()", "strncat": "buf_add()", "system": "sys/spawn.h", "popen": "sys/spawn.h",
    "tmpnam": "mkstemp()", "mktemp": "mkdtemp()", "alloca": "malloc()", "scanf": "base/num.h",
}
WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK|not yet implemented)\b")
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")


def strip(text):
    """Blanks comments and strings, keeping lines."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def functions(code):
    start = None
    for n, line in enumerate(code.split("\n"), 1):
        if line == "{":
            start = n
        elif line == "}" and start:
            yield n - start - 1, start
            start = None


def main(src):
    bad, longest, files = [], [], []
    for top, _, names in os.walk(src):
        for f in names:
            if not f.endswith((".c", ".h")):
                continue
            path = os.path.join(top, f)
            rel = os.path.relpath(path, src)
            with open(path) as fh:
                text = fh.read()
            code = strip(text)
            files.append((text.count("\n"), rel))
            longest += [(n, f"{rel}:{at}") for n, at in functions(code)]
            for n, (line, raw) in enumerate(zip(code.split("\n"), text.split("\n")), 1):
                for m in CALL.finditer(line):
                    bad.append(f"{rel}:{n}: {m.group(1)}() is not used here: take {BANNED[m.group(1)]}")
                if WORDS.search(raw):
                    bad.append(f"{rel}:{n}: unfinished by its own words: {raw.strip()}")
    longest.sort(reverse=True)
    within = sum(1 for n, _ in longest if n <= 60)
    print(f"functions: {len(longest)}, {100 * within / max(1, len(longest)):.1f} % at or under 60 lines; the longest:")
    for n, at in longest[:20]:
        print(f"  {n:4} {at}")
    files.sort(reverse=True)
    print("largest files: " + ", ".join(f"{f} {n}" for n, f in files[:8]))
    for b in bad:
        print(b)
    print(f"banned: {len(bad)} problems")
    return 1 if bad else 0


sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..", "src")))
