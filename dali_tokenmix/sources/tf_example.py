"""TFRecord files and the tf.train.Example in each record, as bytes: where a feature lies, and what it holds.

A record is its length (8 bytes, little endian), a checksum of that, the example, and a checksum of it. An example is a
protobuf: Example{features=1} > Features{feature=1: map} > {key=1, value=2} > Feature{bytes=1 | float=2 | int64=3} >
list{value=1}. DALI's reader looks at no checksum; here the length's is, for it tells a TFRecord from any other file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEAD, TAIL = 12, 4  # bytes around an example
KINDS = {1: "bytes", 2: "float", 3: "int64"}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
POLYNOMIAL = 0x82F63B78  # of crc32c, bits reversed
Buffer = bytes | memoryview


class Feature(NamedTuple):
    """kind: "bytes", "float", "int64", or "" if empty. start, end: of its list in the buffer."""

    kind: str
    start: int
    end: int


class NotAnExample(ValueError):
    """Bytes that are no tf.train.Example."""


def record_size(head: Buffer) -> int | None:
    """Bytes of the whole record that begins with these 12; None if no record does."""
    if len(head) < HEAD:
        return None
    length, checksum = struct.unpack("<QI", head[:HEAD])
    return HEAD + length + TAIL if checksum == masked_crc(bytes(head[:8])) else None


def masked_crc(content: bytes) -> int:
    """The checksum that TFRecords have: crc32c, rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def features(example: Buffer) -> dict[str, Feature]:
    """The features of an example by name, without reading what they hold. Raises NotAnExample."""
    found = {}
    for field, start, end in _fields(example, 0, len(example)):
        if field != 1:
            continue
        for number, entry, stop in _fields(example, start, end):
            if number == 1:
                name, feature = _entry(example, entry, stop)
                found[name] = feature
    return found


def first_bytes(example: Buffer, feature: Feature) -> tuple[int, int] | None:
    """Where the first value of a bytes feature begins and ends; None if it has none."""
    values = _fields(example, feature.start, feature.end)
    return next(((start, end) for number, start, end in values if number == 1), None)


def integers(example: Buffer, feature: Feature) -> list[int]:
    """The values of an int64 feature."""
    values = []
    for number, start, end in _fields(example, feature.start, feature.end):
        while number == 1 and start < end:
            value, start = _varint(example, start, end)
            values.append(value - (1 << 64) if value >= 1 << 63 else value)
    return values


def _entry(example: Buffer, start: int, end: int) -> tuple[str, Feature]:
    name, feature = "", Feature("", 0, 0)
    for number, inside, stop in _fields(example, start, end):
        if number == 1:
            name = bytes(example[inside:stop]).decode("utf-8", "replace")
        elif number == 2:
            for kind, first, last in _fields(example, inside, stop):
                feature = Feature(KINDS.get(kind, ""), first, last)
    return name, feature


def _fields(buffer: Buffer, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each field of a message."""
    while at < end:
        tag, at = _varint(buffer, at, end)
        wire, start = tag & 7, at
        if wire == VARINT:
            _, at = _varint(buffer, at, end)
        elif wire == BYTES:
            length, start = _varint(buffer, at, end)
            at = start + length
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise NotAnExample(f"field of wire type {wire}")
        if at > end:
            raise NotAnExample("field longer than what it is in")
        yield tag >> 3, start, at


def _varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotAnExample("number without an end")


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (POLYNOMIAL if byte & 1 else 0)
    return byte


TABLE = [_crc_of(byte) for byte in range(256)]
