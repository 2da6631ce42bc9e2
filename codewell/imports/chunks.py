"""Reads the rows of a table in chunks of candidates and bad rows."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from codewell.errors import FileRefused
from codewell.files.limits import FileLimits
from codewell.files.table import Table
from codewell.imports.candidates import BadRow, CandidateRules, Chunk, UsualCandidates, first_of_each, texts_of
from codewell.imports.row_checker import RowChecker
from schemas.imports import ImportOptions

# A cell of two characters takes some sixty bytes of memory.
_CHUNK_CHARS: Final = 2_000_000
_STEP_ROWS: Final = 10
# Hashes of the codes seen, for those that differ in case alone; some 70 MB.
_CASES_MAX: Final = 500_000


def chunks(
    table: Table, rules: CandidateRules, limits: FileLimits, after: int, size: int, options: ImportOptions
) -> Iterator[Chunk]:
    """Yield all rows after the first `after` of the file, in chunks of at most `size`. Raises FileRefused.

    Case variants are counted within the chunks of one call, among the first half million codes.
    """
    columns = table.columns
    after = max(after, columns.first)
    next(islice(table.rows, after, after), None)
    check = RowChecker(table, rules, options)
    cases = _CaseVariants()
    while True:
        texts = table.whole(size, check.are_usual) if after >= len(table.first) else []
        rows = [] if texts else _next_rows(table, size)
        count = len(texts) or len(rows)
        if not count:
            return
        if after + count - columns.first > limits.rows_max:
            raise FileRefused(
                f"The file has more than {limits.rows_max:,} rows: split it, or raise CODEWELL_IMPORT_ROWS_MAX.",
                reason="file_too_large",
            )
        bad: list[BadRow] = []
        good = UsualCandidates(after + 1, texts) if texts else first_of_each(check.check(rows, after, bad), bad)
        variants = cases.add(texts_of(good))
        after += count
        yield Chunk(after - count, count, good, bad, variants, table.share(after))


class _CaseVariants:
    """Counts texts that differ from an earlier one only in case, among the first half million. Repeated texts are none.

    While all texts are in one case there are none. Else they are compared without case, and as they are only once some
    are alike: hashing each text in both ways would take two fifths of the time of reading.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._is_upper: bool | None = None
        self._folded: set[int] | None = None
        self._exact: set[int] | None = None
        self._count = 0

    def add(self, texts: list[str]) -> int:
        """How many of these texts do, each of which is another one."""
        if not texts:
            return 0
        # In one step for speed: no text has a line break.
        joined = "\n".join(texts)
        if self._folded is None:
            is_upper = joined == joined.upper()
            if (is_upper or joined == joined.lower()) and self._is_upper in {None, is_upper}:
                self._is_upper = is_upper
                self._keep(joined, len(texts))
                return 0
            self._folded = {one for earlier in self._texts for one in _hashes(earlier.casefold())}
        return self._count_among(joined, len(texts))

    def _keep(self, joined: str, count: int) -> bool:
        """Remember texts to compare later ones with, unless they are enough already."""
        has_room = self._count < _CASES_MAX
        if has_room:
            self._count += count
            if self._exact is None:
                self._texts.append(joined)
            else:
                self._exact.update(_hashes(joined))
        return has_room

    def _count_among(self, joined: str, count: int) -> int:
        assert self._folded is not None  # noqa: S101  for mypy
        if self._exact is None and self._count < _CASES_MAX:
            # The most common case by far: none is like another one.
            before = len(self._folded)
            self._folded.update(_hashes(joined.casefold()))
            if len(self._folded) == before + count:
                self._keep(joined, count)
                return 0
            self._folded = {one for earlier in self._texts for one in _hashes(earlier.casefold())}
        folded = set(_hashes(joined.casefold()))
        again = 0
        if len(folded) < count or not self._folded.isdisjoint(folded):
            if self._exact is None:
                self._exact = {one for earlier in self._texts for one in _hashes(earlier)}
                self._texts.clear()
            pairs = zip(_hashes(joined), _hashes(joined.casefold()), strict=True)
            cases = [same for text, same in pairs if text not in self._exact]
            again = len(cases) - len(set(cases) - self._folded)
        if self._keep(joined, count):
            self._folded |= folded
        return again


def _hashes(joined: str) -> Iterator[int]:
    return map(hash, joined.split("\n"))


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
