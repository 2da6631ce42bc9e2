"""Commands that do something about dead letters: publish their events again, and purge them."""

from typing import TYPE_CHECKING, Any

import click

from services.cli.dlq_filters import filters, wanted
from services.cli.output import Progress, as_json, print_json, with_database

if TYPE_CHECKING:
    from codewell.recovery.purging import PurgeResult
    from codewell.recovery.replaying import ReplayCounts

_LIMIT = click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest of a partition first.")


@click.command()
@filters
@_LIMIT
@click.option("--again", is_flag=True, help="Also what was published again before, or came back too often.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@as_json
def replay(limit: int | None, again: bool, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Publish the events of dead letters again, as they came, once their cause is gone: each once.

    One that still can't be read becomes a dead letter anew. A request that has its answer gets the same one.
    """

    async def work(connection: Any, settings: Any) -> "ReplayCounts":
        from codewell.audit import audit_log
        from codewell.recovery import dead_letters
        from codewell.recovery.dead_letter_log import exclusive_lock
        from codewell.recovery.replaying import ReplayOptions
        from codewell.recovery.replaying import replay as publish

        where = settings.kafka_config, settings.topic_prefix
        progress = Progress("published again")
        if not dry_run:
            await audit_log.record(connection, audit_log.command_actor(), "dlq.replay", begun=True)
        async with exclusive_lock(connection), dead_letters.open_dead_letters(*where) as letters:
            how = ReplayOptions(again, dry_run, limit)
            counts = await publish(
                connection, *where, letters, wanted(**given), how, lambda counts: progress.tell(counts.replayed)
            )
        if counts.replayed and not dry_run:
            await audit_log.record(connection, audit_log.command_actor(), "dlq.replay", count=counts.replayed)
        return counts

    counts = with_database(work)
    if as_json:
        print_json({"dry_run": dry_run, **counts._asdict()})
        return
    click.echo(f"{counts.replayed:,} events {'would be' if dry_run else 'are'} published again.")
    for count, why in (
        (counts.replayed_before, "had been before: --again publishes them once more"),
        (counts.too_often, "came back as dead letters every time and are left: mend them, or say --again"),
        (counts.without_event, "have no event, as Kafka's client could not read their records"),
        (counts.too_large, "are too large to be published with the headers of a replay"),
    ):
        if count:
            click.echo(f"{count:,} {why}.")


@click.command()
@filters
@_LIMIT
@click.option("--unreplayed", is_flag=True, help="Also letters whose events were never published again.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@as_json
def purge(limit: int | None, unreplayed: bool, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Purge dead letters that nobody wants any more: those that were published again, unless --unreplayed is given.

    They are listed no longer. Kafka deletes from the beginning of a partition only, so one that stands behind a letter
    that is kept is there until that one goes too, or until the topic's retention takes it.
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
            purging = Purge(connection, letters, wanted(**given), unreplayed=unreplayed, limit=limit)
            tell = Progress("dead letters looked at").tell
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
    verb = "are" if is_done else "would be"
    click.echo(f"{purged.purged:,} dead letters {verb} purged, {purged.never_replayed:,} of them never replayed.")
    click.echo(f"Kafka {'has' if is_done else 'would have'} deleted {purged.deleted:,} that stood before all others.")


def _is_sure(found: "PurgeResult") -> bool:
    if not found.purged:
        return True
    click.confirm(
        f"Purge {found.purged:,} dead letters, of which {found.never_replayed:,} were never published again?",
        abort=True,
        err=True,
    )
    return True
