"""What is sent: the body of a webhook, and the same in words for people."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from codewell.webhooks.events import short_type

ANSWER_CHARACTERS_MAX: Final = 300
# Shorter texts of an event, such as states, say nothing about a customer.
_MASKED_CHARACTERS_MIN: Final = 4
_MASK: Final = "***"
_TITLES: Final = {
    "alert-raised": "Alert",
    "alert-cleared": "Alert over",
    "webhook-test": "Test of a webhook",
}


class Message(NamedTuple):
    """An event as it is sent; `data` is JSON text."""

    id: UUID
    type: str
    occurred_at: datetime
    program: str | None
    data: str

    @property
    def body(self) -> bytes:
        """The body of a webhook, the same in each attempt: type, timestamp and data, as Standard Webhooks advises."""
        moment = self.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        head = json.dumps({"type": self.type, "timestamp": moment})
        return f'{head[:-1]}, "data": {self.data}}}'.encode()

    @property
    def title(self) -> str:
        """What has happened, in one line."""
        data = json.loads(self.data)
        kind = _TITLES.get(short_type(self.type), short_type(self.type))
        if data.get("reminder"):
            kind = "Alert still open"
        about = f"{self.program}: " if self.program else ""
        return " ".join(f"{kind}: {about}{data.get('title') or data.get('detail') or short_type(self.type)}".split())

    @property
    def lines(self) -> list[str]:
        """The rest of the message: what to do, then the figures."""
        data = json.loads(self.data)
        lines = [str(data[name]) for name in ("action", "link") if data.get(name)]
        facts = {name: data[name] for name in ("level", "rule", "key", "count", "cleared_by") if data.get(name)}
        facts |= data.get("figures") or {}
        return [*lines, *(f"{name.replace('_', ' ')}: {_words(value)}" for name, value in facts.items())]


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def masked_answer(answer: bytes, data: str) -> str:
    """The first characters of an answer, without texts of the event, which may be codes or profile ids."""
    text = answer.decode("utf-8", "replace")
    for leaf in sorted(set(_texts(json.loads(data))), key=len, reverse=True):
        text = text.replace(leaf, _MASK)
    return "".join(one if one.isprintable() else " " for one in text)[:ANSWER_CHARACTERS_MAX].strip()


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        if len(data) >= _MASKED_CHARACTERS_MIN:
            yield data
    elif isinstance(data, dict | list):
        for one in data.values() if isinstance(data, dict) else data:
            yield from _texts(one)
