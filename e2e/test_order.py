"""Tests of deploy/order: `python3 -m unittest discover -s e2e`."""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ORDER = Path(__file__).resolve().parent.parent / "deploy" / "order"

# A program of two functions, of which it runs one.
SOURCE = """
__attribute__((noinline)) int reached(int a) { return a + 1; }
__attribute__((noinline)) int spare(int a) { return a + 2; }
int main(void) { return reached(-1); }
"""

# As callgrind writes it: objects and functions are named once, then called by number; positions are absolute or
# relative to the line before. The line after `calls=` is ours, whatever is called.
PROFILE = """\
positions: instr line
events: Ir
ob=(1) /usr/lib/x86_64-linux-gnu/libc.so.6
fn=(1) memcpy
0x4000 0 5
+16 0 5
ob=(2) /tmp/made/flinkrelay
fn=(2) main
0x1000 10 1
+4 11 1
* 12 1
cob=(1)
cfn=(1)
calls=1 0x4000
+4 11 10
-2 11 1
ob=(1)
fn=(1)
0x4020 0 5
"""


def loaded():
    loader = importlib.machinery.SourceFileLoader("order", str(ORDER))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("order", loader))
    # No compiled copy beside the program.
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


class Order(unittest.TestCase):
    def setUp(self) -> None:
        self.order = loaded()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        (self.directory / "program.c").write_text(SOURCE)

    def link(self, **environment: str) -> dict:
        """Links the program through deploy/order as cargo would; returns what it found."""
        program, findings = self.directory / "program", self.directory / "findings"
        findings.mkdir()
        arguments = ["-O1", str(self.directory / "program.c"), "-o", str(program), "-Wl,--strip-all"]
        environment = os.environ | environment | {self.order.AS_LINKER: str(findings)}
        subprocess.run([ORDER, *arguments], env=environment, check=True)
        self.assertEqual(0, subprocess.run([program]).returncode, "the program is there and runs")
        self.assertNotIn(b".symtab", program.read_bytes(), "it is stripped, as the arguments say")
        return json.loads((findings / "found.json").read_text())

    def test_addresses_are_those_of_the_program_alone(self) -> None:
        profile = self.directory / "profile"
        profile.write_text(PROFILE)
        found = self.order.addresses(profile, Path("/tmp/made/flinkrelay"))
        self.assertEqual({0x1000, 0x1004, 0x1008, 0x1006}, found)

    def test_functions_are_named_by_any_of_their_instructions(self) -> None:
        program = self.directory / "program"
        subprocess.run(["cc", "-O1", self.directory / "program.c", "-o", program], check=True)
        listed = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
        start = {name: int(at, 16) for at, _, name in (line.split() for line in listed.splitlines() if line[0] != " ")}
        self.assertEqual(["reached"], self.order.functions(program, {start["reached"] + 1}))
        both = {start["main"], start["spare"]}
        self.assertCountEqual(["main", "spare"], self.order.functions(program, both))
        self.assertEqual([], self.order.functions(program, {start["_end"] + (1 << 20)}))

    def test_arguments_lose_the_output_and_what_strips(self) -> None:
        given = ["a.o", "-o", "out", "-Wl,--strip-all", "-lc", "-Wl,--strip-debug", "-s"]
        self.assertEqual((["a.o", "-lc"], Path("out")), self.order.without_output(given))
        for given in (["a.o"], ["a.o", "-o"]):
            with self.assertRaises(self.order.Unordered):
                self.order.without_output(given)

    def test_without_valgrind_it_links_as_the_linker_would(self) -> None:
        tools = self.directory / "tools"
        tools.mkdir()
        for tool in ("cc", "nm", "readelf", "as", "ld", "python3"):
            (tools / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
        self.assertEqual({"why": "not installed: valgrind"}, self.link(PATH=str(tools)))

    def test_a_program_that_cannot_be_run_as_a_relay_is_linked_nevertheless(self) -> None:
        tools = self.directory / "tools"
        tools.mkdir()
        # It says what lld would, so that the program is run; that ends at once, without a push.
        (tools / "readelf").write_text("#!/bin/sh\necho Linker: LLD\n")
        (tools / "valgrind").write_text("#!/bin/sh\nexit 1\n")
        for tool in tools.iterdir():
            tool.chmod(0o755)
        found = self.link(PATH=f"{tools}:{os.environ['PATH']}")
        self.assertIn("did not scrape and push", found["why"])

    def test_another_linker_than_lld_is_told(self) -> None:
        tools = self.directory / "tools"
        tools.mkdir()
        (tools / "valgrind").write_text("#!/bin/sh\nexit 1\n")
        (tools / "valgrind").chmod(0o755)
        found = self.link(PATH=f"{tools}:{os.environ['PATH']}")
        self.assertIn("lld", found["why"])


if __name__ == "__main__":
    unittest.main()
