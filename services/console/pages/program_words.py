"""How pages say what a program is like: its state, its source and its remote service, as words with a tone."""

from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from schemas.moments import ZONE
from schemas.overview import Circuit, ProgramState
from schemas.program import Program
from services.console.pages.program_labels import label_of
from services.console.pages.uses_words import uses_in_words
from services.console.pages.words import _, ngettext

ENDS_SOON: Final = timedelta(days=14)
_HOUR: Final = timedelta(hours=1)


class Badge(NamedTuple):
    """Words of a state, with the kind of its tone and an icon, as the macro `badge` takes them."""

    words: str
    kind: str = ""
    icon: str = ""


def state_badge(program: Program, state: ProgramState, now: datetime) -> Badge:
    """The state in words, such as `ends in 3 days`."""
    match state:
        case "removed":
            return Badge(_("removed"), icon="remove")
        case "off":
            return Badge(_("off"), icon="off")
        case "ended":
            return Badge(_("ended"), icon="clock")
        case "not started" if program.valid_from is not None:
            return Badge(_starts(program.valid_from, now), "busy", "clock")
        case _ if program.valid_until is not None and program.valid_until - now <= ENDS_SOON:
            return Badge(_ends(program.valid_until, now), "warn", "clock")
        case _:
            return Badge(_("active"), "good", "check")


def circuit_badge(circuit: Circuit | None) -> Badge | None:
    """The remote service's state in words; None for a program without one."""
    match circuit:
        case None:
            return None
        case "closed":
            return Badge(_("answers"), "good", "check")
        case "half open":
            return Badge(_("on probation"), "warn", "alert")
        case "open":
            return Badge(_("does not answer"), "bad", "refused")


def source_words(program: Program) -> str:
    """Where its codes come from, such as the template."""
    match program.source.kind:
        case "template":
            return program.source.template
        case "remote":
            return _("Remote service")
        case "import":
            return _("Files only")


class Fact(NamedTuple):
    """A setting and what it is set to, in words. `at`: a moment that pages show in the viewer's zone."""

    term: str
    words: str = ""
    at: datetime | None = None
    is_code: bool = False


def facts_of(program: Program) -> list[Fact]:
    """The settings of a program that matter at a glance."""
    facts = [Fact(_("Source"), source_words(program), is_code=program.source.kind == "template")]
    if program.source.kind == "remote":
        facts.append(Fact(_("Address"), program.source.url))
    facts += [
        Fact(_("Scenario can create promo codes"), _on(program.scenario_can_create)),
        Fact(_("Campaign can create promo codes"), _on(program.campaign_can_create)),
        Fact(_("One promo code can be attached to multiple profiles"), _on(program.shared)),
        Fact(_("Automatically link promo codes to profile"), _on(program.auto_link)),
        Fact(_("The maximum number of promo codes"), f"{program.codes_max:,}"),
        Fact(_("Pool size"), f"{program.pool_max:,}"),
        Fact(_("Uses of a code"), uses_in_words(program.uses)),
        Fact(_("Time to live"), _("no limit") if program.ttl is None else duration(program.ttl)),
        Fact(_("Valid from"), at=program.valid_from) if program.valid_from else Fact(_("Valid from"), _("always")),
        Fact(_("Valid until"), at=program.valid_until) if program.valid_until else Fact(_("Valid until"), _("no end")),
    ]
    facts.append(Fact(label_of("alerts"), ", ".join(map(str, program.alerts)) or _("never")))
    if program.holder_only:
        facts.append(Fact(_("Only a customer who got the code may use it"), _("on")))
    if program.fallback:
        facts.append(Fact(_("Fallbacks"), ", ".join(link.program for link in program.fallback)))
    if program.groups:
        facts.append(Fact(_("Access groups"), ", ".join(program.groups)))
    if program.fields:
        facts.append(Fact(_("Custom fields"), ", ".join(field.name for field in program.fields)))
    return facts


def duration(length: timedelta) -> str:
    """A length of time in words, such as `30 days 12 hours`."""
    hours, seconds = divmod(length.seconds, 3600)
    parts = [
        (length.days, ngettext("%(num)d day", "%(num)d days", length.days)),
        (hours, ngettext("%(num)d hour", "%(num)d hours", hours)),
        (seconds // 60, ngettext("%(num)d minute", "%(num)d minutes", seconds // 60)),
        (seconds % 60, ngettext("%(num)d second", "%(num)d seconds", seconds % 60)),
    ]
    return " ".join(words % {"num": number} for number, words in parts if number)


def _on(is_on: bool) -> str:
    return _("on") if is_on else _("off")


def _starts(at: datetime, now: datetime) -> str:
    left = at - now
    if left.days:
        return ngettext("starts in %(num)d day", "starts in %(num)d days", left.days) % {"num": left.days}
    if left <= _HOUR:
        return _("starts within the hour")
    return _("starts today") if _day(at) == _day(now) else _("starts tomorrow")


def _ends(at: datetime, now: datetime) -> str:
    left = at - now
    if left.days:
        return ngettext("ends in %(num)d day", "ends in %(num)d days", left.days) % {"num": left.days}
    if left <= _HOUR:
        return _("ends within the hour")
    # An end at midnight is the end of the day before.
    return _("ends today") if _day(at - timedelta.resolution) == _day(now) else _("ends tomorrow")


def _day(moment: datetime) -> date:
    return moment.astimezone(ZONE.get()).date()
