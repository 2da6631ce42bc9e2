"""What a fold of the stream knows of all codes: in a file, so that memory doesn't grow with their number."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from codewell.lifecycle.spans import CodeSpan, PlaceState

# Single codes that are kept in memory before they are written.
_KEPT_MAX: Final = 50_000
_CACHE_KIB: Final = 65_536

_TABLES: Final = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA cache_size = -{_CACHE_KIB};
    CREATE TABLE run (
        program_id INTEGER, listed INTEGER, major INTEGER, first INTEGER, "end" INTEGER, state TEXT, expires_at INTEGER,
        uses INTEGER, held_until INTEGER, PRIMARY KEY (program_id, listed, major, first)
    ) WITHOUT ROWID;
    CREATE TABLE code (
        program_id INTEGER, listed INTEGER, major INTEGER, first INTEGER, state TEXT, expires_at INTEGER,
        uses INTEGER, held_until INTEGER, PRIMARY KEY (program_id, listed, major, first)
    ) WITHOUT ROWID;
    """
_RUNS: Final = """
    SELECT * FROM run WHERE program_id = ? AND listed = ? AND major = ? AND first < ? AND "end" > ? ORDER BY first
    """
# The run that a place may be in begins at it or before it.
_RUN_BEFORE: Final = """
    SELECT * FROM run WHERE program_id = ? AND listed = ? AND major = ? AND first <= ? ORDER BY first DESC LIMIT 1
    """
_REMOVE: Final = "DELETE FROM run WHERE program_id = ? AND listed = ? AND major = ? AND first = ?"
_ADD: Final = "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CODE: Final = """
    SELECT state, expires_at, uses, held_until FROM code
    WHERE program_id = ? AND listed = ? AND major = ? AND first = ?
    """
_PUT: Final = "INSERT OR REPLACE INTO code VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ALL: Final = """
    SELECT *, 0 AS is_single FROM run
    UNION ALL
    SELECT program_id, listed, major, first, first + 1, state, expires_at, uses, held_until, 1 FROM code
    ORDER BY 1, 2, 3, 4, 10
    """


class FoldedPlace(NamedTuple):
    """Where one code is, as in `spans`."""

    program_id: int
    listed: int
    major: int
    minor: int


class FoldStore:
    """Runs of codes to which nothing happened, and single codes. A context that removes its file at the end."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "fold.sqlite"
        self._file = sqlite3.connect(self._path, isolation_level=None)
        self._file.executescript(_TABLES)
        # Nothing is committed: the file ends with the fold.
        self._file.execute("BEGIN")
        self._kept: dict[FoldedPlace, PlaceState] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def make(self, span: CodeSpan) -> int:
        """Add a run of codes, and return how many of them were there before, which stay as they are."""
        known = self.runs(span)
        at = span.first
        for run in known:
            if at < run.first:
                self._add(span.part(at, run.first))
            at = max(at, run.end)
        if at < span.end:
            self._add(span.part(at, span.end))
        return sum(min(run.end, span.end) - max(run.first, span.first) for run in known)

    def change(self, span: CodeSpan, change: Callable[[PlaceState], PlaceState | None]) -> int:
        """Change the states of those codes of a run to which nothing else happened, or with None remove them.

        Returns how many codes of the run are not there.
        """
        there = 0
        for run in self.runs(span):
            part = run.part(max(run.first, span.first), min(run.end, span.end))
            there += part.end - part.first
            self._file.execute(_REMOVE, (*run.run, run.first))
            state = change(run.state)
            changed = () if state is None else (part._replace(state=state),)
            for left in (run.part(run.first, part.first), *changed, run.part(part.end, run.end)):
                if left.first < left.end:
                    self._add(left)
        return span.end - span.first - there

    def clear(self, partition: int, partitions: int) -> None:
        """Forget all codes of the programs of a partition."""
        self._write()
        for table in ("run", "code"):
            self._file.execute(f"DELETE FROM {table} WHERE program_id % ? = ?", (partitions, partition))  # noqa: S608

    def state(self, place: FoldedPlace) -> PlaceState | None:
        """What is known of a code; None if no event made it."""
        kept = self._kept.get(place)
        if kept is not None:
            return kept
        found = self._file.execute(_CODE, place).fetchone()
        if found is not None:
            return PlaceState(*found)
        run = self._file.execute(_RUN_BEFORE, place).fetchone()
        return None if run is None or run[4] <= place.minor else PlaceState(*run[5:])

    def put(self, place: FoldedPlace, state: PlaceState) -> None:
        """Note what is so of a code from now on."""
        self._kept[place] = state
        if len(self._kept) >= _KEPT_MAX:
            self._write()

    def spans(self) -> Iterator[tuple[CodeSpan, bool]]:
        """All of it in order, as `overlaid` takes it."""
        self._write()
        for row in self._file.execute(_ALL):
            yield _span(row, PlaceState(*row[5:9]).comparable), bool(row[9])

    def _write(self) -> None:
        self._file.executemany(_PUT, ((*place, *state) for place, state in sorted(self._kept.items(), key=_place)))
        self._kept.clear()

    def runs(self, span: CodeSpan) -> list[CodeSpan]:
        """The runs that this one overlaps, in order."""
        rows = self._file.execute(_RUNS, (*span.run, span.end, span.first)).fetchall()
        return [_span(row, PlaceState(*row[5:])) for row in rows]

    def _add(self, span: CodeSpan) -> None:
        self._file.execute(_ADD, (*span[:5], *span.state))


def _span(row: tuple[Any, ...], state: PlaceState) -> CodeSpan:
    program_id, listed, major, first, end, *_ = row
    return CodeSpan(program_id, listed, major, first, end, state)


def _place(item: tuple[FoldedPlace, PlaceState]) -> FoldedPlace:
    return item[0]
