"""Reads the records of a batch with bounded memory, also those that aiokafka's parser refuses."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from codewell.infra.kafka.unpacking import HEADER_BYTES, BatchHeader, CorruptBatch, pieces
from schemas.topics import DEAD_LETTER_BYTES_MAX

# A larger record of a compressed batch is not kept: none of our topics may hold one.
RECORD_BYTES_MAX: Final = DEAD_LETTER_BYTES_MAX
HEADER_NAME_FAULT: Final = "a header's name is not UTF-8"
# A varint of 64 bits has at most 10 bytes.
_VARINT_BYTES_MAX: Final = 10
# The size, the attributes, the timestamp and the offset, which begin a record.
_RECORD_HEAD_BYTES_MAX: Final = 1 + 3 * _VARINT_BYTES_MAX


class ParsedRecord(NamedTuple):
    """A record that aiokafka's parser refuses, or that is too large: then without key, value and headers."""

    offset: int
    timestamp: int
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    fault: str | None = None
    timestamp_type: int = 0
    checksum: int | None = None


class RecordRun(NamedTuple):
    """Whole records that follow each other in a batch, or one that is too large to be kept, by its first bytes."""

    records: int
    batch: bytes | memoryview
    """An uncompressed batch that holds only them."""
    unpacked_bytes: int = 0
    """What was unpacked for it; a run without records tells what was unpacked of a record that is skipped."""
    is_too_large: bool = False


def runs(header: BatchHeader, batch: memoryview) -> Iterator[RecordRun]:
    """Yield the records of a batch; those of a compressed one in runs of some hundred KB. Raises CorruptBatch."""
    if not header.codec:
        yield RecordRun(header.records, batch)
        return
    left = header.records
    pending = bytearray()
    skip_bytes = 0
    for piece in pieces(header.codec, batch[HEADER_BYTES:]):
        pending += piece
        unpacked = len(piece)
        if skip_bytes:
            skipped = min(skip_bytes, len(pending))
            del pending[:skipped]
            skip_bytes -= skipped
            if skip_bytes:
                yield RecordRun(0, b"", unpacked)
                continue
        while left:
            records, end, next_bytes = _whole_records(pending, left)
            if records:
                yield RecordRun(records, header.uncompressed(records, pending[:end]), unpacked)
                unpacked = 0
                del pending[:end]
                left -= records
            if next_bytes <= RECORD_BYTES_MAX or len(pending) < _RECORD_HEAD_BYTES_MAX:
                break
            head = header.uncompressed(1, pending[:_RECORD_HEAD_BYTES_MAX])
            yield RecordRun(1, head, unpacked, is_too_large=True)
            unpacked = 0
            left -= 1
            skip_bytes = max(0, next_bytes - len(pending))
            del pending[:next_bytes]
        # What follows the last record is padding that some clients leave, or an attack.
        if not left:
            return
        if unpacked:
            yield RecordRun(0, b"", unpacked)
    raise CorruptBatch(f"it lacks {left} of its {header.records} records")


def _whole_records(data: bytearray, count_max: int) -> tuple[int, int, int]:
    """The number of whole records at the start of `data`, their end, and the size of the next one (0: unknown)."""
    count = at = 0
    while count < count_max:
        try:
            length, start = _varint(data, at)
        except IndexError:
            return count, at, 0
        if length < 0:
            raise CorruptBatch("a record of it has a negative size")
        end = start + length
        if end > len(data) or end - at > RECORD_BYTES_MAX:
            return count, at, end - at
        at = end
        count += 1
    return count, at, 0


def parse_leniently(header: BatchHeader, run: RecordRun, skipped: int = 0) -> Iterator[ParsedRecord]:
    """Yield the records of a run after the first `skipped`, also those that aiokafka refuses. Raises CorruptBatch."""
    data = bytes(run.batch[HEADER_BYTES:])
    at = 0
    try:
        if run.is_too_large:
            _, at = _varint(data, 0)
            offset, timestamp, _ = _record_head(header, data, at)
            yield ParsedRecord(offset, timestamp, fault=f"it has more than {RECORD_BYTES_MAX:,} bytes")
            return
        for number in range(run.records):
            length, start = _varint(data, at)
            at = start + length
            if length < 0 or at > len(data):
                raise CorruptBatch("a record of it is cut")
            if number >= skipped:
                yield _parse_record(header, data[start:at])
    except IndexError as error:
        raise CorruptBatch("a record of it is cut") from error


def _parse_record(header: BatchHeader, data: bytes) -> ParsedRecord:
    """Parse one record. Raises CorruptBatch and IndexError."""
    offset, timestamp, at = _record_head(header, data, 0)
    key, at = _field(data, at)
    value, at = _field(data, at)
    count, at = _varint(data, at)
    headers = []
    fault = None
    for _ in range(count):
        name, at = _field(data, at)
        if name is None:
            raise CorruptBatch("a header of it has no name")
        content, at = _field(data, at)
        try:
            text = name.decode()
        except UnicodeDecodeError:
            text, fault = name.decode(errors="backslashreplace"), HEADER_NAME_FAULT
        headers.append((text, content))
    if at != len(data):
        raise CorruptBatch("a record of it has another size than it says")
    return ParsedRecord(offset, timestamp, key, value, headers, fault)


def _record_head(header: BatchHeader, data: bytes, at: int) -> tuple[int, int, int]:
    """The offset and the timestamp of the record at `at`, and where its key begins."""
    timestamp_delta, at = _varint(data, at + 1)
    offset_delta, at = _varint(data, at)
    timestamp = header.last_timestamp_ms if header.has_append_time else header.first_timestamp_ms + timestamp_delta
    return header.base_offset + offset_delta, timestamp, at


def _field(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise CorruptBatch("a field of it is cut")
    return data[at : at + length], at + length


def _varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """The number at `at` in zigzag encoding, and where it ends. Raises IndexError where the data ends first."""
    value = shift = 0
    for _ in range(_VARINT_BYTES_MAX):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise CorruptBatch("a number of it has no end")
