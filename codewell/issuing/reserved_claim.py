"""Draws the codes of reservations for the campaigns and scenarios of a batch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries, reserved_queries
from codewell.issuing.model import LockedStock, MessageEvent, Request, StepEvent
from codewell.issuing.reserved_queries import LockedReservation, ReservedKey
from codewell.issuing.reserved_stock import ReservationOfStock, ReservedStock, Scope
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules


class OwnStocks(NamedTuple):
    """Drawn codes of reservations, and by program how many codes of its pool they make unnecessary."""

    stocks: Mapping[ReservedKey, tuple[LockedStock, ReservationOfStock]]
    wanted: Mapping[ReservedKey, int]
    covered: Counter[str]


_NONE: Final = OwnStocks({}, {}, Counter())


async def draw(
    connection: Connection, minters: Minters, pending: Sequence[Request], programs: Mapping[str, ProgramRules]
) -> OwnStocks:
    """Lock and draw the reserved codes that the batch requests. Runs no statement for programs without reservations."""
    if not any(program.has_reservations for program in programs.values()):
        return _NONE
    wanted = _wanted(pending, programs)
    by_id = {program.id: program for program in programs.values()}
    own = OwnStocks({}, wanted, Counter())
    stocks: dict[ReservedKey, tuple[LockedStock, ReservationOfStock]] = {}
    for key, (reservation, left, blocks) in (await _lock_enough(connection, wanted)).items():
        program = by_id[key.program_id]
        await minters.load(connection, {(program.id, block.version) for block in blocks if block.kind == "range"})
        stock = await claim_queries.draw(connection, minters, program._replace(pooled=left), blocks, wanted[key])
        stocks[key] = stock, reservation
        given = wanted[key] if reservation.refuses else min(wanted[key], stock.left + stock.elsewhere)
        own.covered[program.name] += given
    return own._replace(stocks=stocks)


def joined(own: OwnStocks, common: Mapping[int, LockedStock]) -> Mapping[Scope, Mapping[int, ReservedStock]]:
    """The stock of each campaign and scenario with a reservation, by program id. `common` are the programs' pools."""
    reserved: dict[Scope, dict[int, ReservedStock]] = {}
    for key, (stock, reservation) in own.stocks.items():
        pool = None if reservation.refuses else common[key.program_id]
        reserved.setdefault(key.scope, {})[key.program_id] = ReservedStock(stock, pool, reservation, own.wanted[key])
    return reserved


def _wanted(pending: Sequence[Request], programs: Mapping[str, ProgramRules]) -> Counter[ReservedKey]:
    """How many codes each campaign and scenario of the batch requests from programs with reservations."""
    with_reservations = {name: program.id for name, program in programs.items() if program.has_reservations}
    # Most requests of a batch are of few campaigns and name the same programs, so they are counted first.
    messages = Counter(
        (one.event.campaign_id, one.names)
        for one in pending
        if isinstance(one.event, MessageEvent) and not one.event.preview
    )
    steps = Counter(
        (one.event.scenario_id, one.names)
        for one in pending
        if isinstance(one.event, StepEvent) and not one.event.preview
    )
    wanted: Counter[ReservedKey] = Counter()
    for source, alike in (("campaign", messages), ("scenario", steps)):
        for (id_, names), number in alike.items():
            for name in with_reservations.keys() & set(names):
                wanted[ReservedKey(with_reservations[name], Scope(source, id_))] += number * names.count(name)
    return wanted


async def _lock_enough(connection: Connection, wanted: Counter[ReservedKey]) -> dict[ReservedKey, LockedReservation]:
    """Lock blocks until they hold the wanted number of codes, or no unlocked block is left."""
    blocks_max = dict.fromkeys(wanted, 1)
    while True:
        locked = await reserved_queries.lock(connection, blocks_max)
        short = [
            key
            for key, (_, _, blocks) in locked.items()
            if len(blocks) == blocks_max[key] and sum(block.left for block in blocks) < wanted[key]
        ]
        if not short:
            return locked
        for key in short:
            blocks_max[key] *= 4
