"""Record batches as other clients may write them: packed, with any header names, or with bytes that lie."""

import gzip
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cramjam
import lz4.frame
import zstandard
from aiokafka.record.util import calc_crc32c

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_AFTER_CRC = struct.Struct(">hiqqqhii")
_BEFORE_CRC = struct.Struct(">qiib")
Headers = Sequence[tuple[bytes, bytes | None]]


class RawRecord(NamedTuple):
    """A record whose header names are bytes."""

    key: bytes | None = b"p"
    value: bytes | None = b"{}"
    headers: Headers = ()


def record_bytes(delta: int, record: RawRecord) -> bytes:
    """One record at this place of its batch."""
    body = bytearray(b"\x00")
    for number in (0, delta):
        _number(body, number)
    for field in (record.key, record.value):
        _field(body, field)
    _number(body, len(record.headers))
    for name, content in record.headers:
        _field(body, name)
        _field(body, content)
    sized = bytearray()
    _number(sized, len(body))
    return bytes(sized + body)


def _number(into: bytearray, number: int) -> None:
    zigzag = (number << 1) ^ (number >> 63)
    while zigzag >= 0x80:
        into.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    into.append(zigzag)


def _field(into: bytearray, field: bytes | None) -> None:
    _number(into, -1 if field is None else len(field))
    into.extend(field or b"")


def pack(kind: str, records: bytes) -> bytes:
    """Compress as Kafka's Java client does."""
    if kind == "gzip":
        return gzip.compress(records)
    if kind == "snappy":
        return bytes(cramjam.snappy.compress_raw(records))
    if kind == "lz4":
        return bytes(lz4.frame.compress(records, block_linked=False))
    if kind == "zstd":
        return zstandard.compress(records)
    return records


def batch_of(kind: str, count: int, packed: bytes, *, base_offset: int = 0, attributes: int = 0) -> bytes:
    """A whole batch around bytes that are packed already."""
    after = _AFTER_CRC.pack(CODECS[kind] | attributes, count - 1, 1_000, 1_000, -1, -1, -1, count) + packed
    before = _BEFORE_CRC.pack(base_offset, 4 + 1 + 4 + len(after), -1, 2)
    return before + struct.pack(">I", calc_crc32c(after)) + after


def batch(kind: str, records: Sequence[RawRecord], *, base_offset: int = 0) -> bytes:
    """A whole batch of these records."""
    data = b"".join(record_bytes(delta, record) for delta, record in enumerate(records))
    return batch_of(kind, len(records), pack(kind, data), base_offset=base_offset)


def gzip_bomb(count: int, value: bytes, key: bytes = b"p") -> bytes:
    """A batch of so many equal records, packed without ever being whole in memory."""
    packer = zlib.compressobj(9, wbits=31)
    records: Iterable[bytes] = (record_bytes(delta, RawRecord(key, value)) for delta in range(count))
    packed = b"".join([*(packer.compress(one) for one in records), packer.flush()])
    return batch_of("gzip", count, packed)
