"""A program's settings in words: the summary of a draft, what a change changes, and what it leaves as it is."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from codewell.plurals import counted
from schemas.alert_rules import AlertRule
from schemas.program import (
    CustomField,
    FallbackLink,
    ProgramSettings,
    RemoteSource,
    TemplateSource,
)
from schemas.uses import Uses
from services.console.pages.program_form import rows_of
from services.console.pages.program_labels import FIELD_OF, label_of
from services.console.pages.uses_words import refund_in_words, uses_in_sentences, uses_in_words
from services.console.pages.words import _

SETTINGS: Final = tuple(name for name in ProgramSettings.model_fields if name != "name")


class SettingChange(NamedTuple):
    """One setting of two versions, in words."""

    setting: str
    label: str
    before: str
    after: str


def changed_settings(before: ProgramSettings, after: ProgramSettings) -> list[str]:
    """The settings that differ."""
    return [name for name in SETTINGS if getattr(before, name) != getattr(after, name)]


def changes(before: ProgramSettings, after: ProgramSettings) -> list[SettingChange]:
    """The settings that differ, in words."""
    return [
        SettingChange(name, setting_label(name), value_in_words(before, name), value_in_words(after, name))
        for name in changed_settings(before, after)
    ]


def setting_label(name: str) -> str:
    """The label of a setting."""
    return label_of(FIELD_OF.get(name, name))


def value_in_words(settings: ProgramSettings, name: str) -> str:
    """The value of a setting."""
    match getattr(settings, name):
        case bool(value):
            words = _("on") if value else _("off")
        case None | "" | ():
            words = _("none")
        case int(value):
            words = f"{value:,}"
        case datetime() as value:
            words = f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        case timedelta() as value:
            words = duration_in_words(value)
        case TemplateSource() as value:
            words = value.template
        case RemoteSource() as value:
            most = counted(value.request_max, "code")
            words = _("%(url)s, at most %(codes)s a request") % {"url": value.url, "codes": most}
        case Uses() as value:
            words = uses_in_words(value)
        case tuple() as value:
            words = ", ".join(map(_one_in_words, value))
        case value:
            words = refund_in_words(str(value))
    return words


def _one_in_words(one: str | FallbackLink | CustomField | AlertRule) -> str:
    if isinstance(one, FallbackLink):
        return one.program
    if isinstance(one, AlertRule):
        return str(one)
    return reason_in_words(one) if isinstance(one, str) else _field_in_words(one)


def reason_in_words(word: str) -> str:
    """When a fallback is asked; any other word as it is."""
    return {
        "pool_empty": _("no code is left and none may be made"),
        "maximum_reached": _("the maximum is reached"),
        "remote_failed": _("the remote service gives none in time"),
    }.get(word, word)


def _field_in_words(field: CustomField) -> str:
    notes = [_("required")] * field.required + [_("not saved")] * (not field.save)
    return f"{field.name} ({', '.join(notes)})" if notes else field.name


def duration_in_words(length: timedelta) -> str:
    """A duration, as `30 days` or `1 day 2:00:00`."""
    whole = counted(length.days, "day")
    rest = length - timedelta(days=length.days)
    return whole if not rest else str(rest) if not length.days else f"{whole} {rest}"


def unaffected(changed: Sequence[str]) -> list[str]:
    """What does not change for codes that were made or sent before, for these settings."""
    sentences = [_("Codes already sent stay valid and keep their text, their expiry and their custom fields.")]
    of_setting = {
        "source": _("Codes of the template before stay in the pool and are given out first."),
        "ttl": _("A code that is already made keeps its lifetime."),
        "ttl_from": _("A code that is already made keeps its lifetime."),
        "valid_until": _("After the end, codes already sent still work until their own lifetime ends."),
        "shared": _("Profiles that have a code keep it."),
        "reuse": _("Profiles that have a code keep it."),
        "match": _("Codes keep their text: only what people may type for them changes."),
        "returns": _("Codes that wait now follow the new setting when their time is over."),
        "return_after": _("Codes that wait now wait as long as was said when their send failed."),
        "retention": _("Answers that have left the database do not come back."),
        "uses": _("A lower limit applies at once. So does a higher one: used up codes can be used again."),
        "holder_only": _("Uses that were made before stay."),
        "alerts": _("Alerts of rules that are gone are cleared; cleared ones stay in the history."),
        "refund": _("Orders that were refunded before stay as they are."),
        "fields": _("Codes that are already made keep the fields that they have."),
        "codes_max": _("Codes that the program has had count towards the maximum, also expired and deleted ones."),
        "groups": _("Codes and profiles stay as they are: only who sees the program changes."),
    }
    return list(dict.fromkeys([*sentences, *(of_setting[name] for name in changed if name in of_setting)]))


def summary(fields: Mapping[str, str]) -> list[str]:
    """What a draft would do, in sentences; what is not typed yet is left out."""
    return [*_names(fields), *_period(fields), *_origin(fields), *_givers(fields), *_amounts(fields), *_extras(fields)]


def _names(fields: Mapping[str, str]) -> list[str]:
    if not fields.get("name"):
        return []
    text = _("In a message its code stands as %(variable)s.")
    return [text % {"variable": "{loyalty.%s.promocode}" % fields["name"]}]  # noqa: UP031  braces


def _period(fields: Mapping[str, str]) -> list[str]:
    start, end = fields.get("valid_from"), fields.get("valid_to")
    if start and end:
        return [_("It creates and sends codes from %(start)s to the end of %(end)s.") % {"start": start, "end": end}]
    if start:
        return [_("It creates and sends codes from %(start)s on.") % {"start": start}]
    if end:
        return [_("It creates and sends codes until the end of %(end)s.") % {"end": end}]
    return [_("It creates and sends codes at any time.")]


def _origin(fields: Mapping[str, str]) -> list[str]:
    match fields.get("source"):
        case "remote":
            return [_("Its codes come from your remote service at %(url)s.") % {"url": fields.get("url") or "…"}]
        case "import":
            return [_("Its codes come from files alone.")]
        case _:
            return [_("Its codes follow the template %(template)s.") % {"template": fields.get("template") or "…"}]


def _givers(fields: Mapping[str, str]) -> list[str]:
    scenario, campaign = bool(fields.get("scenario_can_create")), bool(fields.get("campaign_can_create"))
    if fields.get("source") == "import":
        return []
    if scenario and campaign:
        return [_("Scenarios and campaigns get codes made whenever they need them.")]
    if scenario:
        return [_("Scenarios get codes made whenever they need them; campaigns use only codes that are there.")]
    if campaign:
        return [_("Campaigns get codes made whenever they need them; scenarios use only codes that are there.")]
    return [_("Scenarios and campaigns use only codes that someone has generated or imported.")]


def _amounts(fields: Mapping[str, str]) -> list[str]:
    found = []
    if fields.get("codes_max"):
        text = _("It may have one code in all.") if fields["codes_max"] == "1" else _(
            "It may have %(most)s codes in all."
        )  # fmt: skip
        found.append(text % {"most": fields["codes_max"]})
    if fields.get("pool_max"):
        text = _("At most one stands ready.") if fields["pool_max"] == "1" else _(
            "Up to %(ready)s of them stand ready."
        )  # fmt: skip
        found.append(text % {"ready": fields["pool_max"]})
    if fields.get("ttl"):
        unit = fields.get("ttl_unit", "days")
        span = f"{fields['ttl']} {unit.removesuffix('s') if fields['ttl'] == '1' else unit}"
        from_attachment = fields.get("ttl_from") == "attachment"
        text = _("A code lives %(span)s from when it is given.") if from_attachment else _(
            "A code lives %(span)s from when it is made."
        )  # fmt: skip
        found.append(text % {"span": span})
    else:
        found.append(_("A code lives without an end."))
    return found


def _extras(fields: Mapping[str, str]) -> list[str]:
    found = []
    if fields.get("shared"):
        found.append(_("Every profile gets the same code."))
    found += uses_in_sentences(fields)
    if fields.get("auto_link"):
        found.append(_("Generated and imported codes are linked to profiles at once."))
    if names := [row["name"] for row in rows_of(fields, 0)]:
        found.append(_("Its codes carry the custom fields %(names)s.") % {"names": ", ".join(names)})
    if others := fields.get("fallback"):
        found.append(
            _("Where it gives no code, a request gets one of %(names)s, the first that has one.") % {"names": others}
        )
    if fields.get("groups"):
        found.append(_("Only people of the access groups %(groups)s see it.") % {"groups": fields["groups"]})
    if not fields.get("active"):
        found.append(_("It is switched off until you activate it."))
    return found
