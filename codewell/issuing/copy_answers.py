"""Encodes answer rows for binary COPY."""

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, repeat
from typing import Final
from uuid import UUID

from codewell.infra.postgres.copy_binary import (
    BEGIN,
    BIGINT,
    BIGINT_BYTES,
    END,
    NULL,
    bigint_or_null,
    jsonb,
    text,
    timestamp,
)
from codewell.issuing.answer_runs import AnyRun, MixedRun, RefusedRun
from codewell.issuing.model import AgainRun, AnswerRow, Run
from schemas.events import PROGRAMS_MAX

# Columns that are never null come first, so that one struct packs them.
COLUMNS: Final = (
    "request_id", "ordinal", "again", "preview", "answered_at", "profile_id",
    "program_id", "block_id", "position", "code", "expires_at", "fields", "refusals",
)  # fmt: skip
# Rows of fallbacks have these as well.
_LINK_COLUMNS: Final = ("asked_program_id", "link")

# Field count; request id, ordinal, again, preview and time, each with its length prefix; length of the profile id.
_HEAD: Final = struct.Struct(">hi16sihi?i?12si").pack
# The same for a run: what is the same in all its rows is packed once.
_RUN_START: Final = struct.Struct(">hi").pack
_SAME: Final = struct.Struct(">ihi?i?12s").pack
_RUN_HEAD: Final = struct.Struct(">6s16s28si").pack
_RUN_MIDDLE: Final = struct.Struct(">24siqi").pack
_BLOCK: Final = struct.Struct(">iqiq").pack
_AGAIN_MIDDLE: Final = struct.Struct(">12siqiqi").pack
_SMALLINT: Final = struct.Struct(">ih").pack
_SMALLINT_BYTES: Final = 2


def columns(*, links: bool) -> tuple[str, ...]:
    """The columns of `encode`'s rows."""
    return COLUMNS + _LINK_COLUMNS if links else COLUMNS


def encode(rows: Sequence[AnswerRow], runs: Sequence[AnyRun] = (), *, links: bool) -> bytes:
    """The rows in the binary COPY format, with the fields of `columns`. Without `links` no row may have a link.

    Several runs, or runs beside rows, are put in the order of their requests' ids, as `rows` are.
    """
    pieces = list(_row_pieces(rows, links=links))
    for run in runs:
        pieces += _run_pieces(run, links=links)
    if runs and (rows or len(runs) > 1):
        ids = [*(row.request_id for row in rows), *chain.from_iterable(map(_ids_of_rows, runs))]
        pieces = [pieces[index] for index in sorted(range(len(ids)), key=ids.__getitem__)]
    return b"".join((BEGIN, *chain.from_iterable(pieces), END))


Pieces = tuple[bytes, ...]


def _ids_of_rows(run: AnyRun) -> Iterable[UUID]:
    """The request's id of each row, in the order of `_run_pieces`."""
    if isinstance(run, MixedRun) and len(run.codes) > len(run.ids):
        return chain.from_iterable(map(repeat, run.ids, run.counts()))
    return run.ids


def _run_pieces(run: AnyRun, *, links: bool) -> Iterable[Pieces]:
    """Each row in a few pieces: most of it is the same in all rows."""
    before, same = _common(run.answered_at, is_again=isinstance(run, AgainRun), links=links)
    match run:
        case AgainRun():
            return _again_pieces(run, before, same, links=links)
        case MixedRun():
            return _mixed_pieces(run, before, links=links)
        case RefusedRun():
            return _refused_pieces(run, before, same, links=links)
        case Run():
            return _next_pieces(run, before, same, links=links)


@lru_cache(maxsize=PROGRAMS_MAX)  # Cached: all runs of a claim share it.
def _common(answered_at: datetime, *, is_again: bool, links: bool, ordinal: int = 0) -> tuple[bytes, bytes]:
    """What is before the request's id, and what is the same in all rows of this ordinal after it."""
    return (
        _RUN_START(len(columns(links=links)), 16),
        _SAME(2, ordinal, 1, is_again, 1, False, timestamp(answered_at)),
    )


def _again_pieces(run: AgainRun, before: bytes, same: bytes, *, links: bool) -> Iterable[Pieces]:
    program_id = bigint_or_null(run.program_id)
    end = NULL + NULL + NULL if links else NULL
    pieces = []
    for id_, profile_id, (block_id, position, code, expires_at, fields) in zip(
        run.ids, run.profile_ids, run.codes, strict=True
    ):
        profile, text_bytes = profile_id.encode(), code.encode()
        pieces.append((
            _RUN_HEAD(before, id_.bytes, same, len(profile)),
            profile,
            _AGAIN_MIDDLE(program_id, 8, block_id, 8, position, len(text_bytes)),
            text_bytes,
            NULL if expires_at is None else timestamp(expires_at),
            NULL if fields is None else jsonb(fields),
            end,
        ))  # fmt: skip
    return pieces


def _next_pieces(run: Run, before: bytes, same: bytes, *, links: bool) -> Iterable[Pieces]:
    head, middle = _RUN_HEAD, _RUN_MIDDLE
    place = bigint_or_null(run.program_id) + bigint_or_null(run.block_id)
    tail = _after_code(run.expires_at, run.fields, links=links)
    profiles = [profile_id.encode() for profile_id in run.profile_ids]
    codes = [code.encode() for code in run.texts]
    return [
        (head(before, id_.bytes, same, len(profile)), profile, middle(place, 8, position, len(code)), code, tail)
        for id_, profile, position, code in zip(run.ids, profiles, run.positions, codes, strict=True)
    ]


def _mixed_pieces(run: MixedRun, before: bytes, *, links: bool) -> Iterable[Pieces]:
    head, middle = _RUN_HEAD, _RUN_MIDDLE
    counts = run.counts()
    sames = [
        _common(run.answered_at, is_again=False, links=links, ordinal=ordinal)[1] for ordinal in range(max(counts))
    ]
    shared = [
        (_BLOCK(BIGINT_BYTES, program_id, BIGINT_BYTES, block_id), _after_code(expires_at, fields, links=links))
        for program_id, block_id, expires_at, fields, _, _ in run.blocks
    ]
    profiles = [profile_id.encode() for profile_id in run.profile_ids]
    rows = (
        (id_, profile, same)
        for id_, profile, count in zip(run.ids, profiles, counts, strict=True)
        for same in sames[:count]
    )
    pieces = []
    for (id_, profile, same), (place, position, code_text) in zip(rows, run.codes, strict=True):
        code, (block, after) = code_text.encode(), shared[place]
        pieces.append(
            (head(before, id_.bytes, same, len(profile)), profile, middle(block, 8, position, len(code)), code, after)
        )
    return pieces


def _refused_pieces(run: RefusedRun, before: bytes, same: bytes, *, links: bool) -> Iterable[Pieces]:
    after = NULL * 6 + text(run.refusals) + (NULL + NULL if links else b"")
    profiles = [profile_id.encode() for profile_id in run.profile_ids]
    return [
        (_RUN_HEAD(before, id_.bytes, same, len(profile)), profile, after)
        for id_, profile in zip(run.ids, profiles, strict=True)
    ]


@lru_cache(maxsize=4096)  # Cached: the codes of a block share it, and of programs with one lifetime.
def _after_code(expires_at: datetime | None, fields: str | None, *, links: bool) -> bytes:
    """What is after the code of a row that is no refusal."""
    return b"".join((
        NULL if expires_at is None else timestamp(expires_at),
        NULL if fields is None else jsonb(fields),
        NULL,
        NULL + NULL if links else b"",
    ))  # fmt: skip


def _row_pieces(rows: Iterable[AnswerRow], *, links: bool) -> Iterable[Pieces]:
    count = len(columns(links=links))
    for row in rows:
        (request_id, ordinal, program_id, block_id, position, again, preview, profile_id,
         code, expires_at, fields, refusals, answered_at, asked_program_id, link) = row  # fmt: skip
        profile = profile_id.encode()
        head = _HEAD(
            count, 16, request_id.bytes, 2, ordinal, 1, again, 1, preview, timestamp(answered_at), len(profile)
        )
        yield (
            head,
            profile,
            bigint_or_null(program_id),
            bigint_or_null(block_id),
            NULL if position is None else BIGINT(BIGINT_BYTES, position),
            NULL if code is None else text(code),
            NULL if expires_at is None else timestamp(expires_at),
            NULL if fields is None else jsonb(fields),
            NULL if refusals is None else text(refusals),
            *(
                (bigint_or_null(asked_program_id), NULL if link is None else _SMALLINT(_SMALLINT_BYTES, link))
                if links
                else ()
            ),
        )
