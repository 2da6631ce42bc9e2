"""What has to hold for a reservation to be made or changed. Pure."""

from datetime import datetime, timedelta

from codewell.errors import ProgramRefused, ReservationShort
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_fact
from schemas.reservations import ReservationFigures, ReservationRequest


def check_program(program: ProgramRules | None, now: datetime) -> ProgramRules:
    """The program, if codes of it may be reserved now; else raises ProgramRefused."""
    if program is None:
        raise ProgramRefused("The program is gone: list the programs to see which exist.", reason="program_unknown")
    reason = closed_reason(program, now)
    if reason is not None:
        raise ProgramRefused(
            f"{refusal_fact(program.name, reason, Source.CAMPAIGN)} Change that before reserving codes.", reason=reason
        )
    if program.shared:
        raise ProgramRefused(
            f"All profiles of {program.name} share one code: there is nothing to reserve.", reason="code_shared"
        )
    return program


def check_times(program: ProgramRules, now: datetime, until: datetime, send_at: datetime | None) -> None:
    """Raise ProgramRefused unless the reservation ends in time, and after its campaign is sent."""
    if until <= now:
        raise ProgramRefused("until must be in the future: give a later time.", reason="reservation_too_long",
                             setting="until")  # fmt: skip
    if program.valid_until is not None and until > program.valid_until:
        raise ProgramRefused(
            f"{program.name} ends at {program.valid_until:%Y-%m-%d %H:%M} UTC, and a reservation ends with it: set "
            "until to that at most.",
            reason="reservation_too_long",
            setting="until",
        )
    if send_at is not None and send_at >= until:
        raise ProgramRefused(
            "send_at must be before until: the codes go back to the pool then.", reason="reservation_too_long",
            setting="send_at",
        )  # fmt: skip


def check_enough(program: ProgramRules, found: ReservationFigures, *, partial: bool) -> None:
    """Raise ReservationShort if codes are lacking; with `partial`, only if there is none."""
    if found.shortfall and not (partial and found.reserved):
        raise ReservationShort(program.name, found)


def lives_until(program: ProgramRules, now: datetime, send_at: datetime | None) -> datetime:
    """Codes that expire at this moment or before can't be given when the campaign is sent."""
    return max(now, send_at or now) + (program.min_life_at_attach or timedelta(0))


def scope(wanted: ReservationRequest) -> tuple[str, str]:
    """Whom it is for: the source, and the id of the campaign or scenario."""
    if wanted.campaign_id is not None:
        return Source.CAMPAIGN.value, wanted.campaign_id
    return Source.SCENARIO.value, wanted.scenario_id or ""
