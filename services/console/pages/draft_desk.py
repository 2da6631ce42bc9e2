"""What the screens that create and edit programs share: drafts of the person, checks, and the parts that are live."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from fastapi.responses import Response

from codewell.minting.template import TOKEN_KINDS
from codewell.programs import drafts
from codewell.programs.drafts import Draft, DraftOwner
from schemas.program import FALLBACK_REASONS
from schemas.remote_tests import RemoteTestResult
from schemas.templates import NameCheck, TemplatePreview
from services.console.http.problems import HttpProblem
from services.console.pages import program_form
from services.console.pages.api_calls import Api, ApiRefusal, part
from services.console.pages.draft_words import reason_in_words, summary
from services.console.pages.forms import Form
from services.console.pages.program_form import Fields, mistakes, settings_of
from services.console.pages.program_labels import label_of, labels, sentence
from services.console.pages.uses_words import refunds
from services.console.pages.visit import Visit
from services.console.pages.words import _

ROWS_BLANK: Final = 2
_JUDGED: Final = ("codes_max", "valid_from", "valid_until", "ttl", "shared")


def owner_of(visit: Visit) -> DraftOwner:
    """The person who is signed in, as the owner of drafts."""
    return DraftOwner(visit.session.kind, visit.session.person)


async def find(visit: Visit, draft_id: UUID) -> Draft | None:
    """The person's draft of this id, or None."""
    async with visit.here.pool.acquire() as connection:
        return await drafts.find(connection, owner_of(visit), draft_id)


async def found(visit: Visit, draft_id: UUID) -> Draft:
    """The person's draft of this id. Raises HttpProblem (404)."""
    draft = await find(visit, draft_id)
    if draft is None:
        raise HttpProblem("path_unknown", _("There is no such draft of yours: it may be discarded, or too old."))
    return draft


async def save(visit: Visit, draft: Draft) -> None:
    """Store the draft."""
    async with visit.here.pool.acquire() as connection:
        await drafts.save(connection, owner_of(visit), draft)


async def finish(visit: Visit, draft: Draft, made: str) -> None:
    """Note which program came of the draft."""
    async with visit.here.pool.acquire() as connection:
        await drafts.finish(connection, owner_of(visit), draft.id, made)


def posted_id(form: Form) -> UUID:
    """The id of the draft, which is the form's key."""
    return UUID(form.key)


def inserted(fields: Fields, form: Form) -> Fields:
    """The fields with the token that a button of the form adds to the template."""
    added = form.text("insert")
    if added == "own":
        characters = "".join(f"\\{one}" if one in "{}\\]" else one for one in form.text("own_characters"))
        added = f"{{[{characters}] {form.text('own_count')}}}"
    return {**fields, "template": fields.get("template", "") + added}


async def preview(api: Api, fields: Fields) -> TemplatePreview | None:
    """What the codes of the draft's template would be; None where it has none."""
    if fields.get("source") != "template":
        return None
    settings = settings_of(fields)
    known = {name: settings[name] for name in _JUDGED if settings[name] is not None}
    body = {"template": fields.get("template", "")}
    try:
        answer = await api.send("POST", "/templates:preview", body | known)
    except ApiRefusal:
        # Something else than the template is not valid yet.
        answer = await api.send("POST", "/templates:preview", body)
    return TemplatePreview.model_validate_json(answer)


async def name_check(api: Api, fields: Fields) -> NameCheck | None:
    """Whether the draft's short name is free; None while there is none."""
    name = fields.get("name", "")
    return await api.get("/programs:check-name", NameCheck, {"name": name[:1_000]}) if name else None


async def send_test(api: Api, fields: Fields, program: str | None, url: str | None) -> RemoteTestResult | str:
    """A test request to the draft's remote service, or why there was none. `url`: the one that the program has."""
    source = settings_of(fields)["source"]
    try:
        if program is not None and source["url"] == url:
            answer = await api.send("POST", f"/programs/{part(program)}/remote:test", {})
        else:
            answer = await api.send("POST", "/remote:test", _test_of(source))
    except ApiRefusal as refusal:
        return refusal.detail
    return RemoteTestResult.model_validate_json(answer)


def _test_of(source: dict[str, Any]) -> dict[str, Any]:
    return {name: source[name] for name in ("url", "request_max") if name in source}


async def faults(api: Api, fields: Fields, steps: Sequence[str], *, is_new: bool) -> dict[str, str]:
    """What is wrong with these steps, by field: by itself, by its template, and by its name."""
    wrong = mistakes(fields, steps)
    if is_new and "general" in steps and "name" not in wrong:
        checked = await name_check(api, fields)
        if checked is not None and not checked.free:
            wrong["name"] = checked.detail
    if "source" in steps and "template" not in wrong:
        shown = await preview(api, fields)
        if shown is not None and shown.error is not None:
            wrong["template"] = shown.error.detail
    return wrong


def refused(refusal: ApiRefusal, fields: Fields) -> dict[str, str]:
    """The faults that the API names, by field; those of no field stand under the empty name."""
    if refusal.reason == "template_guessable":
        return {"allow_guessable": refusal.detail}
    wrong = {
        program_form.field_of(pointer, fields): sentence(words) for pointer, words in refusal.errors.items() if pointer
    }
    return wrong or {"": refusal.detail}


async def view(visit: Visit, draft: Draft, steps: Sequence[str], wrong: dict[str, str] | None = None) -> dict[str, Any]:
    """What the templates of the forms need."""
    fields = {name: "" for names in program_form.OF_STEP.values() for name in names} | dict(draft.form)
    wrong = defaultdict(str, wrong or {})
    is_new = draft.program is None
    return {
        "draft": draft,
        "fields": fields,
        "steps": steps,
        "wrong": wrong,
        "summed_up": {name: (label_of(name), words) for name, words in wrong.items()},
        "labels": labels(),
        "fallback_reasons": [(f"fallback_{reason}", reason_in_words(reason)) for reason in FALLBACK_REASONS],
        "refunds": list(refunds().items()),
        "tokens": TOKEN_KINDS,
        "rows": program_form.rows_of(fields, ROWS_BLANK),
        "summary": summary(fields),
        "preview": await preview(visit.api, fields) if {"source", "settings"} & set(steps) else None,
        "name_check": await name_check(visit.api, fields) if is_new and "general" in steps else None,
        "test": None,
        "saved": False,
    }


async def live_parts(visit: Visit, draft: Draft, steps: Sequence[str], **more: Any) -> Response:
    """The parts of the form's page that follow what is typed."""
    return visit.render("screens/wizard/live.html", **(await view(visit, draft, steps) | {"saved": True} | more))
