"""A client of Codewell: `Sender` asks for codes over Kafka, `Shop` looks up, attaches and redeems them over HTTP."""

from codewell_client.answers import Answer, Attached, Code, Reason, Refusal, Refused
from codewell_client.errors import (
    AnswerTimeout,
    CodewellClientError,
    Conflict,
    Forbidden,
    InvalidAnswer,
    InvalidRequest,
    KafkaUnavailable,
    NotFound,
    Problem,
    PublishFailed,
    RateLimited,
    SenderError,
    ServiceUnavailable,
    ShopTimeout,
    Unauthorized,
)
from codewell_client.requests import MessageRender, Request, ScenarioStep
from codewell_client.sender import Sender
from codewell_client.shop import CodeRecord, Shop
from codewell_client.uuid7 import uuid7

__all__ = [
    "Answer",
    "AnswerTimeout",
    "Attached",
    "Code",
    "CodeRecord",
    "CodewellClientError",
    "Conflict",
    "Forbidden",
    "InvalidAnswer",
    "InvalidRequest",
    "KafkaUnavailable",
    "MessageRender",
    "NotFound",
    "Problem",
    "PublishFailed",
    "RateLimited",
    "Reason",
    "Refusal",
    "Refused",
    "Request",
    "ScenarioStep",
    "Sender",
    "SenderError",
    "ServiceUnavailable",
    "Shop",
    "ShopTimeout",
    "Unauthorized",
    "uuid7",
]
