"""Reads answers from the reply topics."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from aiokafka import ConsumerRecord

from codewell.infra.kafka import reading
from codewell.infra.kafka.config import KafkaConfig
from codewell.recovery.reconciliation import PublishedAnswer, PublishedCode
from schemas.events import CODES_ATTACHED, CODES_REFUSED

_BATCH_ANSWERS: Final = 5_000
_ANSWER_TYPES: Final = frozenset((CODES_ATTACHED, CODES_REFUSED))


async def read_answers(
    kafka_config: KafkaConfig | str, topics: Sequence[str], since: datetime | None
) -> AsyncIterator[list[PublishedAnswer]]:
    """Yield all answers in these topics, or those written since then, some thousand at a time, topic by topic.

    Skips records that are not Codewell's answers, as a reply topic that a request names may have other writers too.
    Raises StackUnavailable.
    """
    partitions = await reading.partitions(kafka_config, topics)
    async with reading.open_reader(kafka_config) as reader:
        batch: list[PublishedAnswer] = []
        for tp, span in (await reader.offset_ranges(partitions, since)).items():
            async for record in reader.records(tp, span):
                answer = parse_answer(record)
                if answer is not None:
                    batch.append(answer)
                if len(batch) == _BATCH_ANSWERS:
                    yield batch
                    batch = []
        if batch:
            yield batch


def parse_answer(record: ConsumerRecord) -> PublishedAnswer | None:
    """Parse an answer in binary or structured mode; None for any other record."""
    try:
        headers = dict(record.headers)
        data = json.loads(record.value)
        kind = (headers.get("ce_type") or b"").decode()
        if (headers.get("content-type") or b"").startswith(b"application/cloudevents+json"):
            kind, data = data["type"], data["data"]
        if kind not in _ANSWER_TYPES or not _is_storable(data):
            return None
        return _answer(record, data)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _is_storable(data: object) -> bool:
    """Whether Postgres can store the texts. Raises ValueError for lone surrogates."""
    said = json.dumps(data, ensure_ascii=False)
    said.encode()
    return r"\u0000" not in said.replace(r"\\", "")


def _answer(record: ConsumerRecord, data: dict[str, Any]) -> PublishedAnswer:
    refused = data["outcome"] == "refused"
    codes = [] if refused else data["codes"]
    return PublishedAnswer(
        UUID(data["request_id"]),
        str(data["profile_id"]),
        f"{record.topic}:{record.partition}:{record.offset}",
        datetime.fromtimestamp(record.timestamp / 1000, UTC),
        bool(data.get("preview", False)),
        _json_text(data["refusals"]) if refused else None,
        tuple(
            PublishedCode(
                code["program"],
                code["code"],
                None if code["expires_at"] is None else datetime.fromisoformat(code["expires_at"]),
                _json_text(code["fields"]) if code["fields"] else None,
            )
            for code in codes
        ),
    )


def _json_text(value: object) -> str:
    """Encode JSON as the issuer does, so that a restored answer is an exact copy."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
