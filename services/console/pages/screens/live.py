"""The stream of figures for an open page."""

from functools import lru_cache
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import Response

from schemas.events import ShortName
from schemas.overview import ProgramStock
from schemas.program import Program
from schemas.usage import UsageSummary
from services.console.pages.live.sampler import PROGRAMS_MAX, Past, Sample, Wanted
from services.console.pages.live.stream import LiveStream, Parts
from services.console.pages.program_figures import ProgramFigures, figures_of
from services.console.pages.rendering import rendered_part
from services.console.pages.screens import operations
from services.console.pages.visit import LIVE, CurrentVisit, Visit

router = APIRouter(include_in_schema=False)
_PROGRAM: Final = "parts/live_program.html"
# Of a list of programs, and of the page of one.
_PROGRAM_PARTS: Final = ("pool", "today", "refused")
_STOCK_PARTS: Final = ("ready", "equation", "stock_facts")
_PAST_PARTS: Final = ("rates", "refusals", "point_rows", "level_rows")
_RENDERED_MAX: Final = 100


class ProgramView(NamedTuple):
    """A program's figures. Those that are None are not read."""

    program: Program
    pooled: int
    made: int
    usage: UsageSummary | None
    stock: ProgramStock | None
    figures: ProgramFigures | None


@router.get(LIVE)
async def stream_figures(
    visit: CurrentVisit,
    operations_page: Annotated[bool, Query(alias="operations")] = False,
    program: Annotated[list[ShortName] | None, Query(max_length=PROGRAMS_MAX)] = None,
    stock: bool = False,
) -> Response:
    """The parts of a page that change: of the operations, or of these programs, of which the person sees some.

    `stock`: the codes by state as well, for the page of one program.
    """
    if operations_page:
        visit.require("admin")
    names = tuple(dict.fromkeys(program or ()))
    if names:
        visit.require("read")
    wanted = Wanted(operations_page, names, stock and len(names) == 1)
    return LiveStream(
        visit.here.sampler, wanted, visit.session.id, lambda sample: _parts(visit, wanted, sample), visit.here.stop
    )


def _parts(visit: Visit, wanted: Wanted, sample: Sample) -> Parts:
    found = dict(operations.parts(sample)) if wanted.system else {}
    for name in wanted.programs:
        one = sample.programs.get(name)
        # Looked at each time, as access groups change. Of a program that there is not, and of another group's, nothing.
        if one is not None and visit.session.caller.sees(one.program.groups):
            id_ = one.program.id
            stock = sample.stocks.get(id_) if wanted.stock else None
            past = None if stock is None else sample.past[id_]
            figures = None if past is None else _figures(past)
            view = ProgramView(one.program, one.pooled, one.made, sample.usage.get(name), stock, figures)
            macros = _PROGRAM_PARTS if stock is None else _STOCK_PARTS
            found |= {f"live-{macro}-{id_}": rendered_part(_PROGRAM, macro, view) for macro in macros}
            if past is not None:
                found |= {f"live-{macro}-{id_}": html for macro, html in _past_parts(past).items()}
    return found


@lru_cache(_RENDERED_MAX)
def _figures(past: Past) -> ProgramFigures:
    return figures_of(past.usage, past.levels, past.expected, past.pooled, past.at)


@lru_cache(_RENDERED_MAX)
def _past_parts(past: Past) -> Parts:
    """Rendered once for all pages and seconds: two hundred rows."""
    view = {"figures": _figures(past)}
    return {macro: rendered_part(_PROGRAM, macro, view) for macro in _PAST_PARTS}
