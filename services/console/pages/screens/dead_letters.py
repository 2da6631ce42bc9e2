"""Dead letters: list, one complete letter, replay and purge. For operators: administrators without access groups."""

from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any, Final, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from schemas.api import Page as ApiPage
from schemas.dead_letters import CompleteLetter, ListedLetter, PurgedLetters, ReplayedLetters
from schemas.events import DeadReason
from schemas.topics import DECIDED
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_PATH: Final = "/operations/dead-letters"
_ROWS: Final = 50
# A page repeats the steps of a replay or purge for so long, then offers to go on.
_STEPS_TIME_S: Final = 10.0
_FILTERS: Final = ("topic", "reason", "since", "until", "profile", "at")


@dataclass(frozen=True)
class LetterFilters:
    """What the list shows, as its URL says it; "" is no filter."""

    topic: str = ""
    reason: str = ""
    since: str = ""
    until: str = ""
    profile: str = ""
    at: str = ""

    @property
    def given(self) -> dict[str, str]:
        """The filters that are set."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def body(self) -> dict[str, Any]:
        """The filters as the API takes them in a body."""
        return self.given | ({"at": [self.at]} if self.at else {})

    def url(self, page: str = "", cursor: str = "") -> str:
        """A page of the same filters."""
        words = urlencode(self.given | ({"cursor": cursor} if cursor else {}))
        return f"{_PATH}{page}?{words}" if words else f"{_PATH}{page}"


def _filters(given: Any) -> LetterFilters:
    return LetterFilters(**{name: str(given.get(name, "")).strip() for name in _FILTERS})


@router.get(_PATH)
async def list_letters(visit: CurrentVisit, request: Request, cursor: str = "", did: str = "") -> Response:
    """Fifty letters, newest first."""
    visit.require("admin")
    filters = _filters(request.query_params)
    found, error = ApiPage[ListedLetter](items=[], next_cursor=None), ""
    try:
        found = await visit.api.get(
            "/dead-letters", ApiPage[ListedLetter], {"limit": _ROWS, **filters.given, "cursor": cursor or None}
        )
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        error = refusal.detail
    return visit.render(
        "screens/dead_letters.html", status=422 if error else 200, letters=found.items, filters=filters, error=error,
        topics=[("", _("All topics")), *((name, name) for name in DECIDED)],
        reasons=[("", _("All reasons")), *((name, name) for name in get_args(DeadReason))],
        next_url=filters.url(cursor=found.next_cursor) if found.next_cursor else "",
        first_url=filters.url() if cursor else "", done=_done(did),
    )  # fmt: skip


@router.get(_PATH + "/replay")
async def ask_replay(visit: CurrentVisit, request: Request, again: bool = False) -> Response:
    """How many events a replay would publish, and the button that does it."""
    filters = _filters(request.query_params)
    return await _ask(visit, "replay", filters, ReplayedLetters, {"again": again})


@router.get(_PATH + "/purge")
async def ask_purge(visit: CurrentVisit, request: Request, unreplayed: bool = False) -> Response:
    """How many letters a purge would remove, and the form that does it."""
    filters = _filters(request.query_params)
    return await _ask(visit, "purge", filters, PurgedLetters, {"unreplayed": unreplayed})


@router.get(_PATH + "/{at}")
async def show_letter(visit: CurrentVisit, at: str) -> Response:
    """One letter with its event."""
    visit.require("admin")
    letter = await visit.api.get(f"/dead-letters/{part(at)}", CompleteLetter)
    filters = LetterFilters(at=at)
    return visit.render(
        "screens/dead_letter.html", letter=letter, replay_url=filters.url("/replay"), purge_url=filters.url("/purge")
    )


@router.post(_PATH + "/replay")
async def replay(visit: CurrentVisit, form: PostedForm) -> Response:
    """Replay in steps for some seconds; what is left over goes on with another press of the button."""
    return await _do(visit, "replay", form, ReplayedLetters, {"again": form.is_on("again")}, "replayed")


@router.post(_PATH + "/purge")
async def purge(visit: CurrentVisit, form: PostedForm) -> Response:
    """Purge, once the word was typed, as a replay does."""
    options = {"unreplayed": form.is_on("unreplayed")}
    if form.text("typed") != "purge":
        error = _("Type the word %(word)s.") % {"word": "purge"}
        return await _ask(visit, "purge", _form_filters(form), PurgedLetters, options, error)
    return await _do(visit, "purge", form, PurgedLetters, options, "purged")


async def _ask(
    visit: Visit, verb: str, filters: LetterFilters, shape: type[BaseModel], options: dict[str, bool], error: str = ""
) -> Response:
    visit.require("admin")
    counts, after = await _steps(visit, verb, filters.body | options | {"dry_run": True}, shape, "", "")
    return _confirm(visit, verb, filters, options, counts, 422 if error else 200, is_partial=bool(after), error=error)


async def _do(
    visit: Visit, verb: str, form: PostedForm, shape: type[BaseModel], options: dict[str, bool], counted: str
) -> Response:
    visit.require("admin")
    filters = _form_filters(form)
    counts, after = await _steps(visit, verb, filters.body | options, shape, form.text("cursor"), form.key)
    if after:
        return _confirm(visit, verb, filters, options, counts, cursor=after)
    return visit.go(f"{_PATH}?did={counted}-{counts[counted]}")


def _confirm(
    visit: Visit, verb: str, filters: LetterFilters, options: dict[str, bool], counts: dict[str, int],
    status: int = 200, *, is_partial: bool = False, cursor: str = "", error: str = "",
) -> Response:  # fmt: skip
    chosen = {name: "on" for name, is_on in options.items() if is_on}
    return visit.render(
        f"screens/dead_letters_{verb}.html", status=status, counts=counts, filters=filters, is_partial=is_partial,
        fields=filters.given | chosen | ({"cursor": cursor} if cursor else {}), cursor=cursor, options=options,
        action=f"{_PATH}/{verb}", error=error,
    )  # fmt: skip


async def _steps(
    visit: Visit, verb: str, body: dict[str, Any], shape: type[BaseModel], cursor: str, key: str
) -> tuple[dict[str, int], str]:
    """Do steps for some seconds: the sums of their counts, and the cursor of what is left; "" for nothing."""
    sums: dict[str, int] = {}
    began_s, number = monotonic(), 0
    while number == 0 or (cursor and monotonic() - began_s < _STEPS_TIME_S):
        given = body | ({"cursor": cursor} if cursor else {})
        step_key = f"{key}/{number}" if key else None
        answer = shape.model_validate_json(
            await visit.api.send("POST", f"/dead-letters:{verb}", given, key=step_key)
        ).model_dump()
        cursor, number = answer.pop("next_cursor") or "", number + 1
        answer.pop("dry_run")
        sums = {name: sums.get(name, 0) + count for name, count in answer.items()}
    return sums, cursor


def _form_filters(form: PostedForm) -> LetterFilters:
    return LetterFilters(**{name: form.text(name) for name in _FILTERS})


def _done(did: str) -> str:
    """What was done, as the URL after it says: `replayed-12`."""
    verb, dash, count = did.partition("-")
    if not dash or not count.isdecimal() or len(count) > 12:
        return ""
    words = {
        "replayed": _("Events that were replayed: %(count)s."),
        "purged": _("Letters that were purged: %(count)s."),
    }
    return words[verb] % {"count": f"{int(count):,}"} if verb in words else ""
