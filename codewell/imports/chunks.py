"""Reads the rows of a table in chunks of candidates and bad rows."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from codewell.errors import FileRefused
from codewell.files.limits import FileLimits
from codewell.files.table import Table
from codewell.imports.candidates import Candidate, CandidateRules, Chunk
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
    while rows := _next_rows(table, size):
        if after + len(rows) - columns.first > limits.rows_max:
            raise FileRefused(
                f"The file has more than {limits.rows_max:,} rows: split it, or raise CODEWELL_IMPORT_ROWS_MAX.",
                reason="file_too_large",
            )
        chunk = Chunk(after, len(rows), [], [])
        check.check(rows, chunk)
        after += len(rows)
        yield chunk._replace(case_variants=cases.add(chunk.candidates), share=table.share(after))


class _CaseVariants:
    """Counts texts that differ from an earlier one only in case, among the first half million. Repeated texts are none.

    While all texts are in one case there are none, and hashing each would take half of the time of reading.
    """

    def __init__(self) -> None:
        self._in_one_case: list[str] = []
        self._is_upper: bool | None = None
        self._seen: tuple[set[int], set[int]] | None = None
        self._count = 0

    def add(self, candidates: list[Candidate]) -> int:
        """How many of these texts do."""
        texts = list({one.text: None for one in candidates})
        if not texts:
            return 0
        # In one step for speed: no text has a line break.
        joined = "\n".join(texts)
        if self._seen is None:
            is_upper = joined == joined.upper()
            if (is_upper or joined == joined.lower()) and self._is_upper in {None, is_upper}:
                self._is_upper = is_upper
                if self._count < _CASES_MAX:
                    self._in_one_case.append(joined)
                    self._count += len(texts)
                return 0
            self._seen = (set(), set())
            for one in self._in_one_case:
                self._count_among(one, self._seen)
            self._in_one_case.clear()
        return self._count_among(joined, self._seen)

    def _count_among(self, joined: str, seen: tuple[set[int], set[int]]) -> int:
        """`seen` are the hashes of the texts so far, as they are and without case; these are added."""
        exact, folded = seen
        pairs = zip(map(hash, joined.split("\n")), map(hash, joined.casefold().split("\n")), strict=True)
        new = [pair for pair in pairs if pair[0] not in exact]
        cases = {same for _, same in new}
        again = len(new) - len(cases - folded)
        if len(exact) < _CASES_MAX:
            exact.update(text for text, _ in new)
            folded |= cases
        return again


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
