"""Turns the rows of a table into candidate codes and bad rows, in chunks."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from codewell.errors import FileRefused
from codewell.files.columns import Columns
from codewell.files.limits import FileLimits
from codewell.files.table import Table
from codewell.minting.template import CODE_CHARACTERS_MAX
from schemas.imports import Reason

PAIRS_MAX: Final = 1_000
# A cell of two characters takes some sixty bytes of memory.
_CHUNK_CHARS: Final = 2_000_000
_STEP_ROWS: Final = 10
_BAD_TEXT_MAX: Final = 200
_FIELD_CHARS_MAX: Final = 2_000
_PROFILE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
# The same bound as for expiries set manually.
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)


class CandidateRules(NamedTuple):
    """The program's rules for a row."""

    now: datetime
    """The database's time; an expiry must be later."""
    saved: frozenset[str]
    required: frozenset[str]
    profile_required: bool


class BlockAttributes(NamedTuple):
    """The common attributes of a block's codes. Without an expiry, the program's lifetime applies."""

    expires_at: datetime | None
    fields: str | None
    """JSON text."""


class Candidate(NamedTuple):
    """A code whose own row is valid."""

    row: int
    text: str
    kind: BlockAttributes
    profile_id: str
    """The profile to which the code is attached at once; empty for none."""


class BadRow(NamedTuple):
    """A skipped row, with its text cut to what a user needs to find it."""

    row: int
    text: str
    reason: Reason


class Chunk(NamedTuple):
    """Consecutive rows of a file."""

    after: int
    """The number of rows before these, header included."""
    rows: int
    candidates: list[Candidate]
    bad: list[BadRow]


NO_ATTRIBUTES: Final = BlockAttributes(None, None)


def bad_row(row: int, text: str, reason: Reason) -> BadRow:
    """A bad row in its stored form: without NUL characters, which the database can't store."""
    return BadRow(row, text[:_BAD_TEXT_MAX].replace("\0", "\N{REPLACEMENT CHARACTER}"), reason)


def chunks(table: Table, rules: CandidateRules, limits: FileLimits, after: int, size: int) -> Iterator[Chunk]:
    """Yield all rows after the first `after`, in chunks of at most `size`. Raises FileRefused."""
    columns = table.columns
    after = max(after, int(columns.header))
    next(islice(table.rows, after, after), None)
    plain = columns.profile is None and columns.expiry is None and not columns.fields
    check = _RowChecker(columns, rules)
    while rows := _next_rows(table, size):
        if after + len(rows) - columns.header > limits.rows_max:
            raise FileRefused(
                f"The file has more than {limits.rows_max:,} rows: split it, or raise CODEWELL_IMPORT_ROWS_MAX."
            )
        chunk = Chunk(after, len(rows), [], [])
        (_check_plain if plain else check.check)(rows, columns.code, chunk)
        yield chunk
        after += len(rows)


def _next_rows(table: Table, size: int) -> list[list[str]]:
    """The next rows; fewer than `size` if long rows would fill the memory."""
    rows: list[list[str]] = []
    end = table.chars() + _CHUNK_CHARS
    while len(rows) < size and table.chars() < end:
        some = list(islice(table.rows, min(_STEP_ROWS, size - len(rows))))
        if not some:
            break
        rows += some
    return rows


def _check_plain(rows: list[list[str]], place: int, chunk: Chunk) -> None:
    """Check rows of a file with codes only, the most common kind, without looking at other columns."""
    append = chunk.candidates.append
    for number, row in enumerate(rows, chunk.after + 1):
        text = row[place].strip() if len(row) > place else ""
        if 0 < len(text) <= CODE_CHARACTERS_MAX and text.isprintable():
            append(Candidate(number, text, NO_ATTRIBUTES, ""))
        else:
            chunk.bad.append(bad_row(number, text, _text_error(text) or "empty"))


def _text_error(text: str) -> Reason | None:
    if not text:
        return "empty"
    if len(text) > CODE_CHARACTERS_MAX:
        return "too_long"
    return None if text.isprintable() else "unprintable"


class _RowChecker:
    """Checks rows of files with more columns than the code."""

    def __init__(self, columns: Columns, rules: CandidateRules) -> None:
        self._columns = columns
        self._rules = rules
        self._kinds: dict[BlockAttributes, BlockAttributes] = {}

    def check(self, rows: list[list[str]], place: int, chunk: Chunk) -> None:
        for number, row in enumerate(rows, chunk.after + 1):
            text = _cell(row, place)
            checked = self._row(row, text)
            if isinstance(checked, str):
                chunk.bad.append(bad_row(number, text, checked))
            else:
                chunk.candidates.append(Candidate(number, text, *checked))

    def _row(self, row: list[str], text: str) -> tuple[BlockAttributes, str] | Reason:
        wrong = _text_error(text)
        if wrong is not None:
            return wrong
        expires_at = None
        if self._columns.expiry is not None:
            written = _cell(row, self._columns.expiry)
            expires_at = expiry(written) if written else None
            if written and (expires_at is None or expires_at <= self._rules.now):
                return "bad_expiry"
        profile_id = _cell(row, self._columns.profile) if self._columns.profile is not None else ""
        if (self._rules.profile_required and not profile_id) or (profile_id and not _PROFILE.fullmatch(profile_id)):
            return "bad_profile"
        fields = {name: cell for name, place in self._columns.fields if (cell := _cell(row, place))}
        if not self._rules.required <= fields.keys():
            return "missing_field"
        if any(len(value) > _FIELD_CHARS_MAX or "\0" in value for value in fields.values()):
            return "bad_field"
        saved = {name: value for name, value in fields.items() if name in self._rules.saved}
        return self._kind(expires_at, json.dumps(saved) if saved else None), profile_id

    def _kind(self, expires_at: datetime | None, fields: str | None) -> BlockAttributes:
        kind = BlockAttributes(expires_at, fields)
        if len(self._kinds) >= PAIRS_MAX and kind not in self._kinds:
            raise FileRefused(
                f"The file has more than {PAIRS_MAX:,} different combinations of expiry and custom fields: leave a "
                "column "
                "out, or split the file."
            )
        return self._kinds.setdefault(kind, kind)


def _cell(row: list[str], place: int) -> str:
    return row[place].strip() if len(row) > place else ""


@lru_cache(maxsize=4_096)
def expiry(written: str) -> datetime | None:
    """Parse an expiry: an ISO 8601 time with zone, or a date, which means its end in UTC. None for other texts."""
    try:
        if len(written) <= len("2027-01-31"):
            day = date.fromisoformat(written)
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        else:
            moment = datetime.fromisoformat(written)
            if moment.tzinfo is None:
                return None
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment <= _LATEST else None


def first_of_each(candidates: list[Candidate], bad: list[BadRow]) -> list[Candidate]:
    """Keep the first candidate of each text, and append the others to `bad`."""
    first = {one.text: one for one in reversed(candidates)}
    if len(first) == len(candidates):
        return candidates
    good = []
    for one in candidates:
        if first[one.text] is one:
            good.append(one)
        else:
            bad.append(bad_row(one.row, one.text, "twice_in_file"))
    return good
