"""A program's settings on the command line: one option for each, and a JSON file."""

import json
from collections.abc import Callable
from typing import IO, Any, Final, TypeVar

import click
from pydantic import ValidationError

from codewell.errors import ProgramRefused
from schemas.alert_rules import DEFAULT_RULES, rule_of
from schemas.program import FALLBACK_REASONS, ProgramSettings
from services.cli.moments import time_zone_option
from services.cli.option_names import first_mistake_in_options, missing_options

_F = TypeVar("_F", bound=Callable[..., None])

NO_LIMIT: Final = "any"
_NONE: Final = "none"

_OPTIONS = (
    click.option("--file", "file", type=click.File(encoding="utf-8"), help="Settings as JSON; - is standard input."),
    click.option("--title", help="Name of the program, for people."),
    click.option("--description", help="Short description."),
    click.option("--group", "groups", multiple=True, help="Access group; repeatable."),
    click.option("--active/--inactive", default=None, help="Whether it creates and attaches codes.  [default: active]"),
    click.option("--valid-from", metavar="TIME", help="Start of validity: a date, or a time.  [default: always]"),
    click.option(
        "--valid-until", metavar="TIME", help="End of validity: a date (its end), or a time.  [default: never]"
    ),
    time_zone_option,
    click.option(
        "--template",
        help="Template of the codes, as '{string 4}-{number 4}' or '{safe 12}' (no look-alike characters).",
    ),
    click.option("--remote-url", metavar="URL", help="URL of the remote service that delivers the codes."),
    click.option("--request-max", type=int, help="Maximum codes per request to it.  [default: 500]"),
    click.option("--import-only", is_flag=True, help="All codes are imported."),
    click.option(
        "--scenario-can-create/--scenario-cannot-create",
        default=None,
        help="Whether codes are created for scenarios on demand.",
    ),
    click.option(
        "--campaign-can-create/--campaign-cannot-create",
        default=None,
        help="Whether codes are created for campaigns on demand.",
    ),
    click.option("--shared/--not-shared", default=None, help="Whether all profiles get the same code."),
    click.option(
        "--auto-link/--no-auto-link", default=None, help="Whether generated and imported codes need a profile each."
    ),
    click.option("--codes-max", type=int, help="Maximum codes the program may ever have."),
    click.option("--pool-max", type=int, help="Codes kept ready.  [default: the maximum, at most 100,000]"),
    click.option("--ttl", help="Lifetime of a code, as P30D.  [default: no limit]"),
    click.option("--ttl-from", type=click.Choice(["creation", "attachment"]), help="When the lifetime starts."),
    click.option(
        "--min-life-at-attach",
        metavar="DURATION",
        help="Pooled codes with less life left are not attached, as P7D.  [default: no limit]",
    ),
    click.option(
        "--reuse",
        type=click.Choice(["request", "profile", "campaign", "step"]),
        help="Whether the same profile, campaign or step gets the same code again.  [default: request]",
    ),
    click.option(
        "--match",
        type=click.Choice(["exact", "fold"]),
        help="Whether a code is also found by texts that fold alike: other case, dashes, O for 0.  [default: exact]",
    ),
    click.option(
        "--returns",
        type=click.Choice(["reuse", "void", "keep"]),
        help="What becomes of a failed send's code that somebody may have seen.  [default: reuse]",
    ),
    click.option(
        "--return-after", metavar="DURATION", help="How long such a code waits before that, as P3D.  [default: P3D]"
    ),
    click.option(
        "--reissues-max", type=int, help="How often in a row support may reissue a code; 0: never.  [default: 1]"
    ),
    click.option(
        "--retention",
        metavar="DURATION",
        help="How long after a code's expiry its answer stays, as P365D.  [default: as the generators say]",
    ),
    click.option(
        "--uses-per-code", metavar="N", help="How often a code may be used, or 'any'.  [default: 1, any if shared]"
    ),
    click.option(
        "--uses-per-profile", metavar="N", help="How often one customer may use a code, or 'any'.  [default: 1]"
    ),
    click.option(
        "--holder-only/--any-holder", default=None, help="Whether only customers who got a code may use it."
    ),
    click.option(
        "--refund",
        type=click.Choice(["give_back", "keep_used"]),
        help="What becomes of a refunded order's uses.  [default: give_back]",
    ),
    click.option(
        "--fallback",
        multiple=True,
        metavar="PROGRAM",
        help="Program whose codes are given where this one gives none; up to 3, in their order.",
    ),
    click.option(
        "--fallback-on",
        multiple=True,
        type=click.Choice(FALLBACK_REASONS),
        help="Reason for which a fallback is asked; repeatable.  [default: all of them]",
    ),
    click.option(
        "--fallback-after",
        metavar="DURATION",
        help="Wait for a remote service before the next fallback, as PT5S.  [default: as long as a request may wait]",
    ),
    click.option(
        "--alert",
        "alerts",
        multiple=True,
        metavar="KIND[=VALUE]",
        help=f"When an alert is raised: {', '.join(map(str, DEFAULT_RULES))} by default, pool_below=CODES, or none; "
        "repeatable, in place of all rules so far.",
    ),
    click.option(
        "--field", "fields", multiple=True, metavar="NAME[:required][:discard]",
        help="Custom field, given and saved when codes are generated; repeatable.",
    ),
    click.option(
        "--allow-guessable/--refuse-guessable", default=None, help="Whether to accept a template with guessable codes."
    ),
)  # fmt: skip


def settings_options(command: _F) -> _F:
    """Add options for all settings but the name to a command; `given` converts them to settings."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given(
    file: IO[str] | None,
    template: str | None,
    remote_url: str | None,
    request_max: int | None,
    import_only: bool,
    fields: tuple[str, ...],
    fallback: tuple[str, ...],
    alerts: tuple[str, ...],
    uses_per_code: str | None,
    uses_per_profile: str | None,
    **options: Any,
) -> dict[str, Any]:
    """The given settings by their names in a program's JSON; options override the file."""
    settings = _from_file(file) | {key: value for key, value in options.items() if value not in (None, ())}
    if (template is not None) + (remote_url is not None) + import_only > 1:
        raise click.UsageError("Choose one source of codes: --template, --remote-url or --import-only.")
    if request_max is not None and remote_url is None:
        raise click.UsageError("--request-max needs --remote-url.")
    if template is not None:
        settings["source"] = {"kind": "template", "template": template}
    elif remote_url is not None:
        most = {} if request_max is None else {"request_max": request_max}
        settings["source"] = {"kind": "remote", "url": remote_url, **most}
    elif import_only:
        settings["source"] = {"kind": "import"}
    settings |= _lists(fallback, alerts)
    uses = {"per_code": uses_per_code, "per_profile": uses_per_profile}
    if limits := {name: _limit(text) for name, text in uses.items() if text is not None}:
        settings["uses"] = (settings.get("uses") or {}) | limits
    if fields:
        try:
            settings["fields"] = [custom_field(text) for text in fields]
        except ProgramRefused as error:
            raise click.BadParameter(str(error), param_hint="--field") from error
    return settings


def _lists(fallback: tuple[str, ...], alerts: tuple[str, ...]) -> dict[str, Any]:
    """Those of these settings that are given."""
    given: dict[str, Any] = {"fallback": [{"program": name} for name in fallback]} if fallback else {}
    if alerts:
        given["alerts"] = [] if alerts == (_NONE,) else [rule_of(text) for text in alerts]
    return given


def custom_field(text: str) -> dict[str, Any]:
    """A custom field written as NAME[:required][:discard]. Raises ProgramRefused."""
    name, *words = text.split(":")
    if not set(words) <= {"required", "discard"}:
        raise ProgramRefused(
            f"{text!r} is not a field: write NAME, NAME:required, NAME:discard or NAME:required:discard."
        )
    return {"name": name, "required": "required" in words, "save": "discard" not in words}


def _limit(text: str) -> int | str | None:
    """A number of uses, or None for `any`; what is neither is refused as it is."""
    if text == NO_LIMIT:
        return None
    return int(text) if text.isdecimal() and text.isascii() else text


def checked(settings: dict[str, Any]) -> ProgramSettings:
    """The settings of a new program. Raises ProgramRefused."""
    try:
        return ProgramSettings.model_validate(settings)
    except ValidationError as error:
        raise refused(error, "made") from error


def refused(error: ValidationError, what_was_not_done: str) -> ProgramRefused:
    """One sentence with all missing settings or the first invalid one, and that nothing was changed."""
    mistake = missing_options(error) or first_mistake_in_options(error, "the program")
    return ProgramRefused(f"{mistake}. Nothing was {what_was_not_done}.")


def _from_file(file: IO[str] | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        settings = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ProgramRefused(
            f"{file.name} is not valid JSON{_place(error)}: write one JSON object of settings."
        ) from error
    if not isinstance(settings, dict):
        raise ProgramRefused(f"{file.name} is not a JSON object: write one JSON object of settings.")
    return settings


def _place(error: Exception) -> str:
    return f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
