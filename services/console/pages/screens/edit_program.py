"""Change a program: its form on a draft, a look at the changes, and what to do when another person was faster."""

from typing import Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import ValidationError

from codewell.programs.drafts import Draft
from codewell.programs.revision import revision_of
from codewell.validation import mistake
from schemas.program import Program, ProgramSettings, RemoteSource
from services.console.http.problems import HttpProblem
from services.console.pages import draft_desk
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.draft_words import changed_settings, changes, unaffected
from services.console.pages.program_form import STEPS, fields_of, settings_of, taken_over
from services.console.pages.program_merge import conflicts, merged
from services.console.pages.visit import CurrentVisit, PostedForm, Visit

router = APIRouter(include_in_schema=False)
_EDIT: Final = "/programs/{name}/edit"


@router.get(_EDIT)
async def show_form(visit: CurrentVisit, name: str, draft: UUID | None = None) -> Response:
    """The program's settings to change, or a draft of that."""
    visit.require("write")
    if draft is None:
        program = await _program(visit, name)
        return await _page(visit, Draft(uuid4(), fields_of(program), name, program.model_dump_json()))
    known = await _draft(visit, name, draft)
    return visit.go(f"/programs/{part(name)}") if known.made else await _page(visit, known)


@router.post(_EDIT)
async def post_form(visit: CurrentVisit, name: str, form: PostedForm) -> Response:
    """Keep what was typed, and lead to the look at the changes."""
    visit.require("write")
    draft = await _posted(visit, name, form)
    await draft_desk.save(visit, draft)
    if form.text("insert"):
        draft = draft._replace(form=draft_desk.inserted(dict(draft.form), form))
        await draft_desk.save(visit, draft)
        return await _page(visit, draft)
    match form.text("go"):
        case "look":
            return await _page(visit, draft)
        case "test":
            return await _page(visit, draft, test=await _tested(visit, draft))
        case "later":
            return visit.go(f"/programs/{part(name)}")
    wrong = await draft_desk.faults(visit.api, dict(draft.form), STEPS, is_new=False)
    return await _page(visit, draft, wrong) if wrong else visit.go(_url(name, "review", draft))


@router.post(f"{_EDIT}/live")
async def show_live_parts(visit: CurrentVisit, name: str, form: PostedForm) -> Response:
    """Keep what is being typed, and show what it means."""
    visit.require("write")
    draft = await _posted(visit, name, form)
    await draft_desk.save(visit, draft)
    test = {"test": await _tested(visit, draft)} if form.text("go") == "test" else {}
    return await draft_desk.live_parts(visit, draft, STEPS, **test)


@router.get(f"{_EDIT}/review")
async def show_changes(visit: CurrentVisit, name: str, draft: UUID | None = None) -> Response:
    """What the draft would change, and what it leaves as it is."""
    known = await _open_draft(visit, name, draft)
    return known if isinstance(known, Response) else _review(visit, name, known)


@router.post(f"{_EDIT}/review")
async def save_changes(visit: CurrentVisit, name: str, form: PostedForm) -> Response:
    """Change the program, unless another person changed it meanwhile."""
    visit.require("write")
    draft = await _draft(visit, name, draft_desk.posted_id(form))
    if draft.made:
        return visit.go(f"/programs/{part(name)}")
    return await _save(visit, name, draft)


@router.get(f"{_EDIT}/conflict")
async def show_conflict(visit: CurrentVisit, name: str, draft: UUID | None = None) -> Response:
    """What another person changed meanwhile, beside the draft."""
    known = await _open_draft(visit, name, draft)
    if isinstance(known, Response):
        return known
    theirs = await _program(visit, name)
    found = conflicts(_base(known), _settings(known), theirs)
    seen = revision_of(theirs)
    return visit.render("screens/conflict.html", name=name, draft=known, found=found, seen=seen)


@router.post(f"{_EDIT}/conflict")
async def settle_conflict(visit: CurrentVisit, name: str, form: PostedForm) -> Response:
    """Take over what the other person changed, but for what the form decides otherwise, and look again."""
    visit.require("write")
    draft = await _draft(visit, name, draft_desk.posted_id(form))
    theirs = await _program(visit, name)
    if revision_of(theirs) != form.text("seen"):
        return visit.go(_url(name, "conflict", draft))
    mine = {setting.removeprefix("keep_") for setting, choice in form.items() if choice == "mine"}
    fields = merged(_base(draft), dict(draft.form), _settings(draft), theirs, mine)
    draft = draft._replace(form=fields, base=theirs.model_dump_json())
    await draft_desk.save(visit, draft)
    return visit.go(_url(name, "review", draft))


async def _open_draft(visit: Visit, name: str, draft: UUID | None) -> Draft | Response:
    """The draft that is to be looked at; else the way to a new one, or to the program that it has changed."""
    visit.require("write")
    if draft is None:
        await _program(visit, name)
        return visit.go(f"/programs/{part(name)}/edit")
    known = await _draft(visit, name, draft)
    return visit.go(f"/programs/{part(name)}") if known.made else known


async def _save(visit: Visit, name: str, draft: Draft) -> Response:
    base, wanted = _base(draft), settings_of(draft.form)
    changed = changed_settings(base, _settings(draft))
    if changed:
        # Uses that are the default would follow a change of `shared`.
        follow = ["uses"] if "shared" in changed else []
        body = {setting: wanted[setting] for setting in (*changed, *follow)}
        try:
            headers = {"If-Match": f'"{revision_of(base)}"'}
            await visit.api.send("PATCH", f"/programs/{part(name)}", body, headers=headers)
        except ApiRefusal as refusal:
            if refusal.reason == "program_changed":
                return visit.go(_url(name, "conflict", draft))
            return await _page(visit, draft, draft_desk.refused(refusal, dict(draft.form)))
    await draft_desk.finish(visit, draft, name)
    return visit.go(f"/programs/{part(name)}?did=changed")


def _review(visit: Visit, name: str, draft: Draft) -> Response:
    base, mine = _base(draft), _settings(draft)
    found = changes(base, mine)
    stays = unaffected([one.setting for one in found])
    return visit.render("screens/review.html", name=name, draft=draft, changes=found, stays=stays)


async def _page(visit: Visit, draft: Draft, wrong: dict[str, str] | None = None, **more: Any) -> Response:
    shown = await draft_desk.view(visit, draft, STEPS, wrong)
    if visit.request.method == "POST":
        # The draft is saved.
        shown["back"] = f"/programs/{part(draft.program or '')}/edit?draft={draft.id}"
    return visit.render("screens/edit_program.html", status=422 if wrong else 200, **(shown | more))


async def _program(visit: Visit, name: str) -> Program:
    return await visit.api.get(f"/programs/{part(name)}", Program)


async def _draft(visit: Visit, name: str, draft_id: UUID) -> Draft:
    """The person's draft of this program, while the person may see the program."""
    await _program(visit, name)
    draft = await draft_desk.found(visit, draft_id)
    return draft if draft.program == name else await draft_desk.found(visit, uuid4())


async def _posted(visit: Visit, name: str, form: PostedForm) -> Draft:
    program = await _program(visit, name)
    draft_id = draft_desk.posted_id(form)
    known = await draft_desk.find(visit, draft_id)
    if known is None:
        # Its first form brings what it began from, as the program may have been changed since.
        base = _begun_from(form.text("base"), name) or program
        known = Draft(draft_id, fields_of(base), name, base.model_dump_json())
    fields = taken_over(known.form, form, STEPS)
    # These are no fields of this form.
    return known._replace(form=fields | {one: known.form.get(one, "") for one in ("name", "source", "active")})


def _begun_from(text: str, name: str) -> Program | None:
    try:
        base = Program.model_validate_json(text, extra="ignore")
    except ValidationError:
        return None
    return base if base.name == name else None


def _base(draft: Draft) -> Program:
    return Program.model_validate_json(draft.base or "{}", extra="ignore")


def _settings(draft: Draft) -> ProgramSettings:
    """The draft as settings. Raises HttpProblem when one of them is not valid."""
    given = settings_of(draft.form)
    try:
        return ProgramSettings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        sentence = f"{mistake(error.errors()[0], 'The draft')}. Go back to the form, and correct it."
        raise HttpProblem("field_invalid", sentence) from error


async def _tested(visit: Visit, draft: Draft) -> object:
    source = _base(draft).source
    url = source.url if isinstance(source, RemoteSource) else None
    return await draft_desk.send_test(visit.api, dict(draft.form), draft.program, url)


def _url(name: str, page: str, draft: Draft) -> str:
    return f"/programs/{part(name)}/edit/{page}?draft={draft.id}"
