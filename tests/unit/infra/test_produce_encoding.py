"""Produce requests are encoded, and their responses decoded, as aiokafka does field by field."""

import asyncio
from collections import deque
from io import BytesIO
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.struct import Struct
from hypothesis import given
from hypothesis import strategies as st

from codewell.infra.kafka.produce_encoding import decode_response, frame

int16, int32, int64 = (st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (16, 32, 64))
names = st.text(max_size=20)
sent = st.lists(
    st.tuples(names, st.lists(st.tuples(int32, st.binary(max_size=40) | st.binary().map(bytearray)), max_size=5)),
    max_size=3,
)
stored = st.lists(
    st.tuples(names, st.lists(st.tuples(int32, int16, int64, int64, int64), max_size=5)), max_size=3
)  # fmt: skip


def by_field(struct: Struct) -> bytes:
    """As `Struct.encode` does where it is not replaced."""
    return struct.SCHEMA.encode([getattr(struct, name) for name in struct.SCHEMA.names])  # type: ignore[no-any-return]


@given(st.none() | names, int16, int32, sent)
def test_a_request_is_encoded_as_field_by_field(
    transaction: str | None, acks: int, timeout_ms: int, topics: list[object]
) -> None:
    request = ProduceRequest_v7(transaction, acks, timeout_ms, topics)
    header = request.build_request_header(correlation_id=1, client_id="issuer").encode()
    message = header + by_field(request)
    assert b"".join(frame(request, 1, "issuer")) == len(message).to_bytes(4, "big") + message


@given(stored, int32, st.binary(max_size=9))
def test_a_response_is_decoded_as_it_was_encoded(topics: list[object], throttle_ms: int, header: bytes) -> None:
    response = ProduceResponse_v7(topics, throttle_ms)
    data = BytesIO(header + by_field(response))
    data.seek(len(header))
    assert decode_response(ProduceResponse_v7, data) == response


@given(stored, st.data())
def test_a_response_that_is_cut_is_refused(topics: list[object], data: st.DataObject) -> None:
    whole = by_field(ProduceResponse_v7(topics, 0))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"cut|requires a buffer|underrun"):
        decode_response(ProduceResponse_v7, BytesIO(whole[:cut]))


class Writer:
    """Keeps what is written, or refuses it."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.written = b""
        self._refuses = refuses

    def write(self, data: bytes) -> None:
        self.writelines([data])

    def writelines(self, parts: list[bytes]) -> None:
        if self._refuses is not None:
            raise self._refuses
        self.written += b"".join(parts)

    def close(self) -> None:
        """Nothing is open."""


def connection(writer: Writer, newest: int) -> Any:
    """A connection to a broker that knows produce requests up to version `newest`."""
    made: Any = AIOKafkaConnection("kafka", 9092, client_id="issuer")
    made._writer, made._requests, made._versions = writer, deque(), {ProduceRequest.API_KEY: (0, newest)}
    return made


REQUEST = ProduceRequest(None, -1, 15_000, [("replies", [(0, b"first"), (3, b"second")])])


@pytest.mark.parametrize("newest", [7, 13, 2])
async def test_a_connection_sends_a_request_with_its_size_and_header(newest: int) -> None:
    writer = Writer()
    answered = asyncio.ensure_future(connection(writer, newest).send(REQUEST))

    versioned = REQUEST.prepare({ProduceRequest.API_KEY: (0, newest)})
    header = versioned.build_request_header(correlation_id=1, client_id="issuer").encode()
    message = header + by_field(versioned)
    assert writer.written == len(message).to_bytes(4, "big") + message
    answered.cancel()


async def test_a_response_ends_the_wait() -> None:
    opened = connection(Writer(), 13)
    answered = asyncio.ensure_future(opened.send(REQUEST))
    response = ProduceResponse_v7([("replies", [(0, 0, 7, -1, 0)])], 0)
    opened._handle_frame((1).to_bytes(4, "big") + by_field(response))
    assert await answered == response


@pytest.mark.parametrize("error", [RuntimeError("closed by uvloop"), OSError("broken")])
async def test_a_broken_connection_is_closed(error: Exception) -> None:
    opened = connection(Writer(error), 13)
    opened._reader = object()
    opened._read_task = asyncio.ensure_future(asyncio.sleep(0))
    with pytest.raises(KafkaConnectionError, match="broken"):
        opened.send(REQUEST)
    assert opened._writer is None


def test_all_clients_use_them() -> None:
    assert ProduceResponse_v7.decode.__func__ is decode_response
