"""Corrects aiokafka (0.14), for all clients of the process, Faust's too.

A closed connection under uvloop: after a close, asyncio's transports drop writes, while uvloop's raise RuntimeError.
aiokafka (`AIOKafkaConnection.send`) expects OSError only, so its fetch or send task ended without an error, and the
consumer or producer hung for ever.

Fetches and produce requests are encoded and decoded at once rather than field by field (see `fetch_encoding` and
`produce_encoding`). The members of groups have fetch sessions (see `fetch_sessions`).

Records: batches are unpacked with bounded memory, and a faulty record is marked (see `partition_records`).
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer import consumer, fetcher
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7
from aiokafka.util import wait_for

from codewell.infra.kafka import fetch_encoding, fetch_sessions, partition_records, produce_encoding

_send = AIOKafkaConnection.send


def _send_or_close(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    try:
        if isinstance(request, ProduceRequest) and expect_response and self._writer is not None:
            return _send_records(self, request)
        return _send(self, request, expect_response)
    except (OSError, RuntimeError) as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


def _send_records(self: AIOKafkaConnection, request: ProduceRequest) -> Any:
    """As `send`, but without joining what is sent."""
    versioned = request.prepare(self._versions)
    if not isinstance(versioned, ProduceRequest_v7):
        return _send(self, request)
    correlation_id = self._next_correlation_id()
    self._writer.writelines(produce_encoding.frame(versioned, correlation_id, self._client_id))
    answered = self._loop.create_future()
    self._requests.append((correlation_id, versioned, answered))
    return wait_for(answered, self._request_timeout)


def patch() -> None:
    """Replace what is corrected. The names must exist: a new version of aiokafka may have others."""
    for place, name, ours in (
        (AIOKafkaConnection, "send", _send_or_close),
        (FetchRequest_v11, "encode", fetch_encoding.encode_request),
        (FetchResponse_v11, "decode", classmethod(fetch_encoding.decode_response)),
        (ProduceResponse_v7, "decode", classmethod(produce_encoding.decode_response)),
        (fetcher, "MemoryRecords", partition_records.FetchedBatches),
        (fetcher, "PartitionRecords", partition_records.PartitionRecords),
        (fetcher.FetchResult, "getall", partition_records.getall),
        (fetcher.Fetcher, "fetched_records", partition_records.limited(fetcher.Fetcher.fetched_records)),
        (consumer, "Fetcher", fetch_sessions.SessionFetcher),
    ):
        getattr(place, name)
        setattr(place, name, ours)
