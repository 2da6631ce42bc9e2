"""Corrects aiokafka (0.14), for all clients of the process, Faust's too.

A closed connection under uvloop: after a close, asyncio's transports drop writes, while uvloop's raise RuntimeError.
aiokafka (`AIOKafkaConnection.send`) expects OSError only, so its fetch or send task ended without an error, and the
consumer or producer hung for ever.

Fetches are encoded and decoded at once rather than field by field (see `fetch_encoding`). The members of groups have
fetch sessions (see `fetch_sessions`).

Records: batches are unpacked with bounded memory, and a faulty record is marked (see `partition_records`).
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer import consumer, fetcher
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11

from codewell.infra.kafka import fetch_encoding, fetch_sessions, partition_records

_send = AIOKafkaConnection.send


def _send_or_close(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


def patch() -> None:
    """Replace what is corrected. The names must exist: a new version of aiokafka may have others."""
    for place, name, ours in (
        (AIOKafkaConnection, "send", _send_or_close),
        (FetchRequest_v11, "encode", fetch_encoding.encode_request),
        (FetchResponse_v11, "decode", classmethod(fetch_encoding.decode_response)),
        (fetcher, "MemoryRecords", partition_records.FetchedBatches),
        (fetcher, "PartitionRecords", partition_records.PartitionRecords),
        (fetcher.FetchResult, "getall", partition_records.getall),
        (fetcher.Fetcher, "fetched_records", partition_records.limited(fetcher.Fetcher.fetched_records)),
        (consumer, "Fetcher", fetch_sessions.SessionFetcher),
    ):
        getattr(place, name)
        setattr(place, name, ours)
