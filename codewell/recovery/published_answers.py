"""Reads answers from the reply topics."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiokafka import ConsumerRecord

from codewell.infra.kafka import reading
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.record_time import record_time
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
        kind, time = (headers.get("ce_type") or b"").decode(), (headers.get("ce_time") or b"").decode()
        if (headers.get("content-type") or b"").startswith(b"application/cloudevents+json"):
            kind, time, data = data["type"], data.get("time"), data["data"]
        if kind not in _ANSWER_TYPES or not _is_storable(data) or _is_rejection(data):
            return None
        return _answer(record, _decided_at(time), data)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _is_storable(data: object) -> bool:
    """Whether Postgres can store the texts. Raises ValueError for lone surrogates."""
    said = json.dumps(data, ensure_ascii=False)
    said.encode()
    return r"\u0000" not in said.replace(r"\\", "")


def _decided_at(time: str | None) -> datetime | None:
    """Raises ValueError for a time that is not written as the issuer writes it, in UTC."""
    if not time:
        return None
    if not time.endswith("Z"):
        raise ValueError("an answer's time is in UTC")
    return datetime.fromisoformat(time)


def _is_rejection(data: dict[str, Any]) -> bool:
    """Whether it answers a dead letter: nothing was decided, so the database has no answer."""
    return any(refusal["reason"] == "invalid_request" for refusal in data.get("refusals", ()))


def _answer(record: ConsumerRecord, decided_at: datetime | None, data: dict[str, Any]) -> PublishedAnswer:
    refused = data["outcome"] == "refused"
    codes = [] if refused else data["codes"]
    return PublishedAnswer(
        UUID(data["request_id"]),
        str(data["profile_id"]),
        f"{record.topic}:{record.partition}:{record.offset}",
        record_time(record),
        decided_at,
        bool(data.get("preview", False)),
        _json_text(data["refusals"]) if refused else None,
        tuple(
            PublishedCode(
                code.get("from") or code["program"],
                code["code"],
                None if code["expires_at"] is None else datetime.fromisoformat(code["expires_at"]),
                _json_text(code["fields"]) if code["fields"] else None,
                code["program"] if code.get("from") else None,
                code.get("fallback"),
            )
            for code in codes
        ),
    )


def _json_text(value: object) -> str:
    """Encode JSON as the issuer does, so that a restored answer is an exact copy."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
