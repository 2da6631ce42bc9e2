"""The settings of programs as the options that commands have for them, in sentences that name settings."""

import re
from typing import TYPE_CHECKING, Final

from codewell.validation import mistake, place_of
from schemas.program import ProgramSettings

if TYPE_CHECKING:
    from pydantic import ValidationError

_SOURCE: Final = "--template, --remote-url or --import-only"
# Settings whose option has another name; every other one is its name with dashes.
_OPTIONS: Final = {
    "name": "NAME",
    "source": _SOURCE,
    "source.template": "--template",
    "source.url": "--remote-url",
    "source.request_max": "--request-max",
    "request_max": "--request-max",
    "groups": "--group",
    "fields": "--field",
    "uses.per_code": "--uses-per-code",
    "uses.per_profile": "--uses-per-profile",
}
# A sentence is read for these alone: a setting of one word is an English word too.
_NAMED: Final = re.compile(
    rf"(?<![\w-])({'|'.join(sorted(name for name in (*ProgramSettings.model_fields, 'request_max') if '_' in name))})\b"
)
_FIELD: Final = re.compile(r"(give it as )(\S+=VALUE)")


def option_of(setting: str) -> str:
    """The option of a setting, given as the path of a field such as `source.url`; other paths stay as they are."""
    own = f"--{setting.replace('_', '-')}" if setting in ProgramSettings.model_fields else setting
    return _OPTIONS.get(setting, own)


def in_options(sentence: str) -> str:
    """The sentence with the options that a command has, where it names settings."""
    return _FIELD.sub(r"\1--field \2", _NAMED.sub(lambda match: option_of(match[1]), sentence))


def missing_options(error: "ValidationError") -> str | None:
    """A sentence that lists all settings which have no value; None if there are none."""
    places = (place_of(one["loc"]) for one in error.errors(include_url=False) if one["type"] == "missing")
    # The size of the pool has a default, which follows from the maximum.
    missing = [option_of(place) for place in places if place != "pool_max"]
    return f"Give what is missing: {'; '.join(missing)}" if missing else None


def first_mistake_in_options(error: "ValidationError", whole: str) -> str:
    """The first invalid setting by its option, without a full stop; `whole` names an error of no one setting."""
    one = error.errors(include_url=False)[0]
    place = place_of(one["loc"])
    # A source that is there but wrong was written in a file.
    shown = place if place == "source" else option_of(place)
    return in_options(shown + mistake(one, whole).removeprefix(place))
