"""Tests of the decoder of bodies, and of the process that is not one."""

import ctypes.util
import struct
import unittest

import bodies
import fake
import page
import pushdown
import recorder
import wire


def field(number: int, value: int | float | bytes) -> bytes:
    """One field of a message."""
    if isinstance(value, float):
        return number_of(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return number_of(number << 3) + number_of(value)
    return number_of(number << 3 | 2) + number_of(len(value)) + value


def number_of(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def label(name: str, value: str) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value.encode()))


class Snappy(unittest.TestCase):
    # What each is in the format's description, and what it stands for.
    GOOD = (
        (b"\x00", b""),
        (b"\x03\x08abc", b"abc"),
        (b"\x46" + bytes([60 << 2, 69]) + b"x" * 70, b"x" * 70),
        (b"\xac\x02" + bytes([61 << 2]) + struct.pack("<H", 299) + b"y" * 300, b"y" * 300),
        (b"\x08\x0cabcd" + b"\x01\x04", b"abcdabcd"),
        (b"\x09\x04ab" + bytes([6 << 2 | 2]) + b"\x02\x00", b"ababababa"),
        (b"\x08\x0cabcd" + bytes([3 << 2 | 3]) + b"\x04\x00\x00\x00", b"abcdabcd"),
    )
    BAD = (
        b"",
        b"\x03\x08ab",
        b"\x04\x08abc",
        b"\x02\x08abc",
        b"\x08\x0cabcd\x01\x05",
        b"\x08\x0cabcd\x01\x00",
        b"\x08\x0cabcd\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    )

    def test_elements(self) -> None:
        for body, expected in self.GOOD:
            self.assertEqual(wire.uncompress(body), expected, body)

    def test_what_is_malformed_is_refused(self) -> None:
        for body in self.BAD:
            with self.assertRaises(wire.Malformed, msg=body):
                wire.uncompress(body)

    @unittest.skipUnless(ctypes.util.find_library("snappy"), "libsnappy is not installed")
    def test_as_libsnappy(self) -> None:
        library = recorder.Libsnappy()
        for body, expected in self.GOOD:
            self.assertEqual(library.uncompress(body), expected, body)
        for body in self.BAD:
            with self.assertRaises(wire.Malformed, msg=body):
                library.uncompress(body)


class Messages(unittest.TestCase):
    LABELS = frozenset({("__name__", "n"), ("a", "é")})

    def test_one(self) -> None:
        sample = field(2, field(1, 1.5) + field(2, 1000))
        series = field(1, label("__name__", "n") + label("a", "é") + sample + field(2, field(2, 2000)))
        about = field(3, field(1, 1) + field(2, b"n") + field(4, b"help") + field(5, b"bytes"))
        read = wire.read_v1(series + about)
        (labels, (first, second)) = read.series[0]
        self.assertEqual((labels, first.at_ms, first.value), (self.LABELS, 1000, 1.5))
        self.assertEqual((second.at_ms, second.value, read.samples), (2000, 0.0, 2))
        self.assertEqual(read.about, {"n": wire.About("counter", "help", "bytes")})

    def test_two(self) -> None:
        symbols = b"".join(field(4, text.encode()) for text in ("", "__name__", "n", "a", "é", "help"))
        stale = struct.unpack("<d", struct.pack("<Q", wire.STALE))[0]
        sample = field(2, field(1, stale) + field(2, 1000) + field(3, 500))
        series = field(5, field(1, bytes([1, 2, 3, 4])) + sample + field(5, field(1, 2) + field(3, 5)))
        for message in (symbols + series, series + symbols):
            read = wire.read_v2(message)
            (labels, (only,)) = read.series[0]
            self.assertEqual((labels, only.is_stale, only.start_ms), (self.LABELS, True, 500))
            self.assertEqual(read.about_series, {self.LABELS: wire.About("gauge", "help", "")})

    def test_what_the_specifications_forbid(self) -> None:
        twice = label("__name__", "n") + label("a", "1") + label("a", "2")
        for labels in (twice, label("a", "1"), label("a", "1") + label("__name__", "n"), label("__name__", "")):
            with self.assertRaises(wire.Malformed):
                wire.read_v1(field(1, labels + field(2, b"")))
        for symbols, refs in ((["x"], []), (["", "a", "a"], [1, 2]), (["", "__name__"], [1, 2]), (["", "__name__", "n"], [1])):
            message = b"".join(field(4, text.encode()) for text in symbols) + field(5, field(1, bytes(refs)))
            with self.assertRaises(wire.Malformed, msg=str(symbols)):
                wire.read_v2(message)


class Fake(unittest.TestCase):
    def setUp(self) -> None:
        self.server = fake.FakeFlink(copies=2, moves_every=2)
        self.addCleanup(self.server.close)

    def test_each_sample_tells_its_page(self) -> None:
        for number in (1, 2, 3):
            series = self.server.answer("/metrics").series()
            self.assertGreater(len(series), 2000)
            self.assertEqual(len(set(series.values())), len(series))
            self.assertEqual({fake.number_of(value) for value in series.values()}, {number})

    def test_a_part_of_its_series_comes_and_goes(self) -> None:
        first, second = (set(self.server.answer("/metrics").series()) for _ in range(2))
        self.assertEqual(len(first), len(second))
        self.assertGreater(len(first - second), 500)
        self.assertGreater(len(first & second), 500)

    def test_names(self) -> None:
        name = "flink_taskmanager_Status_JVM_Threads_Count"
        path = f"/metrics?name%5B%5D={name}&name%5B%5D=other"
        self.assertEqual({series[0] for series in self.server.answer(path).series()}, {name})
        self.server.mode = fake.IGNORES
        self.assertGreater(len(self.server.answer(path).series()), 2000)
        self.server.mode = fake.REFUSES
        self.assertEqual(self.server.answer(path).status, 414)
        self.assertEqual(self.server.answer("/metrics").status, 200)


class Judges(unittest.TestCase):
    """What differs must be seen."""

    def test_a_value_from_elsewhere_does_not_fit(self) -> None:
        def points(*values: float) -> list[wire.Sample]:
            return [wire.Sample(1000 * at, struct.unpack("<Q", struct.pack("<d", v))[0]) for at, v in enumerate(values)]

        whole = points(1, 2, 3, 4, 5)
        self.assertEqual(pushdown.compare(points(1, 2, 3, 4, 5), whole), (3, 0))
        self.assertEqual(pushdown.compare(points(7, 7, 7, 7, 7), whole), (3, 3))
        self.assertEqual(pushdown.compare(points(1, 2, 3), points(3, 2, 1)), (0, 0))

    def test_what_was_sent_is_what_is_held(self) -> None:
        sent = [wire.Sample(1000, struct.unpack("<Q", struct.pack("<d", 1 / 3))[0])]
        for held, rounding, expected in (
            ([(1.0, 1 / 3)], 0, True),
            ([(1.0, 0.333333333333)], 0, False),
            ([(1.0, 0.333333333333)], 1e-11, True),
            ([(1.001, 1 / 3)], 0, False),
            ([], 0, False),
        ):
            self.assertIs(bodies.equal(sent, held, rounding), expected, held)

    def test_a_fault_names_what_differs(self) -> None:
        a, b = (bodies.stored(page_series, "i") for page_series in page.parse("a 1\nb 2\n"))
        self.assertIn("1 missing", bodies.fault(0, {a: 1, b: 2}, {a: 1}, set()))
        self.assertIn("1 other values", bodies.fault(0, {a: 1}, {a: 2}, set()))


if __name__ == "__main__":
    unittest.main()
