"""What people and monitoring are told of each program, compared with the model: its overview, its stock, its level."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.pool.levels import PoolLevel, levels
from codewell.programs import overview
from codewell.programs.overview import ProgramSummary
from schemas.program import Stock
from tests.integration.model.model import Model, Program

_STATES: Final = {
    None: "active",
    "program_inactive": "off",
    "program_not_started": "not started",
    "program_ended": "ended",
}


class Figures(NamedTuple):
    """All of one moment, by the name of the program."""

    overview: dict[str, ProgramSummary]
    stocks: dict[str, Stock]
    levels: dict[str, PoolLevel]


async def figures(connection: Connection, names: list[str]) -> Figures:
    """What is told of these programs; of those that are removed only their stock."""
    return Figures(
        {one.program.name: one for one in await overview.overview(connection)},
        {name: await overview.stock(connection, name) for name in names},
        {one.program: one for one in await levels(connection, len(names))},
    )


def wrong_figures(model: Model, seen: Figures) -> Iterator[str]:
    """Sentences on figures that are not those of the model."""
    listed = {one.name for one in model.programs.values() if not one.removed}
    if seen.overview.keys() != listed:
        yield f"the overview has {sorted(seen.overview)}, and there are {sorted(listed)}"
    for program in model.programs.values():
        stock = _stock(model, program)
        if seen.stocks[program.name] != stock:
            yield f"I4: the stock is {seen.stocks[program.name]}, and should be {stock}"
        glance = seen.overview.get(program.name)
        state = _STATES[program.closed_reason(model.day)]
        expected = (state, stock.pooled, stock.made + stock.imported)
        if glance is not None and (glance.state, glance.pooled, glance.had) != expected:
            yield f"I4: the overview is {glance}, and should be {expected}"
        level = _level(program, stock) if state == "active" and not program.shared else None
        if seen.levels.get(program.name) != level:
            yield f"I4: the level is {seen.levels.get(program.name)}, and should be {level}"


def _stock(model: Model, program: Program) -> Stock:
    states = Counter(code.state for code in program.codes.values())
    pooled = model.pooled(program)
    return Stock(
        program=program.name,
        made=program.made,
        imported=program.imported,
        pooled=pooled,
        reserved=0,
        attached=states["attached"] + states["activated"] + states["archived"],
        activated=states["activated"] + sum(code.was_used for code in program.codes.values()),
        expired=states["pooled"] - pooled,
        deleted=states["deleted"],
        on_order=0,
        codes_max=program.codes_max,
        pool_max=program.pool_max,
    )


def _level(program: Program, stock: Stock) -> PoolLevel:
    is_filled = program.may_create("campaign") or program.may_create("scenario")
    return PoolLevel(
        program.name,
        stock.pooled,
        stock.pool_max if is_filled else None,
        stock.made + stock.imported,
        stock.codes_max,
    )
