"""A program's settings on the command line: one option for each, and a JSON file."""

import json
from collections.abc import Callable
from typing import IO, Any, TypeVar

import click
from pydantic import ValidationError

from codewell.errors import ProgramRefused
from schemas.program import ProgramSettings
from services.cli.output import first_mistake

_F = TypeVar("_F", bound=Callable[..., None])

_OPTIONS = (
    click.option("--file", "file", type=click.File(encoding="utf-8"), help="Settings as JSON; - is standard input."),
    click.option("--title", help="Name of the program, for people."),
    click.option("--description", help="Short description."),
    click.option("--group", "groups", multiple=True, help="Access group; repeatable."),
    click.option("--active/--inactive", default=None, help="Whether it creates and attaches codes.  [default: active]"),
    click.option("--valid-from", metavar="TIME", help="Start of validity, as 2026-12-01T00:00:00Z.  [default: always]"),
    click.option("--valid-until", metavar="TIME", help="End of validity, as 2026-12-31T00:00:00Z.  [default: never]"),
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
        "--reuse",
        type=click.Choice(["request", "profile", "campaign", "step"]),
        help="Whether the same profile, campaign or step gets the same code again.  [default: request]",
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
    if fields:
        try:
            settings["fields"] = [custom_field(text) for text in fields]
        except ProgramRefused as error:
            raise click.BadParameter(str(error), param_hint="--field") from error
    return settings


def custom_field(text: str) -> dict[str, Any]:
    """A custom field written as NAME[:required][:discard]. Raises ProgramRefused."""
    name, *words = text.split(":")
    if not set(words) <= {"required", "discard"}:
        raise ProgramRefused(
            f"{text!r} is not a field: write NAME, NAME:required, NAME:discard or NAME:required:discard."
        )
    return {"name": name, "required": "required" in words, "save": "discard" not in words}


def checked(settings: dict[str, Any]) -> ProgramSettings:
    """The settings of a new program. Raises ProgramRefused."""
    try:
        return ProgramSettings.model_validate(settings)
    except ValidationError as error:
        raise refused(error, "made") from error


def refused(error: ValidationError, what_was_not_done: str) -> ProgramRefused:
    """One sentence with the first invalid setting, and that nothing was changed."""
    return ProgramRefused(f"{first_mistake(error, 'the program')}. Nothing was {what_was_not_done}.")


def _from_file(file: IO[str] | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        settings = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ProgramRefused(f"{file.name} is not valid JSON ({error}): write one JSON object of settings.") from error
    if not isinstance(settings, dict):
        raise ProgramRefused(f"{file.name} is not a JSON object: write one JSON object of settings.")
    return settings
