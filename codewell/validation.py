"""Says in our words what pydantic found wrong: its own texts reach no person.

This is the only translation. A refusal is `place: words`, as in `source.url: must be a URL such as ...`. The words of a
pattern are in `schemas.patterns`; those of a ValueError that one of our validators raised are its text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codewell.plurals import counted
from schemas import patterns
from schemas.strict_model import Contradictions

if TYPE_CHECKING:
    from pydantic import ValidationError

_PART_MAX: Final = 80
_PLAIN: Final = re.compile(r"[\w-]+", re.ASCII)
# Parts of a place that pydantic adds: the key of a mapping, and the kind of a source, which follows `source`.
_KEY: Final = "[key]"
_TAGGED: Final = "source"
# What a parser of JSON says, by a word of it, and what we say.
_JSON_FAULTS: Final = {
    "EOF": "it ends too early",
    "trailing": "it has something too much",
    "recursion": "it is nested too deeply",
    "out of range": "a number is too large",
    "escape": "an escape sequence is not a character",
    "unicode": "it is not UTF-8",
    "control character": "a text has a control character",
}
_LINE_AND_COLUMN: Final = re.compile(r" at line (\d+) column (\d+)")

_MOMENT: Final = "must be a time such as 2027-01-31T12:00:00Z"
_NUMBER: Final = "must be a number"
_OBJECT: Final = "must be an object of names and values"
_LIST: Final = "must be a list"
_TEXT: Final = "must be a text"
_TRUTH: Final = "must be true or false"
_WHOLE_NUMBER: Final = "must be a whole number"
_FALLBACK: Final = "is not valid: see the description of this field"

_WORDS: Final = {
    "missing": "give a value, it is required",
    "extra_forbidden": "remove this field or check its spelling, it is not known here",
    "none_required": "must be null",
    "json_type": "must be JSON text",
    "string_type": _TEXT,
    "string_unicode": "must be a text in UTF-8",
    "bytes_type": _TEXT,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": "must be a smaller number",
    "int_from_float": _WHOLE_NUMBER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "invalid_key": "must have a text as its name",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "datetime_type": _MOMENT,
    "datetime_parsing": _MOMENT,
    "datetime_from_date_parsing": _MOMENT,
    "datetime_object_invalid": _MOMENT,
    "timezone_aware": "must name its time zone, as 2027-01-31T12:00:00Z does",
    "date_type": "must be a day such as 2027-01-31",
    "date_parsing": "must be a day such as 2027-01-31",
    "time_delta_type": "must be a duration such as P30D or PT8H",
    "time_delta_parsing": "must be a duration such as P30D or PT8H",
    "uuid_type": "must be a UUID such as 0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    "uuid_parsing": "must be a UUID such as 0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    "recursion_loop": "must be nested less deeply",
    "recursion_depth_exceeded": "must be nested less deeply",
}
_WORDS_OF_BOUNDS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than": lambda ctx: f"must be more than {_bound(ctx['gt'])}",
    "greater_than_equal": lambda ctx: f"must be at least {_bound(ctx['ge'])}",
    "less_than": lambda ctx: f"must be less than {_bound(ctx['lt'])}",
    "less_than_equal": lambda ctx: f"must be at most {_bound(ctx['le'])}",
    "string_too_short": lambda ctx: f"must have at least {counted(ctx['min_length'], 'character')}",
    "string_too_long": lambda ctx: f"may have at most {counted(ctx['max_length'], 'character')}",
    "too_short": lambda ctx: f"must have at least {counted(ctx['min_length'], 'entry')}",
    "too_long": lambda ctx: f"may have at most {counted(ctx['max_length'], 'entry')}",
    "string_pattern_mismatch": lambda ctx: patterns.WORDS.get(ctx["pattern"], _FALLBACK),
    "literal_error": lambda ctx: f"must be one of {ctx['expected'].replace(' or ', ', ')}",
    "union_tag_invalid": lambda ctx: f"must have as {ctx['discriminator']} one of {ctx['expected_tags']}",
    "union_tag_not_found": lambda ctx: f"must name its {ctx['discriminator']}",
    "value_error": lambda ctx: str(ctx["error"]).rstrip("."),
    "json_invalid": lambda ctx: f"is not valid JSON{_json_place(ctx['error'])}",
}


def first_mistake(error: "ValidationError", whole: str) -> str:
    """The first invalid field and what it must be, without a full stop; `whole` names an error of no one field."""
    return mistake(error.errors(include_url=False)[0], whole)


def mistake(one: Mapping[str, Any], whole: str) -> str:
    """As `first_mistake`, of one entry of `ValidationError.errors()`."""
    place = place_of(one["loc"]) or whole
    if place == "name":
        return f"{place}: {patterns.WORDS[patterns.SHORT_NAME]}"
    words = words_of(one)
    return f"{place}: its name {words}" if one["loc"] and one["loc"][-1] == _KEY else f"{place}: {words}"


class FieldMistake(NamedTuple):
    """One invalid field: the parts of its path, and what it must be as words that follow the place."""

    path: tuple[str, ...]
    words: str


def field_mistakes(errors: Iterable[Mapping[str, Any]]) -> Iterator[FieldMistake]:
    """All invalid fields in the entries of `ValidationError.errors()`; an empty path is the whole value."""
    errors = list(errors)
    for one in errors:
        # Entries that are invalid are not counted, so a list may be called too short for them.
        if one["type"] == "too_short" and any(_is_inside(other["loc"], one["loc"]) for other in errors):
            continue
        path = path_of(one["loc"])
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, Contradictions):
            yield from (FieldMistake((*path, field), words) for field, words in cause.found)
        elif one["loc"] and one["loc"][-1] == _KEY:
            yield FieldMistake(path, f"its name {words_of(one)}")
        else:
            yield FieldMistake(path, words_of(one))


def _is_inside(loc: Sequence[str | int], whole: Sequence[str | int]) -> bool:
    return len(loc) > len(whole) and loc[: len(whole)] == whole


def place_of(loc: Sequence[str | int]) -> str:
    """The path of a field. A name that the sender made up may contain anything, so it is quoted where it must be."""
    return ".".join(part if _PLAIN.fullmatch(part) else repr(part[:_PART_MAX]) for part in path_of(loc))


def path_of(loc: Sequence[str | int]) -> tuple[str, ...]:
    """The parts of a field's path, without those that pydantic adds."""
    return tuple(
        str(part)
        for index, part in enumerate(loc)
        if part != _KEY and not (0 < index < len(loc) - 1 and loc[index - 1] == _TAGGED)
    )


def words_of(one: Mapping[str, Any]) -> str:
    """What is wrong, as words that follow the place."""
    kind: str = one["type"]
    if kind in _WORDS_OF_BOUNDS:
        return _WORDS_OF_BOUNDS[kind](one["ctx"])
    return _WORDS.get(kind, _FALLBACK)


def _bound(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:,}"
        case timedelta():
            return f"{value.days:,} days"
        case _:
            return str(value)


def _json_place(error: str) -> str:
    found = _LINE_AND_COLUMN.search(error)
    fault = next(
        (ours for theirs, ours in _JSON_FAULTS.items() if theirs in error), "check brackets, commas and quotes"
    )
    return f": {fault}, see line {found[1]}, column {found[2]}" if found else f": {fault}"
