"""What stands in a body of remote write: snappy's raw format and both messages, read byte by byte.

Written against the formats' descriptions (google/snappy `format_description.txt`, the protobuf encoding, the
remote-write specifications 1.0 and 2.0) in plain Python. It shares no code and no library with the relay, and accepts less than
others do: what a lenient decoder passes over is an error here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

# All labels of a series, `__name__` among them.
Labels = frozenset[tuple[str, str]]

# The bits of the NaN that ends a series.
STALE = 0x7FF0000000000002

# The key of a series' field 1, which has a length.
_LABEL = 1 << 3 | 2

TYPES = ("unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset")


class Malformed(ValueError):
    """A body that does not keep to its format, and where."""


@dataclass(frozen=True)
class Sample:
    """One sample: the time in ms, the value as its 64 bits, so that equal means equal; 0 where no start is told."""

    at_ms: int
    bits: int
    start_ms: int = 0

    @property
    def is_stale(self) -> bool:
        return self.bits == STALE

    @property
    def value(self) -> float:
        return struct.unpack("<d", struct.pack("<Q", self.bits))[0]


def bits_of(value: float) -> int:
    """A value as its 64 bits."""
    return struct.unpack("<Q", struct.pack("<d", value))[0]


@dataclass(frozen=True)
class About:
    """What a request tells of a family."""

    kind: str
    help: str
    unit: str


@dataclass
class Request:
    """A message of either version. In 1.0 what is told goes by the family's name, in 2.0 by the series."""

    series: list[tuple[Labels, list[Sample]]] = field(default_factory=list)
    about: dict[str, About] = field(default_factory=dict)
    about_series: dict[Labels, About] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        return sum(len(samples) for _, samples in self.series)


def uncompress(body: bytes) -> bytes:
    """Snappy's raw format: the length, then literals and copies of what came before."""
    length, at = varint(body, 0)
    out = bytearray()
    end = len(body)
    while at < end:
        tag = body[at]
        at += 1
        kind = tag & 3
        if kind == 0:
            size = (tag >> 2) + 1
            if size > 60:
                extra = size - 60
                size = int.from_bytes(body[at : at + extra], "little") + 1
                at += extra
            if at + size > end:
                raise Malformed(f"a literal of {size} bytes at {at} of {end}")
            out += body[at : at + size]
            at += size
            continue
        if kind == 1:
            size, wide = ((tag >> 2) & 7) + 4, 1
        else:
            size, wide = (tag >> 2) + 1, 2 if kind == 2 else 4
        if at + wide > end:
            raise Malformed(f"a copy at {at} of {end} has no offset")
        back = int.from_bytes(body[at : at + wide], "little")
        back |= (tag >> 5) << 8 if kind == 1 else 0
        at += wide
        if not 0 < back <= len(out):
            raise Malformed(f"a copy at {at} reaches {back} back into {len(out)} bytes")
        begin = len(out) - back
        if back >= size:
            out += out[begin : begin + size]
        else:
            # It reads what it writes: the last `back` bytes again and again.
            out += (bytes(out[begin:]) * (size // back + 1))[:size]
    if len(out) != length:
        raise Malformed(f"{len(out)} bytes where {length} were announced")
    return bytes(out)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of at most 64 bits, and where the next thing is."""
    if at < len(data) and data[at] < 0x80:
        return data[at], at + 1
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed(f"a number without an end at {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """The fields of a message: number, wire type, value."""
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 1:
            value, at = data[at : at + 8], at + 8
        elif wire == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise Malformed(f"wire type {wire} of field {number}")
        if at > end:
            raise Malformed(f"field {number} is longer than its message")
        yield number, wire, value


def read_v1(message: bytes) -> Request:
    """`prometheus.WriteRequest`."""
    request = Request()
    for number, wire, value in fields(message):
        if (number, wire) == (1, 2):
            request.series.append(_series_v1(value))
        elif (number, wire) == (3, 2):
            name, about = _about_v1(value)
            request.about[name] = about
        else:
            raise Malformed(f"field {number} of a WriteRequest")
    return request


def _series_v1(message: bytes) -> tuple[Labels, list[Sample]]:
    # Labels come first and are the same from scrape to scrape: read once.
    at = 0
    while at < len(message) and message[at] == _LABEL:
        size, at = varint(message, at + 1)
        at += size
    samples = []
    for number, wire, value in fields(message[at:]):
        if (number, wire) != (2, 2):
            raise Malformed(f"field {number} of a TimeSeries, after {len(samples)} samples")
        samples.append(_sample(value))
    return _labels_v1(message[:at]), samples


@lru_cache(1 << 16)
def _labels_v1(message: bytes) -> Labels:
    return _labels([_label(value) for _, _, value in fields(message)])


@lru_cache(1 << 16)
def _label(message: bytes) -> tuple[str, str]:
    found = {number: value.decode() for number, _, value in fields(message)}
    if found.keys() != {1, 2}:
        raise Malformed(f"a label of the fields {sorted(found)}")
    return found[1], found[2]


def _labels(pairs: list[tuple[str, str]]) -> Labels:
    names = [name for name, _ in pairs]
    if names != sorted(set(names)) or "__name__" not in names:
        raise Malformed(f"labels out of order, twice, or without a name: {names}")
    if not all(value for _, value in pairs):
        raise Malformed(f"an empty label: {pairs}")
    return frozenset(pairs)


def _sample(message: bytes) -> Sample:
    """The same in both versions; a field that is not there is 0."""
    at = bits = start = 0
    for number, wire, value in fields(message):
        if (number, wire) == (1, 1):
            bits = int.from_bytes(value, "little")
        elif (number, wire) == (2, 0):
            at = value
        elif (number, wire) == (3, 0):
            start = value
        else:
            raise Malformed(f"field {number} of a sample")
    return Sample(at, bits, start)


def _about_v1(message: bytes) -> tuple[str, About]:
    found = {number: value for number, _, value in fields(message)}
    text = {number: found.get(number, b"").decode() for number in (2, 4, 5)}
    return text[2], About(TYPES[found.get(1, 0)], text[4], text[5])


def read_v2(message: bytes) -> Request:
    """`io.prometheus.write.v2.Request`. Its symbols stand before or behind its series."""
    symbols, series = [], []
    for number, wire, value in fields(message):
        if (number, wire) == (4, 2):
            symbols.append(value.decode())
        elif (number, wire) == (5, 2):
            series.append(value)
        else:
            raise Malformed(f"field {number} of a Request")
    if not symbols or symbols[0] or len(set(symbols)) != len(symbols):
        raise Malformed("symbols that do not begin with an empty one, or have one twice")
    request = Request()
    for one in series:
        labels, samples, about = _series_v2(one, symbols)
        request.series.append((labels, samples))
        if about:
            request.about_series[labels] = about
    return request


def _series_v2(message: bytes, symbols: list[str]) -> tuple[Labels, list[Sample], About | None]:
    refs, samples, about = [], [], None
    for number, wire, value in fields(message):
        if (number, wire) == (1, 2):
            refs += _refs(value)
        elif (number, wire) == (2, 2):
            samples.append(_sample(value))
        elif (number, wire) == (5, 2):
            about = _about_v2(value, symbols)
        else:
            raise Malformed(f"field {number} of a TimeSeries")
    if len(refs) % 2 or max(refs, default=0) >= len(symbols):
        raise Malformed(f"references {refs} to {len(symbols)} symbols")
    texts = [symbols[ref] for ref in refs]
    return _labels(list(zip(texts[::2], texts[1::2], strict=True))), samples, about


def _refs(packed: bytes) -> list[int]:
    refs, ref, shift = [], 0, 0
    for byte in packed:
        ref |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            refs.append(ref)
            ref = shift = 0
    if shift:
        raise Malformed("references without an end")
    return refs


@lru_cache(1 << 12)
def _numbers(message: bytes) -> dict[int, int]:
    return {number: value for number, _, value in fields(message)}


def _about_v2(message: bytes, symbols: list[str]) -> About:
    found = _numbers(message)
    if max(found.get(3, 0), found.get(4, 0)) >= len(symbols):
        raise Malformed("metadata of a text that is not there")
    return About(TYPES[found.get(1, 0)], symbols[found.get(3, 0)], symbols[found.get(4, 0)])
