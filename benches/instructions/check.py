#!/usr/bin/env python3
"""Instructions per sample of the first scrape of a page, of those after it, in remote write 1.0 and 2.0, and of those of
a page of which nearly all is left out, counted by valgrind, and held against bounds.

usage: check.py PROGRAM     as built by `cargo build --release --example warm`

Times swing by a factor of two on shared machines; instructions of one thread do not, but by the addresses
that hash tables and the allocator get: less than 1 %. Compilers and dependencies move them by some percent, so the
bounds leave half as much again as was measured: they are to find the work that a change adds to each sample by
mistake, such as labels that are parsed again, which is more. A change that earns a lower figure lowers its bound.
"""

import os
import re
import subprocess
import sys
import tempfile

# Measured with Rust 1.95 on x86-64: 29,000 and 1,800.
COLD_MAX = 42_000
WARM_MAX = 2_700
# Of all samples of the page, nine of a thousand of which are kept: 680.
LEFT_OUT_MAX = 1_000
V2_MAX = WARM_MAX
# A group that is a small part of the page.
FEW = "checkpointing"
# Pages by which two runs differ.
PAGES = 5
# The first pages of a target in 2.0: a request is kept when it comes for the second time.
BEFORE_V2 = 2


def run(program: str, targets: int, pages: int, *what: str) -> tuple[int, int]:
    """Instructions of a run over so many pages of so many targets, and samples of one page.

    All groups when none is named, in 1.0 unless `what` begins with 2.0.
    """
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "callgrind.out")
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program, str(targets), str(pages), *what],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not counted:
        sys.exit(f"valgrind {program} {targets} {pages} failed:\n{done.stderr[-2000:]}")
    return int(counted[1]), int(done.stdout)


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = sys.argv[1]
    # The first page of the process pays for what all share, such as the catalogue.
    one, samples = run(program, 1, 1)
    one_of_few, _ = run(program, 1, 1, FEW)
    some_v2, _ = run(program, 1, BEFORE_V2, "2.0")
    figures = {
        "cold": (run(program, 1 + PAGES, 1), one, COLD_MAX),
        "warm": (run(program, 1, 1 + PAGES), one, WARM_MAX),
        "warm, 2.0": (run(program, 1, BEFORE_V2 + PAGES, "2.0"), some_v2, V2_MAX),
        "left out": (run(program, 1, 1 + PAGES, FEW), one_of_few, LEFT_OUT_MAX),
    }
    is_over = False
    for name, ((counted, _), first, most) in figures.items():
        instructions = (counted - first) / samples / PAGES
        over = instructions > most
        is_over |= over
        print(f"{name}: {instructions:,.0f} instructions per sample, {most:,} at most{', EXCEEDED' if over else ''}")
    return int(is_over)


if __name__ == "__main__":
    sys.exit(main())
