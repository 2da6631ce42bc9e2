"""Prompts for a program's settings in three steps: general data, source of the codes, and how they are given."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import click
from pydantic import ValidationError

from codewell.errors import CodewellError, ProgramRefused
from codewell.validation import first_mistake
from schemas.amounts import CODES_MAX_LIMIT
from schemas.program import FALLBACK_REASONS, POOL_MAX_DEFAULT, ProgramSettings
from schemas.uses import uses_default
from services.cli.output import say
from services.cli.program_settings import NO_LIMIT, custom_field

# Placeholder for settings not asked yet, so that each answer can be validated together with the previous ones.
_UNASKED: Final = {"name": "X", "codes_max": CODES_MAX_LIMIT, "source": {"kind": "template", "template": "X"}}

Check = Callable[[ProgramSettings], None]
_T = TypeVar("_T")


class Question(NamedTuple):
    """One setting: its prompt, its parser, and its default as typed text."""

    field: str
    text: str
    read: Callable[[str], object]
    default: str | None = None


def _text(answer: str) -> str | None:
    return answer.strip() or None


def _words(answer: str) -> list[str]:
    return [word.strip() for word in answer.split(",") if word.strip()]


def _fields(answer: str) -> list[dict[str, Any]]:
    return [custom_field(word) for word in _words(answer)]


def _programs(answer: str) -> list[dict[str, str]]:
    return [{"program": word} for word in _words(answer)]


def _limit(answer: str) -> int | None:
    return None if answer.strip().lower() == NO_LIMIT else _number(answer)


def _number(answer: str) -> int:
    try:
        return int(answer.replace(",", ""))
    except ValueError as error:
        raise ProgramRefused(f"{answer!r} is not a whole number: write digits only.") from error


def _yes(answer: str) -> bool:
    if answer.strip().lower() not in {"y", "yes", "n", "no"}:
        raise ProgramRefused("Answer yes or no.")
    return answer.strip().lower().startswith("y")


def _source(answer: str) -> dict[str, str]:
    if answer.strip().lower() == "import":
        return {"kind": "import"}
    if answer.strip().lower().startswith(("http://", "https://")):
        return {"kind": "remote", "url": answer.strip()}
    # NumPy, which it needs, would take a fifth of the start of every other command.
    from codewell.minting.template import Template

    return {"kind": "template", "template": Template.parse(answer).text}


_NAME: Final = Question("name", "Short name, as in {loyalty.NAME.promocode}", str.strip)
_GENERAL: Final = (
    Question("title", "Name", _text, ""),
    Question("description", "Short description", _text, ""),
    Question("groups", "Access groups, comma-separated", _words, ""),
    Question("valid_from", "Valid from, e.g. 2026-12-01 (empty: always)", _text, ""),
    Question("valid_until", "Valid until, e.g. 2026-12-31, its end (empty: no limit)", _text, ""),
)
_SOURCE: Final = Question(
    "source", "Template, e.g. {string 4}-{number 4}-{upstring 4}; the URL of a remote service; or import", _source
)
_REQUEST_MAX: Final = Question("request_max", "Maximum codes per request", _number, "500")
_MAXIMUM: Final = Question("codes_max", "Maximum number of codes", _number)
_GUESSABLE: Final = Question("allow_guessable", "Accept codes that can be guessed", _yes, "no")
_SWITCHES: Final = (
    Question("scenario_can_create", "Scenario can create codes", _yes, "no"),
    Question("campaign_can_create", "Campaign can create codes", _yes, "no"),
    Question("shared", "One code for many profiles", _yes, "no"),
    Question("auto_link", "Link automatically: generated and imported codes need a profile each", _yes, "no"),
)
_USES: Final = (
    Question("per_code", "How often a code may be used, or any", _limit),
    Question("per_profile", "How often one customer may use a code, or any", _limit),
)
_FALLBACK: Final = Question(
    "fallback", "Programs that give a code where this one has none, comma-separated, up to 3", _programs, ""
)
_LIFE: Final = (
    Question("ttl", "Time to live, e.g. P30D (empty: no limit)", _text, ""),
    Question("ttl_from", "Time to live starts at creation or attachment", str.strip, "creation"),
    Question("reuse", "Reuse a code for the same request, profile, campaign or step", str.strip, "request"),
    _FALLBACK,
    Question("fields", "Custom fields as NAME[:required][:discard], comma-separated", _fields, ""),
)
_FALLBACK_ON: Final = Question("fallback_on", "Reasons for which they are asked, comma-separated", _words)


def interview(
    given: Mapping[str, Any], check_name: Callable[[str], None], check: Check, check_fallback: Check
) -> dict[str, Any]:
    """Prompt on standard error for all settings; values that are given already are defaults, and are validated.

    A question is repeated until its answer is valid: `check_name` raises CodewellError for a name that is taken,
    `check` for a template that is too small for the maximum or can be guessed, `check_fallback` for programs that can
    be no fallbacks.
    """
    _settings(given)
    answers = dict(given)
    _say("1. General")
    answers = _ask_name(answers, check_name)
    for question in _GENERAL:
        answers = _ask(answers, question)
    _say("2. Where codes come from")
    answers = _ask_source(answers)
    _say("3. Settings")
    for question in _SWITCHES:
        answers = _ask(answers, question)
    answers = _ask_maximum(answers, check)
    ready = str(min(answers["codes_max"], POOL_MAX_DEFAULT))
    answers = _ask(answers, Question("pool_max", "Pool size: codes kept ready", _number, ready))
    answers = _ask_uses(answers)
    for question in _LIFE:
        answers = _ask_fallback(answers, check_fallback) if question is _FALLBACK else _ask(answers, question)
    return answers


def _ask_fallback(answers: dict[str, Any], check: Check) -> dict[str, Any]:
    """Prompt for other programs until all may be fallbacks of this one, and for the reasons to ask them."""
    while True:
        answers = _ask(answers, _FALLBACK)
        if not answers["fallback"]:
            return answers
        problem = _problem(check, _settings(answers))
        if problem is None:
            return _ask(answers, _FALLBACK_ON._replace(default=", ".join(FALLBACK_REASONS)))
        _say(f"   {problem}")
        del answers["fallback"]


def _ask_uses(answers: dict[str, Any]) -> dict[str, Any]:
    """Prompt for both limits, whose defaults follow from `shared`; the defaults themselves are left out."""
    limits = _settings(answers).uses.model_dump()
    for question in _USES:
        now = limits[question.field]
        default = NO_LIMIT if now is None else str(now)
        while True:
            try:
                asked = limits | {question.field: question.read(_answer(question.text, default))}
                _settings({**answers, "uses": asked})
            except CodewellError as error:
                _say(f"   {error}")
            else:
                limits = asked
                break
    is_default = limits == uses_default(shared=answers["shared"]).model_dump()
    return {name: value for name, value in answers.items() if name != "uses"} if is_default else {
        **answers, "uses": limits
    }  # fmt: skip


def _ask_name(answers: dict[str, Any], check_name: Callable[[str], None]) -> dict[str, Any]:
    while True:
        answers = _ask(answers, _NAME)
        problem = _problem(check_name, answers["name"])
        if problem is None:
            return answers
        _say(f"   {problem}")
        del answers["name"]


def _ask_maximum(answers: dict[str, Any], check: Check) -> dict[str, Any]:
    """Prompt for the maximum; when the template does not fit it, for another template or a confirmation."""
    answers = _ask(answers, _MAXIMUM)
    while (problem := _problem(check, _settings(answers))) is not None:
        _say(f"   {problem}")
        meant = {**answers, "allow_guessable": True}
        if _problem(check, _settings(meant)) is None and _ask(answers, _GUESSABLE)["allow_guessable"]:
            return meant
        answers = _ask(_ask_source(answers), _MAXIMUM)
    return answers


def _ask_source(answers: dict[str, Any]) -> dict[str, Any]:
    answers = _ask(answers, _SOURCE)
    if answers["source"]["kind"] != "remote":
        return answers
    while True:
        try:
            most = _number(_answer(_REQUEST_MAX.text, _REQUEST_MAX.default))
            asked = {**answers, "source": {**answers["source"], "request_max": most}}
            _settings(asked)
        except CodewellError as error:
            _say(f"   {error}")
        else:
            return asked


def _ask(answers: dict[str, Any], question: Question) -> dict[str, Any]:
    default = _typed(answers.get(question.field)) or question.default
    while True:
        try:
            asked = {**answers, question.field: question.read(_answer(question.text, default))}
            asked = {field: value for field, value in asked.items() if value is not None}
            _settings(asked)
        except CodewellError as error:
            _say(f"   {error}")
        else:
            return asked


def _answer(text: str, default: str | None) -> str:
    """The typed answer, or the default. The prompt is on standard error: standard output is for the result."""
    while True:
        say(f"{text} [{default}]: " if default else f"{text}: ", nl=False, err=True)
        try:
            answer = input()
        except (EOFError, KeyboardInterrupt) as end:
            raise click.Abort from end
        if answer or default is not None:
            return answer or default or ""


def _settings(answers: Mapping[str, Any]) -> ProgramSettings:
    try:
        return ProgramSettings.model_validate({**_UNASKED, **answers})
    except ValidationError as error:
        raise ProgramRefused(f"{first_mistake(error, 'the program')}.") from error


def _typed(value: Any) -> str:
    """A setting as text that a person would type."""
    match value:
        case None | bool():
            return "" if value is None else "yes" if value else "no"
        case {"kind": str(kind)}:
            return str(value.get("template") or value.get("url") or kind)
        case [*parts]:
            return ", ".join(_typed(part) for part in parts)
        case {"program": str(program)}:
            return program
        case {"name": str(name)}:
            required = ":required" if value.get("required") else ""
            return name + required + (":discard" if value.get("save") is False else "")
        case _:
            return str(value)


def _problem(check: Callable[[_T], None], what: _T) -> str | None:
    try:
        check(what)
    except CodewellError as error:
        return str(error)
    return None


def _say(text: str) -> None:
    say(text, err=True)
