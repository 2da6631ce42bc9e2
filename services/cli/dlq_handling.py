"""Commands that change dead letters: replay and purge."""

from typing import TYPE_CHECKING, Any

import click

from codewell.errors import CodewellError
from codewell.plurals import counted
from services.cli.dlq_filters import filters, unknown_letter, wanted
from services.cli.output import Progress, json_option, print_json, say, with_database

if TYPE_CHECKING:
    from codewell.recovery.dead_letters import DeadLetters
    from codewell.recovery.purging import PurgeResult
    from codewell.recovery.replaying import ReplayCounts

_LIMIT = click.option("--limit", type=click.IntRange(1), help="Maximum number of letters, oldest of a partition first.")


@click.command()
@filters
@_LIMIT
@click.option("--again", is_flag=True, help="Include letters that were replayed before or returned too often.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@json_option
def replay(limit: int | None, again: bool, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Republish the events of dead letters, each once.

    Run it after fixing the cause. Events that still fail become new dead letters. A request that already has an answer
    gets the same answer.
    """

    async def work(connection: Any, settings: Any) -> "ReplayCounts":
        from codewell.audit import audit_log
        from codewell.recovery import dead_letters
        from codewell.recovery.dead_letter_log import exclusive_lock
        from codewell.recovery.replaying import ReplayOptions
        from codewell.recovery.replaying import replay as publish

        where = settings.kafka_config, settings.topic_prefix
        progress = Progress("events replayed")
        if not dry_run:
            await audit_log.record(connection, audit_log.command_actor(), "dlq.replay", begun=True)
        async with exclusive_lock(connection), dead_letters.open_dead_letters(*where) as letters:
            await _check_places(connection, letters, **given)
            how = ReplayOptions(again, dry_run, limit)
            counts = await publish(
                connection, *where, letters, wanted(**given), how, lambda counts: progress.report(counts.replayed)
            )
        if counts.replayed and not dry_run:
            await audit_log.record(connection, audit_log.command_actor(), "dlq.replay", count=counts.replayed)
        return counts

    counts = with_database(work)
    if as_json:
        print_json({"dry_run": dry_run, **counts._asdict()})
        return
    say(f"{'Would replay' if dry_run else 'Replayed'} {counted(counts.replayed, 'event')}.")
    for count, why in (
        (counts.replayed_before, "replayed before: include with --again"),
        (counts.too_often, "returned as dead letters too often: fix their cause, or include with --again"),
        (counts.without_event, "without an event, because the Kafka client could not read the record"),
        (counts.too_large, "too large to be republished with the headers of a replay"),
    ):
        if count:
            say(f"Skipped {count:,}: {why}.")


@click.command()
@filters
@_LIMIT
@click.option("--unreplayed", is_flag=True, help="Include letters whose events were never replayed.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def purge(limit: int | None, unreplayed: bool, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Purge dead letters that were replayed.

    Purged letters are no longer listed. Kafka deletes only from the start of a partition: a letter after one that is
    kept stays in the topic until that one is purged too, or until the topic's retention deletes it.
    """

    async def work(connection: Any, settings: Any) -> "tuple[PurgeResult, bool]":
        from codewell.audit import audit_log
        from codewell.recovery import dead_letters
        from codewell.recovery.dead_letter_log import exclusive_lock
        from codewell.recovery.purging import Purge

        kafka_config = settings.kafka_config
        async with (
            exclusive_lock(connection),
            dead_letters.open_dead_letters(kafka_config, settings.topic_prefix) as letters,
        ):
            await _check_places(connection, letters, **given)
            purging = Purge(connection, letters, wanted(**given), unreplayed=unreplayed, limit=limit)
            tell = Progress("dead letters read").report
            found = await purging.count(tell)
            if dry_run or not (yes or _is_sure(found)):
                return found, False
            await audit_log.record(connection, audit_log.command_actor(), "dlq.purge", begun=True)
            purged = await purging.purge(kafka_config, tell)
        await audit_log.record(connection, audit_log.command_actor(), "dlq.purge", count=purged.purged)
        return purged, True

    purged, is_done = with_database(work)
    if as_json:
        print_json({"dry_run": not is_done, **purged._asdict()})
        return
    verb = "Purged" if is_done else "Would purge"
    say(f"{verb} {counted(purged.purged, 'dead letter')}, {purged.never_replayed:,} of them never replayed.")
    say(f"Kafka {'deleted' if is_done else 'would delete'} {purged.deleted:,} of them from the start of partitions.")


async def _check_places(connection: Any, letters: "DeadLetters", *, at: tuple[str, ...], **_: Any) -> None:
    """Raise CodewellError if one of the named letters does not exist."""
    for one in at:
        if await letters.find(connection, one) is None:
            raise CodewellError(unknown_letter(one))


def _is_sure(found: "PurgeResult") -> bool:
    if not found.purged:
        return True
    click.confirm(
        f"Purge {counted(found.purged, 'dead letter')}, {found.never_replayed:,} of them never replayed?",
        abort=True,
        err=True,
    )
    return True
