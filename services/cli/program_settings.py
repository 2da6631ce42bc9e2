"""A program's settings as they are given on the command line: one option for each, and a JSON file."""

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
    click.option("--title"),
    click.option("--description"),
    click.option("--group", "groups", multiple=True, help="An access group; may be given several times."),
    click.option("--active/--inactive", default=None),
    click.option("--valid-from", metavar="TIME", help="ISO 8601 with a time zone, e.g. 2026-12-01T00:00:00Z."),
    click.option("--valid-until", metavar="TIME", help="ISO 8601 with a time zone."),
    click.option(
        "--template",
        help="Codes are made from it: '{string 4}-{number 4}-{upstring 4}', or '{safe 12}', which can't be misread.",
    ),
    click.option("--remote-url", metavar="URL", help="Codes are ordered from this remote service."),
    click.option("--request-max", type=int, help="How many codes one request to it may ask for.  [500]"),
    click.option("--import-only", is_flag=True, help="Codes come from files."),
    click.option("--scenario-can-create/--scenario-cannot-create", default=None),
    click.option("--campaign-can-create/--campaign-cannot-create", default=None),
    click.option("--shared/--not-shared", default=None, help="One code for everybody."),
    click.option(
        "--auto-link/--no-auto-link", default=None, help="Who generates or imports codes names a profile for each."
    ),
    click.option("--codes-max", type=int, help="How many codes the program may ever have."),
    click.option("--pool-max", type=int, help="How many stand ready.  [the maximum, or 100,000 if that is less]"),
    click.option("--ttl", help="How long a code lives, e.g. P30D.  [for ever]"),
    click.option("--ttl-from", type=click.Choice(["creation", "attachment"])),
    click.option("--reuse", type=click.Choice(["request", "profile", "campaign", "step"])),
    click.option(
        "--field", "fields", multiple=True, metavar="NAME[:required][:discard]",
        help="A custom field, asked for when codes are generated and saved on them; may be given several times.",
    ),
    click.option(
        "--allow-guessable/--refuse-guessable", default=None, help="Accept a template whose codes can be guessed."
    ),
)  # fmt: skip


def settings_options(command: _F) -> _F:
    """Give a command the options of all settings but the name; `given` makes settings of them."""
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
    """The settings that were given, by their names in a program's JSON: options win over the file."""
    settings = _from_file(file) | {key: value for key, value in options.items() if value not in (None, ())}
    if (template is not None) + (remote_url is not None) + import_only > 1:
        raise click.UsageError("Codes come from one place: --template, --remote-url or --import-only.")
    if request_max is not None and remote_url is None:
        raise click.UsageError("--request-max goes with --remote-url.")
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
        raise ProgramRefused(f"{text!r} is not NAME, NAME:required, NAME:discard or NAME:required:discard.")
    return {"name": name, "required": "required" in words, "save": "discard" not in words}


def checked(settings: dict[str, Any]) -> ProgramSettings:
    """The settings of a new program. Raises ProgramRefused."""
    try:
        return ProgramSettings.model_validate(settings)
    except ValidationError as error:
        raise refused(error, "made") from error


def refused(error: ValidationError, what_was_not_done: str) -> ProgramRefused:
    """The first mistake, and that nothing was done, as one sentence for a person."""
    return ProgramRefused(f"{first_mistake(error, 'the program')}. Nothing was {what_was_not_done}.")


def _from_file(file: IO[str] | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        settings = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ProgramRefused(f"{file.name} is no JSON that can be read ({error}): write one program object.") from error
    if not isinstance(settings, dict):
        raise ProgramRefused(f"{file.name} holds no object: write one program object.")
    return settings
