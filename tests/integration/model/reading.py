"""The raw rows of a database, and what became of each code by them. It uses none of the product's statements."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import Minter

_TABLES: Final = ("program", "block", "code", "code_state", "answer", "holding")
Place = tuple[int, int]
Row = dict[str, Any]


class Seen(NamedTuple):
    """One code as its rows have it."""

    state: str
    """`pooled`, `attached`, `activated`, `deleted` or `archived`; whether it has expired is for who knows the time."""
    profile: str | None
    ends: datetime | None
    is_closed: bool = False
    """Its block was archived, and has no answer of it."""


class Rows(NamedTuple):
    """All rows that a promise is about, of one moment."""

    program: list[Row]
    block: list[Row]
    code: list[Row]
    code_state: list[Row]
    answer: list[Row]
    holding: list[Row]


class Reading(NamedTuple):
    """What the rows say of every code, by program id and text, and what is wrong with them."""

    rows: Rows
    codes: dict[int, dict[str, Seen]]
    wrong: list[str]


async def read(connection: Connection) -> Rows:
    """The tables as they are now, in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = [await connection.fetch(f"SELECT * FROM {name}") for name in _TABLES]
    return Rows(*([dict(row) for row in rows] for rows in found))


class _Block:
    """What became of each place of a block, counted from the rows of its codes."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.counts: Counter[str] = Counter()

    def miscounted(self) -> list[str]:
        """Which of the block's counters say something else than the rows of its codes."""
        row, counts = self.row, self.counts
        wrong = [
            f"I4: block {row['id']} counts {row[name]} {name}, and there are {counts[name]}"
            for name in ("attached", "deleted", "returned", "undone", "holes")
            if row[name] != counts[name]
        ]
        if row["archived"] != counts["archived"] or (counts["archived"] and row["archived_until"] is None):
            wrong.append(f"I4: block {row['id']} counts other answers that left than {counts['archived']}: {row}")
        if row["size"] - row["next"] - row["holes"] != counts["pooled"]:
            wrong.append(f"I4: block {row['id']} has {counts['pooled']} codes in the pool and counts others: {row}")
        return wrong


def understand(rows: Rows, minter: Callable[[int, int], Minter], now: datetime) -> Reading:
    """Follow every place of every block. `minter` gives that of a program and a template version."""
    codes: dict[int, dict[str, Seen]] = {row["id"]: {} for row in rows.program}
    wrong: list[str] = []
    texts = {(row["block_id"], row["position"]): row["text"] for row in rows.code}
    states = {(row["block_id"], row["position"]): row for row in rows.code_state}
    given = _given(rows)
    wrong += [
        f"I1: place {place} was given to {[row['profile_id'] for row in some]}"
        for place, some in given.items()
        if len(some) > 1
    ]
    places = 0
    for row in rows.block:
        block = _Block(row)
        minted = (
            minter(row["program_id"], row["version"]).mint(row["first"], row["size"]) if row["kind"] == "range" else []
        )
        for position in range(row["size"]):
            place = row["id"], position
            places += place in given
            text = minted[position] if minted else texts.get(place)
            seen = _seen(block, position, text, states.get(place), given.get(place, []))
            if seen is None:
                continue
            if text is None:
                wrong.append(f"I4: a code of block {row['id']} was given, and the block doesn't hold it")
            elif text in codes[row["program_id"]]:
                wrong.append(f"I1: {text} is in program {row['program_id']} twice")
            else:
                codes[row["program_id"]][text] = seen
            if any(one["code"] != text for one in given.get(place, [])):
                wrong.append(f"I4: {given[place][0]['code']} was given for {text}")
        wrong += block.miscounted()
        is_over = row["expires_at"] is not None and row["expires_at"] <= now
        if not row["open"] and block.counts["pooled"] and not is_over:
            wrong.append(f"I4: block {row['id']} is closed, and its codes can't be given any more: {row}")
    if places != len(given):
        wrong.append("I4: codes were given from places that no block has")
    return Reading(rows, codes, wrong)


def _given(rows: Rows) -> dict[Place, list[Row]]:
    """Who was given the code of each place first."""
    given: dict[Place, list[Row]] = defaultdict(list)
    for row in rows.answer:
        if row["block_id"] is not None and not row["again"]:
            given[row["block_id"], row["position"]].append(row)
    return given


def _seen(block: _Block, position: int, text: str | None, state: Row | None, given: list[Row]) -> Seen | None:
    """The code at a place; None where there is none any more. Counts what it finds."""
    counts, row = block.counts, block.row
    if state is not None and state["hole"] and position >= row["next"]:
        counts["holes"] += 1
    if state is not None and state["returned_at"] is not None:
        counts["returned"] += 1
        return None
    if text is None and not given:
        counts["undone"] += 1
        return None
    profile = given[0]["profile_id"] if given else None
    ends = given[0]["expires_at"] if given else row["expires_at"]
    if state is not None and state["changed"]:
        ends = state["expires_at"]
    is_hole = state is not None and state["hole"]
    # All that were in the pool of the block were deleted at once.
    is_voided = row["voided_at"] is not None and not given and position >= row["voided_from"] and not is_hole
    if is_voided or (state is not None and state["deleted_at"] is not None):
        counts["deleted"] += 1
        return Seen("deleted", profile, ends)
    if given:
        counts["attached"] += 1
        return Seen("attached" if state is None or state["activated_at"] is None else "activated", profile, ends)
    is_behind = position >= row["next"] and not is_hole
    if row["archived_until"] is not None:
        counts["pooled"] += is_behind
        counts["archived"] += not is_behind
        counts["attached"] += not is_behind
        return Seen("pooled", None, ends, True) if is_behind else Seen("archived", None, None, True)
    counts["pooled"] += is_behind
    return Seen("pooled" if is_behind else "lost", None, ends)
