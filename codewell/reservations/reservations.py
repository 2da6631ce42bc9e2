"""Reservations of a program: make, change, release, list them, and say what one would get.

Each change is one transaction that locks the program's row first, as every maker of codes does: of two that race, the
second sees what the first has left.
"""

from datetime import datetime
from typing import Any, Final

from codewell.errors import ProgramRefused, ReservationUnknown
from codewell.infra.postgres.connection import Connection
from codewell.plurals import counted
from codewell.pool import fill, orders
from codewell.pool.block_rules import POOLED, UNEXPIRED
from codewell.pool.block_sizes import block_sizes
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules, Source
from codewell.pool.range_allocation import allocate
from codewell.pool.range_blocks import codes_in, store_ranges
from codewell.reservations import blocks, checks, supply
from codewell.reservations.figures import figures, plan, state_of
from schemas.reservations import (
    Availability,
    EndedBy,
    Limit,
    Reservation,
    ReservationAnswer,
    ReservationChanges,
    ReservationFigures,
    ReservationParts,
    ReservationRequest,
)

LIST_MAX: Final = 1_000

_SELECT: Final = f"""
    SELECT r.*, p.name AS program, used_before + b.used AS used, b.left
    FROM reservation r JOIN program p ON p.id = r.program_id CROSS JOIN LATERAL (
        SELECT coalesce(sum(reserved_used), 0)::bigint AS used,
               coalesce(sum(least({POOLED}, reserved_size - reserved_used))
                        FILTER (WHERE reserved_open AND {UNEXPIRED}), 0)::bigint AS left
        FROM block WHERE reservation_id = r.id
    ) b
    """  # noqa: S608  constants
_ONE: Final = f"{_SELECT} WHERE r.program_id = $1 AND r.id = $2"
_PAGE: Final = f"""
    {_SELECT} WHERE r.program_id = $1 AND r.id < $2 AND ($4 OR r.ended_at IS NULL) ORDER BY r.id DESC LIMIT $3
    """
_OPEN: Final = f"{_SELECT} WHERE r.ended_at IS NULL ORDER BY r.id"
_LOCK: Final = "SELECT * FROM reservation WHERE program_id = $1 AND id = $2 FOR NO KEY UPDATE"
_OTHER: Final = """
    SELECT id FROM reservation WHERE program_id = $1 AND source = $2 AND source_id = $3 AND ended_at IS NULL
    """
_INSERT: Final = """
    WITH counted AS (UPDATE program SET reservations = reservations + 1 WHERE id = $1)
    INSERT INTO reservation (program_id, source, source_id, count, granted, on_order, until, send_at, partial, overflow)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id
    """
_GRANT: Final = """
    UPDATE reservation SET granted = granted + $2, on_order = on_order + $3, count = $4,
        revision = revision + CASE WHEN count = $4 THEN 0 ELSE 1 END
    WHERE id = $1
    """
_END: Final = """
    WITH counted AS (UPDATE program SET reservations = reservations - 1 WHERE id = $1)
    UPDATE reservation SET ended_at = statement_timestamp(), ended_by = $3, on_order = 0, granted = granted - on_order
    WHERE id = $2
    """
_RELEASED: Final = """
    INSERT INTO reservation_event (reservation_id, revision, state, count, reserved, used)
    SELECT id, revision, 'released', count, granted, used_before + (
        SELECT coalesce(sum(reserved_used), 0) FROM block WHERE reservation_id = r.id)
    FROM reservation r WHERE id = $1
    """


def audit_details(of: Reservation) -> dict[str, object]:
    """What the audit log says about a reservation."""
    scope = {"campaign_id": of.campaign_id} if of.scenario_id is None else {"scenario_id": of.scenario_id}
    return {
        "id": of.id, **scope, "count": of.count, "reserved": of.reserved, "used": of.used, "until": of.until.isoformat()
    }  # fmt: skip


async def availability(connection: Connection, program_id: int, count: int, send_at: datetime | None) -> Availability:
    """What `reserve` would set aside now. Locks and changes nothing. Raises ProgramRefused as `reserve` does."""
    rules = await fill.rules(connection, program_id)
    now, _, _ = await fill.level(connection, program_id)
    program = checks.check_program(rules, now)
    lives_until = checks.lives_until(program, now, send_at)
    found = plan(await supply.read(connection, program, now, lives_until), count)
    return Availability(program=program.name, **found.model_dump())


async def reserve(
    connection: Connection, minters: Minters, program_id: int, wanted: ReservationRequest
) -> ReservationAnswer:
    """Set codes aside for a campaign or scenario.

    Raises ReservationShort, with the figures, unless there are `count` codes or `partial` is set and there is one.
    Raises ProgramRefused when the program is switched off, removed or outside its validity period, when all profiles
    share its code, when `until` is later than its validity, and when the campaign has a reservation already.
    """
    async with connection.transaction():
        program, now = await _locked(connection, program_id)
        checks.check_times(program, now, wanted.until, wanted.send_at)
        source, source_id = checks.scope(wanted)
        other = await connection.fetchval(_OTHER, program_id, source, source_id)
        if other is not None:
            raise ProgramRefused(
                f"{source.capitalize()} {source_id} has the reservation {other} in {program.name} already: "
                "change its count, or release it.",
                reason="reservation_exists",
            )
        lives_until = checks.lives_until(program, now, wanted.send_at)
        found = plan(await supply.read(connection, program, now, lives_until), wanted.count)
        checks.check_enough(program, found, partial=wanted.partial)
        id_: int = await connection.fetchval(
            _INSERT, program_id, source, source_id, wanted.count, 0, 0, wanted.until, wanted.send_at, wanted.partial,
            wanted.overflow,
        )  # fmt: skip
        taken = await _take(connection, minters, program, now, id_, found, lives_until)
        checks.check_enough(program, taken, partial=wanted.partial)
        await connection.execute(_GRANT, id_, taken.reserved, taken.parts.on_order, wanted.count)
        return await _answer(connection, program_id, id_, taken.parts, taken.limit)


async def change(
    connection: Connection, minters: Minters, program_id: int, id_: int, changes: ReservationChanges
) -> ReservationAnswer:
    """Change how many codes an open reservation has, and until when.

    Raises ReservationUnknown, ReservationShort as `reserve` does for a higher `count`, and ProgramRefused as `reserve`
    does, when it has ended, and when `count` is lower than the number of codes that were given.
    """
    async with connection.transaction():
        program, now = await _locked(connection, program_id)
        row = await connection.fetchrow(_LOCK, program_id, id_)
        if row is None:
            raise ReservationUnknown(id_)
        if row["ended_at"] is not None:
            raise ProgramRefused(f"The reservation {id_} has ended: make a new one.", reason="reservation_ended")
        if changes.until is not None:
            checks.check_times(program, now, changes.until, row["send_at"])
            await connection.execute("UPDATE reservation SET until = $2 WHERE id = $1", id_, changes.until)
        count = row["count"] if changes.count is None else changes.count
        if count > row["granted"] and changes.count is not None:
            taken = await _grow(connection, minters, program, now, row, count)
            return await _answer(connection, program_id, id_, taken.parts, taken.limit)
        await _shrink(connection, program_id, row, count)
        return await _answer(connection, program_id, id_, supply.NO_PARTS, None)


async def release(connection: Connection, program_id: int, id_: int, by: EndedBy = "release") -> Reservation:
    """End a reservation: the codes that are left go back to the pool. One that has ended stays as it is.

    Raises ReservationUnknown.
    """
    async with connection.transaction():
        await fill.locked(connection, program_id)
        row = await connection.fetchrow(_LOCK, program_id, id_)
        if row is None:
            raise ReservationUnknown(id_)
        if row["ended_at"] is None:
            await blocks.give_back(connection, id_)
            await connection.execute(_END, program_id, id_, by)
            await connection.execute(_RELEASED, id_)
        return await get(connection, program_id, id_)


async def get(connection: Connection, program_id: int, id_: int) -> Reservation:
    """A reservation of the program. Raises ReservationUnknown."""
    row = await connection.fetchrow(_ONE, program_id, id_)
    if row is None:
        raise ReservationUnknown(id_)
    return _reservation(row)


async def page(
    connection: Connection, program_id: int, before: int, limit: int, *, ended: bool = True
) -> list[Reservation]:
    """Up to `limit` reservations of the program whose id is lower than `before`, newest first."""
    return [_reservation(row) for row in await connection.fetch(_PAGE, program_id, before, limit, ended)]


async def open_with_revisions(connection: Connection) -> list[tuple[Reservation, int]]:
    """All open reservations of all programs, each with how often its count has changed."""
    return [(_reservation(row), row["revision"]) for row in await connection.fetch(_OPEN)]


async def _locked(connection: Connection, program_id: int) -> tuple[ProgramRules, datetime]:
    program = await fill.locked(connection, program_id)
    now, _, _ = await fill.level(connection, program_id)
    return checks.check_program(program, now), now


async def _grow(
    connection: Connection, minters: Minters, program: ProgramRules, now: datetime, row: Any, count: int
) -> ReservationFigures:
    lives_until = checks.lives_until(program, now, row["send_at"])
    wanted = count - row["granted"]
    found = plan(await supply.read(connection, program, now, lives_until), wanted)
    # What it lacked before is no reason to refuse a count that is no higher.
    is_higher = count > row["count"]
    if is_higher:
        checks.check_enough(program, found, partial=row["partial"])
    taken = await _take(connection, minters, program, now, row["id"], found, lives_until)
    if is_higher:
        checks.check_enough(program, taken, partial=row["partial"])
    # In the order of the constraint: the count first.
    await connection.execute(_GRANT, row["id"], taken.reserved, taken.parts.on_order, count)
    return taken


async def _shrink(connection: Connection, program_id: int, row: Any, count: int) -> None:
    id_ = row["id"]
    used = (await connection.fetchrow(_ONE, program_id, id_))["used"]
    if count < used:
        raise ProgramRefused(
            f"{counted(used, 'code')} of the reservation {id_} were given: set count to at least that.",
            reason="reservation_used",
            setting="count",
        )
    surplus = max(0, row["granted"] - count)
    ordered = min(surplus, row["on_order"])
    freed = await blocks.give_back_some(connection, id_, surplus - ordered)
    kept = row["granted"] - ordered - freed
    if kept > count:
        raise ProgramRefused(
            f"{counted(kept, 'code')} of the reservation {id_} were given or deleted, or have changed: set count to at "
            "least that.",
            reason="reservation_used",
            setting="count",
        )
    await connection.execute(_GRANT, id_, -ordered - freed, -ordered, count)


async def _take(
    connection: Connection, minters: Minters, program: ProgramRules, now: datetime, id_: int,
    found: ReservationFigures, lives_until: datetime,
) -> ReservationFigures:  # fmt: skip
    """Make, order and move the planned codes. A template may have fewer texts left than it has numbers."""
    minted = await _mint(connection, minters, program, now, id_, found.parts.minted)
    pooled = await blocks.take(connection, program.id, id_, found.parts.pooled, lives_until)
    if found.parts.on_order:
        await orders.order_for_person(connection, program, found.parts.on_order, "{}")
    parts = found.parts.model_copy(update={"minted": minted, "pooled": pooled})
    if parts == found.parts:
        return found
    return figures(await supply.read(connection, program, now, lives_until), found.count, parts)


async def _mint(
    connection: Connection, minters: Minters, program: ProgramRules, now: datetime, id_: int, count: int
) -> int:
    if count == 0:
        return 0
    made = 0
    sizes = block_sizes(count, 0, await fill.count_workers(connection))
    async for ranges in allocate(connection, minters, program, sizes):
        await store_ranges(connection, now, [(program, ranges)], "generate", reservation_id=id_)
        made += codes_in(ranges.blocks)
    return made


async def _answer(
    connection: Connection, program_id: int, id_: int, parts: ReservationParts, limit: Limit | None
) -> ReservationAnswer:
    found = await get(connection, program_id, id_)
    return ReservationAnswer(**found.model_dump(), parts=parts, limit=limit)


def _reservation(row: Any) -> Reservation:
    is_campaign = row["source"] == Source.CAMPAIGN.value
    reserved, is_ended = row["granted"], row["ended_at"] is not None
    return Reservation(
        id=row["id"], program=row["program"], campaign_id=row["source_id"] if is_campaign else None,
        scenario_id=None if is_campaign else row["source_id"], count=row["count"], reserved=reserved,
        shortfall=row["count"] - reserved, used=row["used"], left=row["left"], on_order=row["on_order"],
        until=row["until"], send_at=row["send_at"], partial=row["partial"], overflow=row["overflow"],
        state=state_of(reserved, row["used"], row["left"], row["on_order"], is_ended=is_ended),
        created_at=row["created_at"], ended_at=row["ended_at"], ended_by=row["ended_by"],
    )  # fmt: skip
