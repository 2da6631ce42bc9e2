"""What happened to a code, and how it was used, in words."""

from typing import Any

from schemas.api import Code
from schemas.history import CodeEvent
from services.console.pages.masking import Masking
from services.console.pages.words import _


def done(step: str, code: Code) -> str:
    """What a step did, in a sentence; "" for none."""
    if step == "activate" and code.state != "activated":
        return _("The use is on record. The code may be used again.")
    return {
        "attach": _("The code is attached to the profile."),
        "detach": _("The code is back in the pool: another profile may get it."),
        "hold": _("The order holds the code: no other may use what it keeps."),
        "release": _("The hold has ended."),
        "activate": _("The code is activated."),
        "deactivate": _("The activation is undone: the use of the code is free again."),
        "change": _("The code is changed. Messages that were sent already stay as they are."),
        "reissue": _("This code replaces the other one, which is deleted. Tell the customer the new one."),
        "delete": _("The code is deleted. It stays on record, and is never made again."),
    }.get(step, "")


def use_states() -> dict[str, tuple[str, str]]:
    """The word and the kind of badge for each state of a use."""
    return {
        "held": (_("held"), "busy"),
        "lapsed": (_("hold has passed"), ""),
        "released": (_("released"), ""),
        "used": (_("used"), "good"),
        "taken_back": (_("taken back"), ""),
    }


def timeline_entry(event: CodeEvent, masking: Masking, code_url: str) -> tuple[str, str, Any, str, str]:
    """An event for the timeline: icon, words, time, the rest as a text, and the page of another code."""
    icon, words = {
        "made": ("generate", _("Made")),
        "imported": ("file", _("Imported")),
        "attached": ("profile", _("Attached")),
        "held": ("clock", _("Held")),
        "released": ("arrow-left", _("Released")),
        "activated": ("check", _("Activated")),
        "deactivated": ("reset", _("Activation undone")),
        "returned": ("arrow-left", _("Returned to the pool")),
        "changed": ("edit", _("Changed")),
        "expired": ("clock", _("Expired")),
        "deleted": ("remove", _("Deleted")),
        "reissued": ("reset", _("Was reissued as another code")),
        "replaces": ("reset", _("Replaces another code")),
        "quarantined": ("wait", _("In quarantine, as its send failed")),
        "kept": ("check", _("Left the quarantine and stays")),
    }[event.event]
    facts = [
        _origin(event.origin, event.source),
        event.file and _("from the file %(file)s") % {"file": event.file},
        event.order_id and _("by the order %(id)s") % {"id": event.order_id},
        event.profile_id
        and event.event != "attached"
        and _("for the profile %(id)s") % {"id": masking.profile(event.profile_id)},
        event.profile_id
        and event.event == "attached"
        and _("to the profile %(id)s") % {"id": masking.profile(event.profile_id)},
        event.request_id and _("by the request %(id)s") % {"id": event.request_id},
        event.scope and _("within %(scope)s") % {"scope": event.scope},
        _fallback(event),
        ", ".join(event.changed),
        event.reason,
        event.by and _("by %(name)s") % {"name": event.by},
    ]
    other = f"{code_url}/{event.other}" if code_url and event.other else ""
    return icon, words, event.at, " · ".join(fact for fact in facts if fact), other


def _fallback(event: CodeEvent) -> str:
    """That another program was asked. A program of other access groups has no name here."""
    if event.link is None:
        return ""
    asked = event.asked or _("another program")
    return _("as fallback %(link)s of %(program)s") % {"link": event.link, "program": asked}


def _origin(origin: str | None, source: str | None) -> str:
    by_source = {"campaign": _("for a campaign"), "scenario": _("for a scenario")}
    words = {
        "pool": _("for the pool"),
        "request": by_source.get(source or "", _("for a request")),
        "generate": _("by Generate"),
        "hand": _("by hand"),
        "remote": _("by the remote service"),
    }
    return words.get(origin or "", "")
