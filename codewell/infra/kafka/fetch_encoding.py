"""Encodes fetch requests and decodes their responses, which aiokafka does field by field.

A consumer of 48 partitions sends and receives some 500 fields a fetch: 1.2 ms, ten times what this takes. At a low rate
of requests a fetch brings a record or two, so that it was the largest part of an answer's cost. `aiokafka_patch` puts
these functions in the place of `encode` and `decode` of version 11, which brokers from 2.3 on speak.
"""

import struct
from io import BytesIO
from itertools import chain
from typing import Any, Final, TypeAlias

from aiokafka.protocol.fetch import FetchRequest_v11
from aiokafka.protocol.struct import Struct

# Replica, wait (ms), least and most bytes, isolation, session's id and epoch, and the number of topics.
_REQUEST: Final = struct.Struct(">iiiibiii")
# Partition, leader epoch, offset, log start, most bytes.
_WANTED: Final = "iiqqi"
# Throttle time (ms), error, session, and the number of topics.
_RESPONSE: Final = struct.Struct(">ihii")
# Partition, error, high watermark, last stable offset, log start, and the number of aborted transactions; after those,
# the preferred replica and the size of the records (bytes).
_PARTITION: Final = struct.Struct(">ihqqqi")
_RECORDS: Final = struct.Struct(">ii")
# The same where no transaction was aborted.
_PLAIN: Final = struct.Struct(">ihqqqiii")
# A producer and the first offset of its transaction.
_ABORTED: Final = struct.Struct(">qq")
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")

_encode_by_field: Final = FetchRequest_v11.encode
_Partition: TypeAlias = tuple[int, int, int, int, int, list[tuple[int, int]] | None, int, bytes | None]


def encode_request(request: Any) -> bytes:
    """The bytes of a FetchRequest_v11 after its header."""
    if request.forgotten_topics_data:
        by_field: bytes = _encode_by_field(request)
        return by_field
    parts = [
        _REQUEST.pack(
            request.replica_id, request.max_wait_time, request.min_bytes, request.max_bytes, request.isolation_level,
            request.session_id, request.session_epoch, len(request.topics),
        )
    ]  # fmt: skip
    for topic, partitions in request.topics:
        wanted = struct.pack(f">i{_WANTED * len(partitions)}", len(partitions), *chain.from_iterable(partitions))
        parts += (_text(topic), wanted)
    # No topic is forgotten.
    parts += (_INT32.pack(0), _text(request.rack_id))
    return b"".join(parts)


def decode_response(response_type: type[Struct], data: BytesIO) -> Struct:
    """The FetchResponse_v11 that `data` holds from its position on. Raises ValueError where it is cut."""
    # aiokafka still holds the bytes, so `getbuffer` would copy them.
    whole, at = memoryview(data.getvalue()), data.tell()
    try:
        throttle_ms, error, session, count = _RESPONSE.unpack_from(whole, at)
        at += _RESPONSE.size
        topics = []
        for _ in range(count):
            name, at = _read_text(whole, at)
            (number,) = _INT32.unpack_from(whole, at)
            at += _INT32.size
            partitions: list[_Partition] = []
            for _ in range(number):
                partition, at = _read_partition(whole, at)
                partitions.append(partition)
            topics.append((name, partitions))
    except struct.error as cut:
        raise ValueError(f"The response to a fetch is cut: {cut}") from cut
    return response_type(throttle_ms, error, session, topics)


def _read_partition(whole: memoryview, at: int) -> tuple[_Partition, int]:
    partition, error, high, stable, start, count, replica, size = _PLAIN.unpack_from(whole, at)
    aborted: list[tuple[int, int]] | None
    if count <= 0:
        aborted = [] if count == 0 else None
        at += _PLAIN.size
    else:
        at += _PARTITION.size
        end = at + count * _ABORTED.size
        aborted = list(_ABORTED.iter_unpack(_slice(whole, at, end - at)))
        replica, size = _RECORDS.unpack_from(whole, end)
        at = end + _RECORDS.size
    if size <= 0:
        return (partition, error, high, stable, start, aborted, replica, b"" if size == 0 else None), at
    return (partition, error, high, stable, start, aborted, replica, bytes(_slice(whole, at, size))), at + size


def _read_text(whole: memoryview, at: int) -> tuple[str, int]:
    (size,) = _INT16.unpack_from(whole, at)
    at += _INT16.size
    return str(_slice(whole, at, size), "utf-8"), at + size


def _slice(whole: memoryview, at: int, size: int) -> memoryview:
    if at + size > len(whole):
        raise ValueError(f"The response to a fetch is cut: {len(whole) - at} bytes of {size}")
    return whole[at : at + size]


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _INT16.pack(len(encoded)) + encoded
