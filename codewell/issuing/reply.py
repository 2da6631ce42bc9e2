"""Builds an answer's event from its rows. Deterministic: a repeated answer has the same bytes as the first."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1
from json.encoder import encode_basestring as quoted
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np

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
_DIGEST_BYTES: Final = 20
_UUID_BYTES: Final = 16
_UUID_CHARACTERS: Final = 36
# Of each field of a UUID's text: its first digit, its end, and the dashes before it.
_UUID_FIELDS: Final = ((0, 8, 0), (8, 12, 1), (12, 16, 2), (16, 20, 3), (20, 32, 4))


class PlainAnswers(NamedTuple):
    """Answers to plain requests as columns."""

    request_ids: list[str]
    profile_ids: list[str]
    kinds: list[tuple[str, datetime]]
    """Event type, and time of the decision."""
    data: list[str]
    """JSON text."""


def answer_id(answered: UUID | str) -> str:
    """Event id of the answer: the UUID version 5 (RFC 9562, section 5.5) of the request id's text.

    A record that is no valid request is named by its place in Kafka instead.
    """
    hashed = _NAMESPACE_HASHED.copy()
    hashed.update(str(answered).encode())
    text = hashed.hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def answer_ids(request_ids: Sequence[str]) -> list[str]:
    """`answer_id` of each of these texts, in half the time."""
    digests = []
    for text in request_ids:
        hashed = _NAMESPACE_HASHED.copy()
        hashed.update(text.encode())
        digests.append(hashed.digest())
    octets = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST_BYTES)[:, :_UUID_BYTES].copy()
    octets[:, 6] = octets[:, 6] & 0x0F | 0x50
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(octets.tobytes().hex().encode(), np.uint8).reshape(-1, 2 * _UUID_BYTES)
    texts = np.full((len(digests), _UUID_CHARACTERS), ord("-"), np.uint8)
    for first, last, dashes in _UUID_FIELDS:
        texts[:, first + dashes : last + dashes] = digits[:, first:last]
    joined = texts.tobytes().decode()
    return [joined[at : at + _UUID_CHARACTERS] for at in range(0, len(joined), _UUID_CHARACTERS)]


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


def plain_answers(places: Iterable[tuple[AnyRun, int]], names: Mapping[int, str]) -> PlainAnswers:
    """The answers whose rows are those of runs by their numbers: their data are as `answer_event` builds it."""
    request_ids, profile_ids, kinds, data = made = PlainAnswers([], [], [], [])
    known: AnyRun | None = None
    for run, number in places:
        if run is not known:
            known, ids, profiles = run, run.ids, run.profile_ids
            kind = CODES_REFUSED if isinstance(run, RefusedRun) else CODES_ATTACHED, run.answered_at
            if isinstance(run, Run):
                texts, (before, after) = run.texts, _around(names[run.program_id], run.expires_at, run.fields, "")
        request_id, profile_id = str(ids[number]), profiles[number]
        if isinstance(run, Run):
            outcome = f'"attached","codes":[{before}{quoted(texts[number])}{after}]'
        elif isinstance(run, MixedRun):
            outcome = f'"attached","codes":[{_mixed_codes(run, number)}]'
        elif isinstance(run, RefusedRun):
            outcome = f'"refused","refusals":{run.refusals}'
        else:
            _, _, text, expires_at, fields = run.codes[number]
            start, end = _around(names[run.program_id], expires_at, fields, "")
            outcome = f'"attached","codes":[{start}{quoted(text)}{end}]'
        request_ids.append(request_id)
        profile_ids.append(profile_id)
        kinds.append(kind)
        data.append(f'{{"request_id":"{request_id}","profile_id":{quoted(profile_id)},"outcome":{outcome}}}')
    return made


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
