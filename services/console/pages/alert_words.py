"""Alerts in words."""

from codewell.alerts.kinds import KINDS
from schemas.alerts import Alert, AlertLevel
from services.console.pages.words import _


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
