"""A request as an issuer has read it: with its Kafka record and the sender's choices for the answer."""

from typing import Final, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition

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


class PlainRequest(NamedTuple):
    """A plain event in binary mode, without options, as most are; it is its own record.

    It has few objects, as a batch of them stays in memory until it is answered.
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
    def record(self) -> "PlainRequest":
        """As in AnyRequest."""
        return self

    @property
    def structured(self) -> bool:
        """As in AnyRequest."""
        return False

    @property
    def options(self) -> ReplyOptions:
        """As in AnyRequest."""
        return NO_OPTIONS

    @property
    def topic(self) -> str:
        """As in ConsumerRecord."""
        topic: str = self.tp.topic
        return topic

    @property
    def partition(self) -> int:
        """As in ConsumerRecord."""
        partition: int = self.tp.partition
        return partition

    @property
    def headers(self) -> Headers:
        """As in ConsumerRecord."""
        before, after = self.headers_around
        return (*before, (ID_HEADER, self.event_id), *after)


ReceivedRequest = AnyRequest | PlainRequest
