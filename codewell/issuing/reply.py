"""Builds an answer's event from its rows. Deterministic: a repeated answer has the same bytes as the first."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1
from json.encoder import encode_basestring as quoted
from typing import Final
from uuid import UUID

from codewell.issuing.model import AnswerRow, Request
from schemas.events import CODES_ATTACHED, CODES_REFUSED, PLACEHOLDER, MessageRender

# Random constant. Never change it: answer ids derive from it and the request id.
_NAMESPACE_HASHED: Final = sha1(UUID("6a3f0bb3-6f0e-4a52-9d7e-0f3c7f1c2b64").bytes, usedforsecurity=False)
# Variant of RFC 9562: two fixed bits in the digit after the third dash.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def answer_id(request_id: UUID) -> str:
    """Event id of the answer: the UUID version 5 (RFC 9562, section 5.5) of the request id's text."""
    hashed = _NAMESPACE_HASHED.copy()
    hashed.update(str(request_id).encode())
    text = hashed.hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def answer_event(request: Request, rows: Sequence[AnswerRow], names: Mapping[int, str]) -> tuple[str, str]:
    """The answer's event type and its data as JSON text.

    `rows` are the request's answer rows, by ordinal; at least one. `names` maps program ids to short names. Only the
    message template comes from `request`; everything that was decided comes from `rows`.
    """
    first = rows[0]
    head = f'{{"request_id":"{first.request_id}","profile_id":{quoted(first.profile_id)}'
    tail = ',"preview":true}' if first.preview else "}"
    if first.refusals is not None:
        return CODES_REFUSED, f'{head},"outcome":"refused","refusals":{first.refusals}{tail}'
    codes = ",".join([_code(row, names) for row in rows])
    event = request.event
    if isinstance(event, MessageRender) and event.template is not None:
        tail = f',"rendered":{quoted(_rendered(event.template, rows, names))}{tail}'
    return CODES_ATTACHED, f'{head},"outcome":"attached","codes":[{codes}]{tail}'


def _code(row: AnswerRow, names: Mapping[int, str]) -> str:
    program = names[row.program_id or 0]
    return (
        f'{{"program":"{program}","code":{quoted(row.code or "")},"expires_at":{_time(row.expires_at)},'
        f'"fields":{row.fields or "{}"}}}'
    )


@lru_cache(maxsize=1024)  # Cached: all codes of a block share one expiry, and formatting costs as much as the rest.
def _time(moment: datetime | None) -> str:
    if moment is None:
        return "null"
    return f'"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"'


def _rendered(template: str, rows: Sequence[AnswerRow], names: Mapping[int, str]) -> str:
    codes = {names[row.program_id or 0]: row.code or "" for row in rows}
    # A duplicate request with another template may name a program that the first did not: keep its placeholder.
    return PLACEHOLDER.sub(lambda match: codes.get(match[1], match[0]), template)
