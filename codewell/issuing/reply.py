"""Builds an answer's event from its rows. Deterministic: a repeated answer has the same bytes as the first."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1
from json.encoder import encode_basestring as quoted
from typing import Final
from uuid import UUID

from codewell.issuing.answer_runs import AnyRun, MixedRun, RefusedRun
from codewell.issuing.model import AnswerRow, Request, Run
from schemas.events import CODES_ATTACHED, CODES_REFUSED, PLACEHOLDER, MessageRender

# Random constant. Never change it: answer ids derive from it and the request id.
_NAMESPACE_HASHED: Final = sha1(UUID("6a3f0bb3-6f0e-4a52-9d7e-0f3c7f1c2b64").bytes, usedforsecurity=False)
# What a sender may have meant as a placeholder, however it is spelt. It stays in the text, and the answer lists it.
_LIKE_PLACEHOLDER: Final = re.compile(r"\{\s*loyalty\s*\.[^{}]{0,200}\}", re.IGNORECASE)
_UNRESOLVED_MAX: Final = 100
# Variant of RFC 9562: two fixed bits in the digit after the third dash.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def answer_id(answered: UUID | str) -> str:
    """Event id of the answer: the UUID version 5 (RFC 9562, section 5.5) of the request id's text.

    A record that is no valid request is named by its place in Kafka instead.
    """
    hashed = _NAMESPACE_HASHED.copy()
    hashed.update(str(answered).encode())
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
    codes = _code(first, names) if len(rows) == 1 else ",".join([_code(row, names) for row in rows])
    event = request.event
    if isinstance(event, MessageRender) and event.template is not None:
        tail = f"{_rendered(event.template, rows, names)}{tail}"
    return CODES_ATTACHED, f'{head},"outcome":"attached","codes":[{codes}]{tail}'


def plain_answer(run: AnyRun, number: int, names: Mapping[int, str]) -> tuple[str, str]:
    """The text of the request's id, and the answer's data, as `answer_event` builds it of the request's rows."""
    request_id = str(run.ids[number])
    if isinstance(run, RefusedRun):
        outcome = f'"refused","refusals":{run.refusals}'
    elif isinstance(run, MixedRun):
        outcome = f'"attached","codes":[{_mixed_codes(run, number)}]'
    else:
        if isinstance(run, Run):
            text, expires_at, fields = run.texts[number], run.expires_at, run.fields
        else:
            _, _, text, expires_at, fields = run.codes[number]
        before, after = _around(names[run.program_id], expires_at, fields, "")
        outcome = f'"attached","codes":[{before}{quoted(text)}{after}]'
    return request_id, (
        f'{{"request_id":"{request_id}","profile_id":{quoted(run.profile_ids[number])},"outcome":{outcome}}}'
    )


def _mixed_codes(run: MixedRun, number: int) -> str:
    texts = []
    for place, _, text in run.codes_of(number):
        block = run.blocks[place]
        texts.append(f"{block.before}{quoted(text)}{block.after}")
    return ",".join(texts)


def _code(row: AnswerRow, names: Mapping[int, str]) -> str:
    program, origin = names[row.program_id or 0], ""
    if row.link is not None:
        program, origin = names[row.asked_program_id or 0], f',"from":"{program}","fallback":{row.link}'
    before, after = _around(program, row.expires_at, row.fields, origin)
    return f"{before}{quoted(row.code or '')}{after}"


def around(program: str, expires_at: datetime | None, fields: str | None, origin: str = "") -> tuple[str, str]:
    """What is before and after a code's text. `program` is its short name."""
    return f'{{"program":"{program}","code":', f',"expires_at":{_ends(expires_at)},"fields":{fields or "{}"}{origin}}}'


# Cached: all codes of a block share it, and making it costs as much as the rest.
_around: Final = lru_cache(maxsize=1024)(around)


@lru_cache(maxsize=4096)  # Cached: the codes of a block share it, and it takes two thirds of what is around a code.
def _ends(expires_at: datetime | None) -> str:
    return "null" if expires_at is None else f'"{utc_text(expires_at)}"'


def utc_text(moment: datetime) -> str:
    """The time as RFC 3339 text in UTC, to the microsecond."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def _rendered(template: str, rows: Sequence[AnswerRow], names: Mapping[int, str]) -> str:
    """The members of the answer that come from the template, as JSON text."""
    codes = {
        f"{{loyalty.{names[row.asked_program_id or row.program_id or 0]}.promocode}}": row.code or "" for row in rows
    }
    # A duplicate request with another template may name a program that the first did not: keep its placeholder.
    text = PLACEHOLDER.sub(lambda match: codes.get(match[0], match[0]), template)
    members = f',"rendered":{quoted(text)}'
    # A look for every brace is cheap; most templates have no other than those of the codes.
    if template.count("{") != sum(map(template.count, codes)):
        left = dict.fromkeys(one for one in _LIKE_PLACEHOLDER.findall(template) if one not in codes)
        if left:
            members += f',"unresolved":[{",".join(map(quoted, list(left)[:_UNRESOLVED_MAX]))}]'
    return members
