"""Generate codes: the form, and the first of those that were made."""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response

from codewell.reasons import ProblemReason
from schemas.api import Code, CountedCodes, Generated
from schemas.overview import ProgramStock
from services.console.pages import forms
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.forms import Form
from services.console.pages.masking import Masking
from services.console.pages.numbers import whole_number
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _

router = APIRouter(prefix="/programs/{name}", include_in_schema=False)
FIRST_CODES: Final = 20
_FIELD: Final = "field."
# The field of the form at which a refusal stands.
_PLACES: Final[dict[ProblemReason, str]] = {
    "maximum_reached": "count",
    "template_exhausted": "count",
    "order_too_large": "count",
    "code_shared": "profiles",
    "profiles_required": "profiles",
    "profile_repeated": "profiles",
    "profile_has_code": "profiles",
}
_Errors = dict[str, tuple[str, str]]
_Batch = Annotated[str, Query(max_length=100)]


@router.get("/generate")
async def show_form(visit: CurrentVisit, name: str) -> Response:
    """How many codes, with which fields and for which profiles."""
    visit.require("write")
    return await _form(visit, name, {}, {}, forms.new_key())


@router.post("/generate")
async def generate(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """Make the codes, once for the form's key."""
    visit.require("write")
    key, values = form.key, dict(form.items())
    profiles = _profiles(form)
    count, errors = _count(form, len(profiles))
    if not errors:
        fields = {
            field.removeprefix(_FIELD): text.strip()
            for field, text in values.items()
            if field.startswith(_FIELD) and text.strip()
        }
        body = {"count": count, "fields": fields, "profiles": [one for _line, one in profiles] or None}
        try:
            answer = await visit.api.send("POST", f"/programs/{part(name)}/codes:generate", body, key=key)
        except ApiRefusal as refusal:
            if refusal.status in {401, 403, 404}:
                raise
            errors = await _errors(visit, name, refusal, fields, profiles)
            # Nothing was done. A refusal is stored under its key; what failed for now may be sent again as it is.
            key = key if refusal.status >= 500 else forms.new_key()
        else:
            return visit.go(_result_url(name, Generated.model_validate_json(answer), count or len(profiles)))
    return await _form(visit, name, values, errors, key)


@router.get("/generated")
async def show_result(visit: CurrentVisit, name: str, made: int, batch: _Batch | None = None) -> Response:
    """The first codes that were made, read by their batch: to load the page again makes none."""
    return await _result(visit, name, made, batch, await _codes(visit, name, batch), Masking(visit.session.caller))


@router.post("/generated")
async def show_texts(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """The same with the texts of codes, which is recorded."""
    batch = form.text("batch")
    # Refuses another group's program, and what is no batch, before anything is recorded.
    codes = await _codes(visit, name, batch)
    async with visit.here.pool.acquire() as connection:
        masking = await Masking.shown(connection, visit.session.caller, name, batch=batch)
    return await _result(visit, name, whole_number(form.text("made")) or 0, batch, codes, masking)


async def _form(visit: Visit, name: str, values: Mapping[str, str], errors: _Errors, key: str) -> Response:
    now = await _program(visit, name)
    left = max(0, now.program.codes_max - now.made - now.imported - now.on_order)
    return visit.render(
        "screens/generate.html", status=422 if errors else 200, now=now, program=now.program, left=left,
        values=values, errors=errors, key=key,
    )  # fmt: skip


async def _codes(visit: Visit, name: str, batch: str | None) -> list[Code]:
    """The first codes of a batch; none for codes that a remote service makes."""
    if batch is None:
        return []
    path = f"/programs/{part(name)}/codes"
    return (await visit.api.get(path, CountedCodes, {"batch": batch, "limit": FIRST_CODES})).items


async def _result(
    visit: Visit, name: str, made: int, batch: str | None, codes: list[Code], masking: Masking
) -> Response:
    now = await _program(visit, name)
    return visit.render(
        "screens/generated.html", now=now, program=now.program, made=made, batch=batch, codes=codes, masking=masking
    )


async def _program(visit: Visit, name: str) -> ProgramStock:
    return await visit.api.get(f"/overview/{part(name)}", ProgramStock)


def _count(form: Form, profiles: int) -> tuple[int | None, _Errors]:
    """The number of codes, which lines of profiles say too."""
    text = form.text("count")
    if not text and form.text("profiles"):
        return None, {}
    count = whole_number(text)
    if count is None or count < 1:
        return None, {"count": (_("Number of codes"), _("Give a whole number from 1, such as 10,000."))}
    if profiles not in {0, count}:
        words = _("This is not the number of profiles, %(profiles)s: leave it out, or correct the list.")
        return None, {"count": (_("Number of codes"), words % {"profiles": f"{profiles:,}"})}
    return count, {}


def _profiles(form: Form) -> list[tuple[int, str]]:
    """The number of each line that is not empty, and the profile in it."""
    lines = enumerate(form.text("profiles").splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


async def _errors(
    visit: Visit, name: str, refusal: ApiRefusal, fields: Mapping[str, str], profiles: list[tuple[int, str]]
) -> _Errors:
    """Each sentence of a refusal at its field; what belongs to no field stands in the summary alone."""
    labels = {"count": _("Number of codes"), "profiles": _("Profiles")}
    found: _Errors = {}
    for pointer, words in refusal.errors.items():
        head, _slash, rest = pointer.partition("/")
        if head == "profiles" and rest.isdigit() and int(rest) < len(profiles):
            words = _("Line %(line)d %(words)s.") % {"line": profiles[int(rest)][0], "words": words}  # noqa: PLW2901
            found.setdefault("profiles", (labels["profiles"], words))
        elif head == "fields" and rest:
            found[_FIELD + rest] = (rest, f"{rest} {words}.")
        else:
            label = labels.get(head, "")
            found[head] = (label, f"{label or head} {words}.")
    if found:
        return found
    if refusal.reason == "field_required":
        program = (await _program(visit, name)).program
        missing = [field.name for field in program.fields if field.required and field.name not in fields]
        return {_FIELD + field: (field, _("Give a value.")) for field in missing} or {"": ("", refusal.detail)}
    place = next((place for reason, place in _PLACES.items() if reason == refusal.reason), "")
    return {place: (labels.get(place, ""), refusal.detail)}


def _result_url(name: str, generated: Generated, made: int) -> str:
    url = f"/programs/{part(name)}/generated?made={made}"
    return url if generated.batch is None else f"{url}&batch={part(generated.batch)}"
