"""Alerts in words."""

from datetime import datetime
from typing import Final, NamedTuple

from codewell.alerts.kinds import KINDS
from schemas.alerts import Alert, AlertLevel
from services.console.pages import forecast_words, refusal_words
from services.console.pages.words import _

_FIGURES: Final = {
    "runs_out_at": _("runs out"),
    "valid_until": _("ends"),
    "cause": _("cause"),
    "pooled": _("in the pool"),
    "codes": _("codes"),
    "expiring": _("expire soon"),
    "refused": _("refused"),
    "requests": _("requests"),
    "failures": _("failed requests in a row"),
    "error": _("last error"),
    "returned": _("returned"),
    "attached": _("attached"),
    "share_max": _("largest share of returns"),
    "fallback": _("fallback"),
    "link": _("its place in the chain"),
    "request_id": _("request"),
    "other_request_id": _("other request"),
}
_MOMENTS: Final = ("runs_out_at", "valid_until")


class AlertFigure(NamedTuple):
    """One figure of an alert: its label, and a moment, a number or words."""

    label: str
    value: datetime | float | str


def title_of(alert: Alert) -> str:
    """What has happened, in a few words."""
    return _(KINDS[alert.kind].title)


def levels() -> dict[AlertLevel, str]:
    """The words of each level."""
    return {"critical": _("critical"), "warning": _("warning")}


def titles() -> list[tuple[str, str]]:
    """Each kind with what has happened then, by these words."""
    return sorted(((kind, _(words.title)) for kind, words in KINDS.items()), key=lambda one: one[1])


def text_of(alert: Alert) -> str:
    """What it means, and what to do about it."""
    return _(KINDS[alert.kind].action)


def figures_of(alert: Alert) -> list[AlertFigure]:
    """Its figures; one of a kind that pages do not know stands as it is."""
    return [AlertFigure(_label(alert, name), _value(name, value)) for name, value in alert.details.items()
            if value is not None]  # fmt: skip


def _label(alert: Alert, name: str) -> str:
    if (alert.kind, name) == ("pool-below", "codes"):
        return _("asked for by the rule")
    reason, _to_do = refusal_words.WORDS.get(name, ("", ""))
    return reason or _FIGURES.get(name, name)


def _value(name: str, value: object) -> datetime | float | str:
    match value:
        case str() if name in _MOMENTS:
            return datetime.fromisoformat(value)
        case str() if name == "cause":
            return forecast_words.cause_in_words(value)
        case int() | float():
            return value
        case _:
            return str(value)


def shown(alert: Alert) -> tuple[str, str, list[AlertFigure], Alert]:
    """The alert with its words and figures, as pages show it."""
    return title_of(alert), text_of(alert), figures_of(alert), alert
