"""The form of a program: its fields as texts, the settings that they mean as JSON, and the way back."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from codewell.validation import field_mistakes
from schemas.alert_rules import DEFAULT_RULES, rule_of
from schemas.amounts import CODES_MAX_LIMIT
from schemas.moments import ZONE
from schemas.program import FALLBACK_REASONS, Program, ProgramSettings
from schemas.uses import uses_default
from services.console.pages.forms import Form
from services.console.pages.numbers import whole_number
from services.console.pages.program_labels import FIELD_OF, sentence
from services.console.pages.words import _

Fields = dict[str, str]

SWITCHES: Final = ("scenario_can_create", "campaign_can_create", "shared", "auto_link")
STEPS: Final = ("general", "source", "settings")
OF_STEP: Final[Mapping[str, tuple[str, ...]]] = {
    "general": ("title", "name", "description", "groups", "valid_from", "valid_to"),
    "source": ("source", "template", "url", "request_max"),
    "settings": (
        *SWITCHES, "codes_max", "pool_max", "ttl", "ttl_unit", "ttl_from", "min_life", "min_life_unit", "reuse",
        "returns", "return_after", "return_after_unit",
        "fallback", *(f"fallback_{reason}" for reason in FALLBACK_REASONS), "fallback_wait", "fallback_wait_unit",
        "match", "reissues_max", "retention", "retention_unit", "uses_per_code", "uses_per_profile", "holder_only",
        "refund", "alerts", "allow_guessable", "active",
    ),
}  # fmt: skip
UNITS: Final = {"days": timedelta(days=1), "hours": timedelta(hours=1), "minutes": timedelta(minutes=1),
                "seconds": timedelta(seconds=1)}  # fmt: skip
_ISO: Final = {"days": "P{}D", "hours": "PT{}H", "minutes": "PT{}M", "seconds": "PT{}S"}
_CHECKS: Final = {
    *SWITCHES,
    *(f"fallback_{reason}" for reason in FALLBACK_REASONS),
    "holder_only",
    "allow_guessable",
    "active",
}
_ROW: Final = re.compile(r"field_(name|required|save)_(\d{1,3})")
_DAY: Final = timedelta(days=1)
# Stands for what another step has not asked yet.
_UNASKED: Final = {"name": "X", "codes_max": CODES_MAX_LIMIT, "source": {"kind": "import"}}
NEW: Final[Fields] = {
    "source": "template", "template": "{string 4}-{number 4}-{upstring 4}", "request_max": "500", "active": "on",
    "scenario_can_create": "on", "campaign_can_create": "on", "ttl_unit": "days", "ttl_from": "creation",
    "min_life_unit": "days", "reuse": "request", "match": "exact", "returns": "reuse", "return_after": "3",
    "return_after_unit": "days", "reissues_max": "1", "retention_unit": "days", "uses_per_code": "1",
    "uses_per_profile": "1", "refund": "give_back", "fallback_wait_unit": "seconds",
    **{f"fallback_{reason}": "on" for reason in FALLBACK_REASONS}, "alerts": "\n".join(map(str, DEFAULT_RULES)),
}  # fmt: skip


def taken_over(known: Mapping[str, str], form: Form, steps: Iterable[str]) -> Fields:
    """The known fields with those of these steps as they were posted."""
    fields = dict(known)
    for step in steps:
        for name in OF_STEP[step]:
            if name in _CHECKS:
                fields[name] = "on" if form.is_on(name) else ""
            elif form.is_on(name):
                text = ", ".join(form.texts(name)) if name == "groups" else form.text(name)
                # Spaces around a text are not a person's change.
                if name not in known or text != known[name].strip():
                    fields[name] = text
        if step == "settings":
            fields = {name: value for name, value in fields.items() if not _ROW.fullmatch(name)}
            fields |= {name: value for name, value in form.items() if _ROW.fullmatch(name)}
    return fields


def rows_of(fields: Mapping[str, str], blank: int = 1) -> list[dict[str, Any]]:
    """The rows of custom fields that have a name, each with its number in the form, and some blank ones."""
    rows = [
        {
            "number": number,
            "name": fields[f"field_name_{number}"],
            "required": bool(fields.get(f"field_required_{number}")),
            "save": bool(fields.get(f"field_save_{number}")),
        }
        for number in _numbers(fields)
    ]
    first = max(_numbers(fields), default=-1) + 1
    empty = {"name": "", "required": False, "save": True}
    return rows + [{"number": first + more, **empty} for more in range(blank)]


def settings_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the fields mean, as a program's JSON; what is empty is null, and what is wrong stays so."""
    return {
        "name": fields.get("name", ""),
        "title": fields.get("title", ""),
        "description": fields.get("description", ""),
        "groups": _names(fields.get("groups", "")),
        "active": bool(fields.get("active")),
        "valid_from": fields.get("valid_from") or None,
        "valid_until": fields.get("valid_to") or None,
        "source": _source(fields),
        **{name: bool(fields.get(name)) for name in SWITCHES},
        "codes_max": _number(fields.get("codes_max", "")),
        "pool_max": _number(fields.get("pool_max", "")),
        "ttl": _duration(fields, "ttl"),
        "ttl_from": fields.get("ttl_from") or "creation",
        "min_life_at_attach": _duration(fields, "min_life"),
        "fields": [{key: row[key] for key in ("name", "required", "save")} for row in rows_of(fields, 0)],
        "reuse": fields.get("reuse") or "request",
        "match": fields.get("match") or "exact",
        "returns": fields.get("returns") or "reuse",
        "return_after": _duration(fields, "return_after"),
        "reissues_max": _number(fields.get("reissues_max", "")),
        "retention": _duration(fields, "retention"),
        "uses": _uses(fields),
        "holder_only": bool(fields.get("holder_only")),
        "refund": fields.get("refund") or "give_back",
        "allow_guessable": bool(fields.get("allow_guessable")),
        **_fallbacks(fields),
        "alerts": [rule_of(line) for line in re.split(r"[,\n]+", fields.get("alerts", NEW["alerts"])) if line.strip()],
    }


def fields_of(program: Program) -> Fields:
    """The fields that mean the settings of a program."""
    source = program.source
    fields: Fields = {
        **NEW,
        "name": program.name,
        "title": program.title,
        "description": program.description,
        "groups": ", ".join(program.groups),
        "valid_from": day_of(program.valid_from, at_end=False),
        "valid_to": day_of(program.valid_until, at_end=True),
        "source": source.kind,
        "codes_max": f"{program.codes_max:,}",
        "pool_max": f"{program.pool_max:,}",
        "ttl_from": program.ttl_from,
        "reuse": program.reuse,
        "match": program.match,
        "returns": program.returns,
        "reissues_max": str(program.reissues_max),
        "uses_per_code": _count(program.uses.per_code),
        "uses_per_profile": _count(program.uses.per_profile),
        "holder_only": "on" if program.holder_only else "",
        "refund": program.refund,
        "alerts": "\n".join(map(str, program.alerts)),
        "fallback": ", ".join(link.program for link in program.fallback),
        **{f"fallback_{reason}": "on" if reason in program.fallback_on else "" for reason in FALLBACK_REASONS},
        "allow_guessable": "on" if program.allow_guessable else "",
        "active": "on" if program.active else "",
        **{name: "on" if getattr(program, name) else "" for name in SWITCHES},
    }
    fields |= {name: str(getattr(source, name)) for name in ("template", "url", "request_max") if hasattr(source, name)}
    lifetimes = {
        "ttl": program.ttl, "min_life": program.min_life_at_attach, "fallback_wait": program.fallback_after,
        "return_after": program.return_after, "retention": program.retention,
    }  # fmt: skip
    for name, lifetime in lifetimes.items():
        fields[name], fields[f"{name}_unit"] = _amount(lifetime)
    for number, field in enumerate(program.fields):
        fields[f"field_name_{number}"] = field.name
        fields |= {f"field_{key}_{number}": "on" for key in ("required", "save") if getattr(field, key)}
    return fields


def mistakes(fields: Mapping[str, str], steps: Sequence[str] = STEPS) -> dict[str, str]:
    """What is wrong with the fields of these steps, by field."""
    settings = settings_of(fields)
    for step, name in (("general", "name"), ("settings", "codes_max"), ("source", "source")):
        if step not in steps:
            settings[name] = _UNASKED[name]
    try:
        ProgramSettings.model_validate({name: value for name, value in settings.items() if value is not None})
    except ValidationError as error:
        found = {field_of("/".join(one.path), fields): one.words for one in field_mistakes(error.errors())}
        return {name: _asked(name, words, fields) for name, words in found.items() if step_of(name) in steps}
    return {}


def field_of(pointer: str, fields: Mapping[str, str]) -> str:
    """The field of the form for a pointer into a program's JSON such as `source/template`."""
    first, *rest = pointer.split("/")
    match first, rest:
        case "source", [("template" | "url" | "request_max") as inner, *_more]:
            return inner
        case "uses", [("per_code" | "per_profile") as inner, *_more]:
            return f"uses_{inner}"
        case "fields", [index, *_more] if index.isdigit():
            numbers = _numbers(fields)
            return f"field_name_{numbers[int(index)]}" if int(index) < len(numbers) else "fields"
        case _:
            return FIELD_OF.get(first, first)


def step_of(field: str) -> str:
    """The step in which a field is asked."""
    return next((step for step, names in OF_STEP.items() if field in names), "settings")


def _asked(name: str, words: str, fields: Mapping[str, str]) -> str:
    """What is wrong with a field, in terms of what it asks for: an amount, and its unit beside it."""
    is_amount = f"{name}_unit" in OF_STEP["settings"] and isinstance(_number(fields.get(name, "")), str)
    return _("Give a whole number, such as 30.") if is_amount else sentence(words)


def _numbers(fields: Mapping[str, str]) -> list[int]:
    """The numbers of the rows of custom fields that have a name."""
    found = (match for name, value in fields.items() if value and (match := _ROW.fullmatch(name)))
    return sorted({int(match[2]) for match in found if match[1] == "name"})


def _source(fields: Mapping[str, str]) -> dict[str, Any]:
    match fields.get("source"):
        case "remote":
            request_max = _number(fields.get("request_max", ""))
            source = {"kind": "remote", "url": fields.get("url", "")}
            return source if request_max is None else source | {"request_max": request_max}
        case "import":
            return {"kind": "import"}
        case _:
            return {"kind": "template", "template": fields.get("template", "")}


def _names(text: str) -> list[str]:
    """The words of a list that a person has typed."""
    return [name for name in re.split(r"[,\s]+", text) if name]


def _fallbacks(fields: Mapping[str, str]) -> dict[str, Any]:
    names = _names(fields.get("fallback", ""))
    reasons = [reason for reason in FALLBACK_REASONS if fields.get(f"fallback_{reason}")]
    return {
        "fallback": [{"program": name} for name in names],
        "fallback_on": reasons if names else None,
        "fallback_after": _duration(fields, "fallback_wait"),
    }


def _uses(fields: Mapping[str, str]) -> dict[str, Any]:
    """How often a code may be used; an empty field is no limit. A draft that never asked has the default."""
    default = uses_default(shared=bool(fields.get("shared"))).model_dump()
    asked = {name: f"uses_{name}" for name in default}
    return {name: _number(fields[one]) if one in fields else default[name] for name, one in asked.items()}


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _number(text: str) -> int | str | None:
    """A whole number, with or without separators; what is none stays a text, which is refused."""
    found = whole_number(text)
    return (text or None) if found is None else found


def _duration(fields: Mapping[str, str], name: str) -> str | None:
    amount = fields.get(name, "")
    plain = _number(amount)
    return _ISO.get(fields.get(f"{name}_unit", ""), _ISO["days"]).format(plain) if isinstance(plain, int) else plain


def _amount(lifetime: timedelta | None) -> tuple[str, str]:
    """A duration as an amount of the largest unit that fits, or in ISO 8601 where none does."""
    if lifetime is None:
        return "", "days"
    for unit, length in UNITS.items():
        if not lifetime % length:
            return f"{lifetime // length:,}", unit
    return f"PT{lifetime.total_seconds()}S", "seconds"


def day_of(moment: datetime | None, *, at_end: bool) -> str:
    """A moment as the date that means it, where there is one, else as a time."""
    if moment is None:
        return ""
    local = moment.astimezone(ZONE.get())
    if local.hour or local.minute or local.second or local.microsecond:
        return local.isoformat()
    return (local - _DAY * at_end).date().isoformat()
