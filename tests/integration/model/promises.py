"""I1 to I6 in the raw rows, checked one by one with code of the test's own. The audit is to agree, and is not asked."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from tests.integration.model.reading import Reading, Row

Told = tuple[tuple[object, ...], ...]


def told(rows: Collection[Row], moved: timedelta) -> Told:
    """What an answer says, but for whose it is, as a forgotten profile has another name; `moved` undoes the clock."""
    return tuple(
        (
            row["ordinal"], row["program_id"], row["code"], row["again"], row["preview"], row["refusals"],
            row["asked_program_id"], row["link"],
            None if row["expires_at"] is None else row["expires_at"] + moved,
        )
        for row in sorted(rows, key=lambda row: row["ordinal"])
    )  # fmt: skip


def broken(
    reading: Reading, answered: Mapping[UUID, Told], everybodys: Collection[tuple[int, str]], moved: timedelta
) -> Iterator[str]:
    """Sentences on what should never be.

    `answered` is what each request was told when it was answered, by its id; `everybodys` are the codes, by program
    and text, that were given to everybody; `moved` is by how much the clock was put forward.
    """
    yield from reading.wrong
    yield from _one_profile(reading, everybodys)
    yield from _one_answer(reading, answered, moved)
    yield from _conserved(reading)
    for row in reading.rows.answer:
        if row["block_id"] is not None and row["expires_at"] is not None and row["expires_at"] <= row["answered_at"]:
            yield f"I6: {row['code']} was given at {row['answered_at']}, and ended at {row['expires_at']}"


def _one_profile(reading: Reading, everybodys: Collection[tuple[int, str]]) -> Iterator[str]:
    """A code has one profile, whoever was told of it again."""
    owners = {(row["block_id"], row["position"]): row["profile_id"] for row in reading.rows.answer if not row["again"]}
    for row in reading.rows.answer:
        if not row["again"] or (row["program_id"], row["code"]) in everybodys:
            continue
        owner = owners.get((row["block_id"], row["position"]))
        if owner != row["profile_id"]:
            yield f"I1: {row['code']} of {owner} was given again to {row['profile_id']}"


def _one_answer(reading: Reading, answered: Mapping[UUID, Told], moved: timedelta) -> Iterator[str]:
    """A request has the answer that it was told, whole, and no other."""
    stored: dict[UUID, list[Row]] = defaultdict(list)
    for row in reading.rows.answer:
        stored[row["request_id"]].append(row)
    for request_id, rows in stored.items():
        if sorted(row["ordinal"] for row in rows) != list(range(len(rows))):
            yield f"I2: request {request_id} has two answers, or a part of one: {rows}"
        if len({row["refusals"] is None for row in rows}) > 1:
            yield f"I2: request {request_id} was refused and given codes"
    for request_id, said in answered.items():
        if request_id not in stored:
            yield f"I3: the answer to request {request_id} is gone"
        elif told(stored[request_id], moved) != said:
            yield f"I2: request {request_id} was told {said}, and has {told(stored[request_id], moved)}"


def _conserved(reading: Reading) -> Iterator[str]:
    """What was made and imported is somewhere, and is no more than the maximum."""
    for row in reading.rows.program:
        had = row["made"] + row["imported"]
        codes = reading.codes[row["id"]]
        lost = [text for text, seen in codes.items() if seen.state == "lost"]
        if had != len(codes) or lost:
            yield f"I4: {row['name']} made and imported {had}, and has {len(codes)}; nobody has {lost}"
        if max(had + row["on_order"], len(codes)) > row["codes_max"]:
            yield f"I5: {row['name']} holds {len(codes)}, counts {had}, and may hold {row['codes_max']}"


def day_of(moment: datetime | None, begin: datetime, moved: timedelta) -> int | None:
    """The day of a moment, counted from the begin, by a clock that was put forward by so much since."""
    return None if moment is None else (moment + moved - begin) // timedelta(days=1)
