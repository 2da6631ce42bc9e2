"""A request as an issuer has read it."""

from typing import NamedTuple

from aiokafka import ConsumerRecord

from codewell.issuing.model import Request
from services.issuer.reply_options import ReplyOptions


class ReceivedRequest(NamedTuple):
    """A request with its Kafka record and the sender's choices for the answer."""

    request: Request
    record: ConsumerRecord
    structured: bool
    options: ReplyOptions
