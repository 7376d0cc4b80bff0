#!/usr/bin/env python3
"""One run through pgditto against direct runs of the same files.

usage: compare.py NAME KNOWN RUN DIRECT...

RUN and each DIRECT hold results/*.out. A file is the same if it is byte for byte that of one direct run, or
differs only in lines in which direct runs differ among themselves. KNOWN is docs/conformance.md, whose rows
`suite/file` explain what cannot be the same; suite is NAME up to the first blank. What differs is left in
RUN/differs/.
Exit status 1: a difference that is not known.
"""

import difflib
import sys
from pathlib import Path


def changes(old, new):
    """The ranges of lines of `old` that are not so in `new`."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [(a, b) for tag, a, b, _, _ in matcher.get_opcodes() if tag != "equal"]


def is_same(mine, direct):
    if mine in direct:
        return True
    first = direct[0].splitlines()
    unsteady = [span for other in direct[1:] for span in changes(first, other.splitlines())]
    return bool(unsteady) and all(
        any(a <= begin and end <= max(a, b) for a, b in unsteady)
        for begin, end in changes(first, mine.splitlines())
    )


def main():
    name, known, run, *direct = sys.argv[1:]
    run, direct = Path(run), [Path(path) for path in direct]
    suite = name.split()[0]
    lines = Path(known).read_text().splitlines()
    row = f"| `{suite}/"
    known = {line[len(row) :].split("`")[0] for line in lines if line.startswith(row)}
    differs = run / "differs"
    differs.mkdir(exist_ok=True)

    files = sorted({path.stem for folder in direct for path in folder.glob("results/*.out")})
    different = []
    for file in files:
        paths = [folder / "results" / f"{file}.out" for folder in [run, *direct]]
        mine, *others = [path.read_bytes() if path.exists() else None for path in paths]
        others = [other for other in others if other is not None]
        if mine is None or not is_same(mine, others):
            different.append(file)
            text = [x.decode("utf-8", "replace").splitlines() for x in (others[0], mine or b"")]
            diff = difflib.unified_diff(*text, f"direct/{file}", f"pgditto/{file}", lineterm="")
            (differs / f"{file}.diff").write_text("\n".join(diff) + "\n")

    new = [file for file in different if file not in known]
    old = [file for file in different if file in known]
    words = []
    if old:
        words.append("known: " + " ".join(old))
    if new:
        words.append("NEW: " + " ".join(new))
    print(f"{name:<32} {len(files) - len(different):>3} of {len(files)} as direct   {'; '.join(words)}", flush=True)
    sys.exit(bool(new) or not files)


main()
