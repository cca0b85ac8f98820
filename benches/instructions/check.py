#!/usr/bin/env python3
"""Instructions per sample of the first scrape of a page and of those after it, counted by valgrind, and held
against bounds.

usage: check.py PROGRAM     as built by `cargo build --release --example warm`

Times swing by a factor of two on shared machines; instructions of one thread do not, but by the addresses
that hash tables and the allocator get: less than 1 %. Compilers and dependencies move them by some percent, so the
bounds leave a third of room: they are to find the work that a change adds to each sample by mistake, such as a
label that is looked at or a copy that is made, which is more. A change that earns a lower figure lowers its bound.
"""

import os
import re
import subprocess
import sys
import tempfile

# Measured {cold} and {warm} with Rust 1.95, x86-64.
COLD_MAX = 0
WARM_MAX = 0
WARM_PAGES = 5


def run(program: str, pages: int) -> tuple[int, int]:
    """Instructions of a run over so many pages, and samples of one."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "callgrind.out")
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program, str(pages)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not counted:
        sys.exit(f"valgrind {program} {pages} failed:\n{done.stderr[-2000:]}")
    return int(counted[1]), int(done.stdout)


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = sys.argv[1]
    (none, samples), (one, _), (more, _) = (run(program, pages) for pages in (0, 1, 1 + WARM_PAGES))
    figures = {
        "cold": ((one - none) / samples, COLD_MAX),
        "warm": ((more - one) / samples / WARM_PAGES, WARM_MAX),
    }
    is_over = False
    for name, (instructions, most) in figures.items():
        over = instructions > most
        is_over |= over
        print(f"{name}: {instructions:,.0f} instructions per sample, {most:,} at most{', EXCEEDED' if over else ''}")
    return int(is_over)


if __name__ == "__main__":
    sys.exit(main())
