"""A request as an issuer has read it: with its Kafka record and the sender's choices for the answer."""

from typing import Final, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition
from msgspec import Struct

from codewell.infra.kafka.batch_reader import ParsedRecord
from codewell.infra.kafka.partition_records import Record
from codewell.issuing.model import Request
from services.issuer.reply_options import NO_OPTIONS, ReplyOptions

ID_HEADER: Final = "ce_id"
Headers = tuple[tuple[str, bytes | None], ...]


class AnyRequest(NamedTuple):
    """A request in any form."""

    request: Request
    record: ConsumerRecord
    structured: bool
    options: ReplyOptions


class PlainRequest(Struct, frozen=True, gc=False):
    """A plain event in binary mode, without options, as most are.

    It has few objects, as a batch of them stays in memory until it is answered. A struct is made and read in half the
    time of a tuple with names, and is no concern of the garbage collection.
    """

    request: Request
    tp: TopicPartition
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes
    event_id: bytes
    headers_around: tuple[Headers, Headers]
    """Before and after that of the event's id. The records of a sender share them."""

    @property
    def record(self) -> Record:
        """Its record, made anew: answers to most need none."""
        before, after = self.headers_around
        headers = (*before, (ID_HEADER, self.event_id), *after)
        parsed = ParsedRecord(
            self.offset, self.timestamp, self.key, self.value, headers, timestamp_type=self.timestamp_type
        )
        return Record(self.tp, parsed)

    @property
    def structured(self) -> bool:
        """As in AnyRequest."""
        return False

    @property
    def options(self) -> ReplyOptions:
        """As in AnyRequest."""
        return NO_OPTIONS


ReceivedRequest = AnyRequest | PlainRequest
