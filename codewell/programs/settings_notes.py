"""What to know about a program's settings when it is created or changed: sentences for people. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime

from codewell.minting.template import Template
from schemas.moments import zone_notes
from schemas.program import Program, ProgramAnswer, ProgramSettings

Note = tuple[str, set[str]]
"""A sentence, and the settings that it is about."""


def answer_with_notes(program: Program, given: Mapping[str, object], *, is_change: bool = False) -> ProgramAnswer:
    """The created or changed program with its notes; `given` is what the person wrote, by setting.

    After a change, only the notes on the settings that were given.
    """
    found = settings_notes(program, datetime.now(UTC))
    notes = [*zone_notes(given), *(note for note, about in found if not is_change or not about.isdisjoint(given))]
    return ProgramAnswer(**program.settings, id=program.id, removed_at=program.removed_at, notes=notes)


def settings_notes(settings: ProgramSettings, now: datetime) -> list[Note]:
    """What leaves the pool empty, gives codes little life, or gives none now; and what a check character finds."""
    return [
        *_pool_notes(settings), *_life_notes(settings), *_period_notes(settings, now), *_check_notes(settings),
        *_fallback_notes(settings),
    ]  # fmt: skip


def _fallback_notes(settings: ProgramSettings) -> list[Note]:
    waits = settings.source.kind == "remote" and "remote_failed" in settings.fallback_on
    if not settings.fallback or not waits or settings.fallback_after is not None:
        return []
    note = (
        f"A request with a deadline waits for the remote service of {settings.name} until that deadline, and gets no "
        "code of a fallback then: set fallback_after."
    )
    return [(note, {"fallback", "fallback_on", "fallback_after"})]


def _check_notes(settings: ProgramSettings) -> list[Note]:
    check = Template.parse(settings.source.template).check if settings.source.kind == "template" else None
    return [] if check is None else [(check.sentence, {"source"})]


def _period_notes(settings: ProgramSettings, now: datetime) -> list[Note]:
    if settings.valid_until is not None and settings.valid_until <= now:
        ended = f"{settings.name} has ended already, so it attaches no code: set valid_until later."
        return [(ended, {"valid_until"})]
    if settings.valid_from is not None and settings.valid_from > now:
        waits = f"{settings.name} has not begun yet: it attaches codes from {_utc(settings.valid_from)} on."
        return [(waits, {"valid_from"})]
    return []


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _life_notes(settings: ProgramSettings) -> list[Note]:
    if settings.ttl is None or settings.ttl_from == "attachment" or settings.min_life_at_attach is not None:
        return []
    note = (
        f"The lifetime of a code of {settings.name} begins when it is made, so one that waited in the pool may be "
        "given with little of it left: set min_life_at_attach, or ttl_from to attachment."
    )
    return [(note, {"ttl", "ttl_from", "min_life_at_attach"})]


def _pool_notes(settings: ProgramSettings) -> list[Note]:
    if settings.source.kind == "import":
        note = f"All codes of {settings.name} are imported, and it has none before that: import them, or attach codes."
        return [(note, {"source"})]
    if settings.campaign_can_create or settings.scenario_can_create:
        return []
    note = (
        f"Both switches of {settings.name} are off, so no codes are made by themselves and its pool stays at 0: "
        "generate codes, or set campaign_can_create or scenario_can_create."
    )
    return [(note, {"campaign_can_create", "scenario_can_create", "source"})]
