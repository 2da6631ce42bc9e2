"""Two people edited one program: what each changed since the draft began, and the draft that comes of both."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from schemas.program import FALLBACK_REASONS, Program, ProgramSettings
from services.console.pages.draft_words import changed_settings, setting_label, value_in_words
from services.console.pages.program_form import Fields, fields_of

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "valid_until": ("valid_to",),
    "source": ("source", "template", "url", "request_max"),
    "ttl": ("ttl", "ttl_unit"),
    "min_life_at_attach": ("min_life", "min_life_unit"),
    "return_after": ("return_after", "return_after_unit"),
    "retention": ("retention", "retention_unit"),
    "uses": ("uses_per_code", "uses_per_profile"),
    "fallback_on": tuple(f"fallback_{reason}" for reason in FALLBACK_REASONS),
    "fallback_after": ("fallback_wait", "fallback_wait_unit"),
}


class Conflict(NamedTuple):
    """A setting that another person changed. `mine` is None if the draft leaves it as it was."""

    setting: str
    label: str
    before: str
    theirs: str
    mine: str | None


def conflicts(base: ProgramSettings, mine: ProgramSettings, theirs: ProgramSettings) -> list[Conflict]:
    """What another person changed since the draft began, but for what both changed alike."""
    own = set(changed_settings(base, mine))
    return [
        Conflict(
            name,
            setting_label(name),
            value_in_words(base, name),
            value_in_words(theirs, name),
            value_in_words(mine, name) if name in own else None,
        )
        for name in changed_settings(base, theirs)
        if name not in own or getattr(mine, name) != getattr(theirs, name)
    ]


def merged(
    base: ProgramSettings, fields: Fields, mine: ProgramSettings, theirs: Program, kept: Collection[str]
) -> Fields:
    """The draft's fields with all that another person changed, but for those of `kept` that the draft changes too."""
    own = set(changed_settings(base, mine))
    new = fields_of(theirs)
    taken = [name for name in changed_settings(base, theirs) if name not in own or name not in kept]
    for name in taken:
        if name == "fields":
            fields = {one: value for one, value in fields.items() if not one.startswith("field_")}
            fields |= {one: value for one, value in new.items() if one.startswith("field_")}
        else:
            fields |= {one: new.get(one, "") for one in _FIELDS.get(name, (name,))}
    return fields
