"""The list of checks: one line each, and the sum at the end."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Report:
    """Prints each check as it is decided and counts."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self._began = time.monotonic()

    def equal(self, name: str, expected: object, got: object) -> None:
        self.that(name, got == expected, _short(expected), got)

    def that(self, name: str, holds: bool, expected: str, got: object) -> None:
        """`expected` is what should be, in words; `got` is what was seen."""
        if holds:
            self.passed += 1
            print(f"ok   {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL {name}: expected {expected}, got {_short(got)}", flush=True)

    def eventually(
        self, name: str, expected: str, timeout_s: float, see: Callable[[], tuple[bool, object]]
    ) -> bool:
        """Looks again and again until `see` says (True, …) or the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            holds, got = see()
            if holds or time.monotonic() > deadline:
                break
            time.sleep(0.25)
        self.that(name, holds, f"{expected} within {timeout_s:g} s", got)
        return holds

    def heading(self, name: str) -> None:
        print(f"# {name} ({time.monotonic() - self._began:.0f} s)", flush=True)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """An error inside fails one check and leaves the later sections their turn."""
        self.heading(name)
        try:
            yield
        except Exception as error:  # whatever a helper or a receiver throws is a failed check
            traceback.print_exc()
            self.that(name, False, "no error", f"{type(error).__name__}: {error}")

    def finish(self) -> int:
        """Prints the sum alone on its line and returns the exit code."""
        print(f"# {time.monotonic() - self._began:.0f} s", flush=True)
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 600 else f"{text[:600]}… ({len(text)} characters)"
