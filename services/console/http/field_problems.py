"""The invalid fields of a request, as entries of a problem's `errors` (RFC 9457, its example of an extension)."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from codewell.validation import field_mistakes
from schemas.api import FIELD_PROBLEMS_MAX

FieldProblems = list[dict[str, str]]

_BODY: Final = "body"
# What RFC 3986 allows in a fragment, beside letters and digits.
_FRAGMENT: Final = "-._~!$&'()*+,;=:@/?"
_NAME_CHARACTERS_MAX: Final = 100


def field_problems(errors: Iterable[Mapping[str, Any]]) -> FieldProblems:
    """All mistakes that FastAPI found in a request, up to FIELD_PROBLEMS_MAX."""
    return [
        _entry(one.path[0], one.path[1:], one.words)
        for one in islice(field_mistakes(errors), FIELD_PROBLEMS_MAX)
        if one.path
    ]


def of_setting(setting: str, detail: str) -> FieldProblems:
    """The mistake in one setting of a program, given as a path such as `source.template`."""
    return [_entry(_BODY, tuple(setting.split(".")), detail)]


def _entry(where: str, path: tuple[str, ...], words: str) -> dict[str, str]:
    if where == _BODY:
        return {"pointer": _pointer(path), "detail": words}
    return {"parameter": ".".join(path)[:_NAME_CHARACTERS_MAX], "detail": words}


def _pointer(path: tuple[str, ...]) -> str:
    """A JSON Pointer as a URI fragment (RFC 6901, section 6)."""
    parts = (part[:_NAME_CHARACTERS_MAX].replace("~", "~0").replace("/", "~1") for part in path)
    return "#" + "".join("/" + quote(part, safe=_FRAGMENT, errors="replace") for part in parts)
