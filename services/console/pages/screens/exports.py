"""Export the codes of a program to a file."""

from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import Response

from codewell.codes.export import COLUMNS
from codewell.profiles import profiles
from schemas.api import Code, CountedCodes
from schemas.overview import ProgramStock
from schemas.program import State
from services.console.pages.api_calls import part
from services.console.pages.masking import Masking
from services.console.pages.recent_sign_in import require_recent_sign_in
from services.console.pages.visit import CurrentVisit, Visit
from services.console.pages.words import _

router = APIRouter(prefix="/programs/{name}", include_in_schema=False)
# Codes whose lines are measured for the estimate.
_SAMPLE: Final = 50
_DEFAULT_LINE_BYTES: Final = 80
# A time with microseconds, as the file has it.
_MOMENT_BYTES: Final = len("2027-01-31T12:00:00.000000Z")
_SEPARATORS_BYTES: Final = len(COLUMNS) + 1


class Estimate(NamedTuple):
    """A choice of states, with the rows and bytes that its file has at most, or about."""

    state: str
    words: str
    rows: int
    bytes: int
    is_most: bool


@router.get("/export")
async def show_choices(visit: CurrentVisit, name: str) -> Response:
    """What the file is to have, and how large it will be."""
    visit.require("read")
    now = await visit.api.get(f"/overview/{part(name)}", ProgramStock)
    sample = await visit.api.get(f"/programs/{part(name)}/codes", CountedCodes, {"limit": _SAMPLE})
    names = await _profile_fields(visit)
    return visit.render(
        "screens/export.html", now=now, program=now.program, estimates=_estimates(now, sample.items),
        profile_fields=names, may_export=Masking(visit.session.caller).may_show,
    )  # fmt: skip


@router.get("/export/codes.csv")
async def download(
    visit: CurrentVisit,
    name: str,
    fields: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    state: str = "",
    form: str = "safe",
) -> Response:
    """The file, as the API streams it. It has the texts of all codes, so it is for those who may press *Show*."""
    visit.require("write", "redeem")
    # Refuses another group's program before a sign-in is asked for.
    await visit.api.get(f"/overview/{part(name)}", ProgramStock)
    if fields:
        await require_recent_sign_in(visit)
    query = {
        "state": state or None, "fields": ",".join(fields) or None, "raw": form == "raw", "excel": form == "safe",
    }  # fmt: skip
    return visit.api.stream(f"/programs/{part(name)}/codes.csv", query)


async def _profile_fields(visit: Visit) -> list[str]:
    """The names of the fields that profiles have; none for a person who may not see them."""
    if not visit.session.caller.sees_profiles:
        return []
    async with visit.here.pool.acquire() as connection:
        return await profiles.field_names(connection)


def _estimates(now: ProgramStock, sample: list[Code]) -> list[Estimate]:
    """For each choice of states, from the counters of blocks: codes are never counted one by one."""
    line = sum(map(_line_bytes, sample)) // len(sample) if sample else _DEFAULT_LINE_BYTES
    counted: list[tuple[State | None, str, int, bool]] = [
        (None, _("All codes"), now.made + now.imported, False),
        ("pooled", _("Pooled"), now.pooled, False),
        ("attached", _("Attached"), now.attached, True),
        ("held", _("Held"), now.attached, True),
        ("activated", _("Activated"), now.attached, True),
        ("expired", _("Expired"), now.expired + now.attached, True),
        ("deleted", _("Deleted"), now.deleted, False),
    ]
    return [Estimate(state or "", words, rows, rows * line, most) for state, words, rows, most in counted]


def _line_bytes(code: Code) -> int:
    texts = (code.code, code.state, code.profile_id or "", *code.fields.values())
    moments = sum(_MOMENT_BYTES for at in (code.attached_at, code.activated_at, code.expires_at) if at is not None)
    return sum(len(text.encode()) for text in texts) + moments + len(code.fields) + _SEPARATORS_BYTES
