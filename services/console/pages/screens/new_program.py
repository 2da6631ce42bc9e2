"""Create a program in three steps on one draft, or begin from another program's settings."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID, uuid4, uuid5

from fastapi import APIRouter
from fastapi.responses import Response

from codewell.programs import drafts
from codewell.programs.drafts import Draft
from schemas.program import Program
from services.console.pages import draft_desk, program_form
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.program_form import STEPS, Fields, fields_of, settings_of, step_of, taken_over
from services.console.pages.visit import CurrentVisit, PostedForm, Visit

router = APIRouter(include_in_schema=False)
_NEW: Final = "/programs/new"


@router.get(_NEW)
async def show_step(
    visit: CurrentVisit, draft: UUID | None = None, step: str = STEPS[0], like: str | None = None
) -> Response:
    """A step of the draft, or the first step of a new one, which may begin with the settings of the program `like`."""
    visit.require("write")
    if like is not None:
        return await _clone_page(visit, like)
    if draft is None:
        async with visit.here.pool.acquire() as connection:
            others = await drafts.unfinished(connection, draft_desk.owner_of(visit))
        return await _page(visit, Draft(uuid4(), _begun(visit)), STEPS[0], others=others)
    known = await draft_desk.found(visit, draft)
    if known.made is not None:
        return visit.go(f"/programs/{part(known.made)}")
    if known.program is not None:
        return visit.go(f"/programs/{part(known.program)}/edit?draft={known.id}")
    return await _page(visit, known, step if step in STEPS else STEPS[0])


@router.post(_NEW)
async def post_step(visit: CurrentVisit, form: PostedForm) -> Response:
    """Keep what was typed into a step, and do what its button says."""
    visit.require("write")
    draft, step = await _posted(visit, form)
    if draft.made is not None:
        return visit.go(f"/programs/{part(draft.made)}")
    await draft_desk.save(visit, draft)
    if form.text("insert"):
        draft = draft._replace(form=draft_desk.inserted(dict(draft.form), form))
        await draft_desk.save(visit, draft)
        return await _page(visit, draft, step)
    at = STEPS.index(step)
    match form.text("go"):
        case "back":
            answer = visit.go(_url(draft, STEPS[max(at - 1, 0)]))
        case "later":
            answer = visit.go("/programs?did=kept")
        case "look":
            answer = await _page(visit, draft, step)
        case "test":
            answer = await _page(visit, draft, step, test=await _tested(visit, draft))
        case "create":
            answer = await _create(visit, draft)
        case _:
            wrong = await draft_desk.faults(visit.api, dict(draft.form), [step], is_new=True)
            following = _url(draft, STEPS[min(at + 1, len(STEPS) - 1)])
            answer = await _page(visit, draft, step, wrong=wrong) if wrong else visit.go(following)
    return answer


@router.post(f"{_NEW}/live")
async def show_live_parts(visit: CurrentVisit, form: PostedForm) -> Response:
    """Keep what is being typed, and show what it means."""
    visit.require("write")
    draft, step = await _posted(visit, form)
    if draft.made is None:
        await draft_desk.save(visit, draft)
    test = {"test": await _tested(visit, draft)} if form.text("go") == "test" else {}
    return await draft_desk.live_parts(visit, draft, [step], **test)


@router.post("/programs/drafts/discard")
async def discard_draft(visit: CurrentVisit, form: PostedForm) -> Response:
    """Delete a draft."""
    visit.require("write")
    async with visit.here.pool.acquire() as connection:
        await drafts.discard(connection, draft_desk.owner_of(visit), draft_desk.posted_id(form))
    return visit.go("/programs?did=discarded")


async def _posted(visit: Visit, form: PostedForm) -> tuple[Draft, str]:
    """The draft with what was posted, and its step."""
    draft_id = draft_desk.posted_id(form)
    step = form.text("step")
    step = step if step in STEPS else STEPS[0]
    known = await draft_desk.find(visit, draft_id)
    if known is None:
        known = Draft(draft_id, _begun(visit) | _carried(form))
    return known._replace(form=taken_over(known.form, form, [step])), step


def _carried(form: PostedForm) -> Fields:
    """The fields of the other steps that the first page of a clone brings with it."""
    prefix = "kept_"
    return {name.removeprefix(prefix): value for name, value in form.items() if name.startswith(prefix)}


def _begun(visit: Visit) -> Fields:
    return program_form.NEW | {"groups": ", ".join(visit.session.caller.groups)}


async def _create(visit: Visit, draft: Draft) -> Response:
    fields = dict(draft.form)
    wrong = await draft_desk.faults(visit.api, fields, STEPS, is_new=True)
    settings = {name: value for name, value in settings_of(fields).items() if value is not None}
    if not wrong:
        # The same draft is the same request, so that a second click or a step back creates no second program. Once it
        # is refused, it is another one: what was in the way may be gone.
        key = str(uuid5(draft.id, repr(sorted(fields.items()))))
        try:
            await visit.api.send("POST", "/programs", settings, key=key)
        except ApiRefusal as refusal:
            wrong = draft_desk.refused(refusal, fields)
            draft = draft._replace(form=fields | {"refused": key})
            await draft_desk.save(visit, draft)
    if wrong:
        return await _page(visit, draft, _first_step(wrong), wrong=wrong)
    await draft_desk.finish(visit, draft, settings["name"])
    # A person who may create programs and not read them cannot see the page of one.
    made = f"/programs/{part(settings['name'])}" if visit.may("read") else "/programs"
    return visit.go(f"{made}?did=created")


async def _clone_page(visit: Visit, name: str) -> Response:
    of = await visit.api.get(f"/programs/{part(name)}", Program)
    fields = fields_of(of) | {"name": "", "active": "on"}
    return await _page(visit, Draft(uuid4(), fields), STEPS[0], cloned=of)


def _first_step(wrong: dict[str, str]) -> str:
    """The earliest step with a fault."""
    steps: Sequence[str] = [step_of(field) for field in wrong]
    return min(steps, key=STEPS.index)


async def _tested(visit: Visit, draft: Draft) -> object:
    return await draft_desk.send_test(visit.api, dict(draft.form), None, None)


async def _page(visit: Visit, draft: Draft, step: str, wrong: dict[str, str] | None = None, **more: Any) -> Response:
    shown = await draft_desk.view(visit, draft, [step], wrong)
    back = {"back": _url(draft, step)} if visit.request.method == "POST" else {}
    always: dict[str, Any] = back | {
        "step": step,
        "others": [],
        "cloned": None,
        "urls": [_url(draft, one) for one in STEPS],
    }
    return visit.render("screens/wizard.html", status=422 if wrong else 200, **(shown | always | more))


def _url(draft: Draft, step: str) -> str:
    return f"{_NEW}?{urlencode({'draft': draft.id, 'step': step})}"
