"""Unpacks compressed record batches piece by piece, so that a small batch cannot fill the memory.

aiokafka unpacks a whole batch at once: 600 KB of gzip may hold 600 MB of zeros.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import cramjam
import lz4.frame
import zstandard

PIECE_BYTES: Final = 256 * 1024
# The largest window that the reference decoder, and so every other client of Kafka, accepts.
ZSTD_WINDOW_BYTES_MAX: Final = 128 * 1024 * 1024
# Snappy's longest copy makes 64 bytes of 3, so a block that claims more lies about its size.
_SNAPPY_RATIO_MAX: Final = 22
_SNAPPY_BLOCK_BYTES_MAX: Final = 32 * 1024 * 1024
# The framing of the Java client; other clients write a single block without it.
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
# zlib's number for gzip's framing and its largest window.
_GZIP_WINDOW: Final = 31
_GZIP_MAGIC: Final = b"\x1f\x8b"

# Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and last timestamp, producer id,
# epoch and sequence, number of records.
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_BYTES_BEFORE_LENGTH_ENDS: Final = 12
_CODEC_MASK: Final = 0x07
_LOG_APPEND_TIME: Final = 0x08
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
MAGIC: Final = 2
HEADER_BYTES: Final = _HEADER.size


class CorruptBatch(Exception):
    """A record batch that cannot be unpacked or parsed; the text says why."""


class BatchHeader(NamedTuple):
    """The header of a record batch, as Kafka stores it."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp_ms: int
    last_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @classmethod
    def of(cls, batch: memoryview) -> "BatchHeader":
        """Parse the header of a batch. Raises CorruptBatch for another format than Kafka's since 0.11."""
        if len(batch) < HEADER_BYTES:
            raise CorruptBatch("its format is older than Kafka 0.11")
        header = cls(*_HEADER.unpack_from(batch))
        if header.magic != MAGIC:
            raise CorruptBatch("its format is older than Kafka 0.11")
        return header

    @property
    def codec(self) -> int:
        """The compression; 0 is none."""
        return self.attributes & _CODEC_MASK

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether the batch holds a transaction's marker, and no records."""
        return bool(self.attributes & _CONTROL)

    @property
    def has_append_time(self) -> bool:
        """Whether all records have the time at which the broker stored them."""
        return bool(self.attributes & _LOG_APPEND_TIME)

    @property
    def next_offset(self) -> int:
        """The offset after the batch."""
        return self.base_offset + self.last_offset_delta + 1

    def uncompressed(self, count: int, records: bytes | bytearray) -> bytes:
        """A batch of these records alone, with this header and without compression."""
        length = HEADER_BYTES - _BYTES_BEFORE_LENGTH_ENDS + len(records)
        header = self._replace(length=length, attributes=self.attributes & ~_CODEC_MASK, records=count)
        return _HEADER.pack(*header) + records


def pieces(codec: int, compressed: memoryview) -> Iterator[bytes]:
    """Yield the unpacked bytes of a batch, PIECE_BYTES at a time; snappy: a block at a time. Raises CorruptBatch."""
    unpack = _UNPACK.get(codec)
    if unpack is None:
        raise CorruptBatch(f"its compression {codec} is unknown")
    try:
        yield from unpack(compressed)
    except (
        EOFError, OSError, RuntimeError, ValueError, MemoryError, struct.error, zlib.error, zstandard.ZstdError,
        cramjam.DecompressionError,
    ) as error:  # fmt: skip
        raise CorruptBatch(f"it cannot be unpacked ({type(error).__name__})") from error


def _gzip(compressed: memoryview) -> Iterator[bytes]:
    unpacker, data = zlib.decompressobj(_GZIP_WINDOW), bytes(compressed)
    while True:
        piece = unpacker.decompress(data, PIECE_BYTES)
        if piece:
            yield piece
        if unpacker.eof:
            data = unpacker.unused_data
            if not data.startswith(_GZIP_MAGIC):
                return
            unpacker = zlib.decompressobj(_GZIP_WINDOW)
        else:
            data = unpacker.unconsumed_tail
            if not data and not piece:
                raise EOFError


def _lz4(compressed: memoryview) -> Iterator[bytes]:
    """Kafka reads one frame, and ignores what follows it."""
    unpacker, data = lz4.frame.LZ4FrameDecompressor(), bytes(compressed)
    while piece := unpacker.decompress(data, PIECE_BYTES):
        yield piece
        if unpacker.eof:
            return
        data = b""
    if not unpacker.eof:
        raise EOFError


def _zstd(compressed: memoryview) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
    with unpacker.stream_reader(io.BytesIO(compressed), read_across_frames=True) as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _snappy(compressed: memoryview) -> Iterator[bytes]:
    if bytes(compressed[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        yield _snappy_block(compressed)
        return
    at = _XERIAL_HEADER_BYTES
    while at < len(compressed):
        [size] = struct.unpack_from(">i", compressed, at)
        at += 4
        if not 0 < size <= len(compressed) - at:
            raise CorruptBatch("a block of it is cut")
        yield _snappy_block(compressed[at : at + size])
        at += size


def _snappy_block(block: memoryview) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > min(_SNAPPY_RATIO_MAX * len(block), _SNAPPY_BLOCK_BYTES_MAX):
        raise CorruptBatch("a block of it is too large")
    return bytes(cramjam.snappy.decompress_raw(block))


# By the number in a batch's attributes.
_UNPACK: Final[dict[int, Callable[[memoryview], Iterator[bytes]]]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
