"""Commands for dead letters: events that no issuer could read."""

import heapq
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

import click

from schemas.events import DeadReason
from schemas.topics import REQUESTS
from services.cli.output import as_json, print_json, print_table, with_database
from services.errors import CodewellError

if TYPE_CHECKING:
    from services.client.dead_letters import DeadLetter
    from services.store.replays import Place

_F = TypeVar("_F", bound=Callable[..., None])

_AT_ONCE = 500


class _Wanted(NamedTuple):
    """Which letters a command is about."""

    topic: str | None
    reason: str | None
    since: datetime | None

    async def letters(self, settings: Any) -> AsyncIterator["DeadLetter"]:
        from services.client import dead_letters

        names = REQUESTS if self.topic is None else (self.topic,)
        async with dead_letters.opened(settings.brokers, settings.topic_prefix) as opened:
            async for letter in opened.letters(names):
                if self.reason in {None, letter.reason} and (self.since is None or letter.written_at >= self.since):
                    yield letter


def _moment(_: click.Context, __: click.Parameter, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(f"{given!r} is not like 2026-12-01T00:00:00Z.")
    return moment


def _filters(command: _F) -> _F:
    for option in (
        click.option("--since", callback=_moment, metavar="TIME", help="Written since; ISO 8601 with a time zone."),
        click.option("--reason", type=click.Choice(get_args(DeadReason)), help="With this reason.  [any]"),
        click.option("--topic", type=click.Choice(REQUESTS), help="Of this request topic.  [both]"),
    ):
        command = option(command)
    return command


@click.group()
def dlq() -> None:
    """Look at dead letters, and publish their events again."""


@dlq.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The newest so many.")
@as_json
def list_(limit: int, as_json: bool, **filters: Any) -> None:
    """List dead letters, the oldest first: what could not be read, why, and whether it was published again."""

    async def work(connection: Any, settings: Any) -> tuple[int, list[tuple["DeadLetter", datetime | None]]]:
        from services.store import replays

        count = 0
        newest: list[tuple[datetime, int, DeadLetter]] = []
        async for letter in _Wanted(**filters).letters(settings):
            count += 1
            entry = (letter.written_at, count, letter)
            if count <= limit:
                heapq.heappush(newest, entry)
            else:
                heapq.heappushpop(newest, entry)
        shown = [letter for *_, letter in sorted(newest)]
        replayed = await replays.replayed(connection, [_place(letter) for letter in shown])
        return count, [(letter, replayed.get(_place(letter))) for letter in shown]

    count, shown = with_database(work)
    if as_json:
        for letter, replayed_at in shown:
            print_json(_facts(letter, replayed_at))
        return
    rows = [
        {
            "written": letter.written_at,
            "topic": letter.request_topic,
            "reason": letter.reason,
            "replayed": replayed_at,
            "event": letter.event_id,
            "detail": letter.detail,
        }
        for letter, replayed_at in shown
    ]
    print_table(rows, "There is no dead letter.")
    if count > len(shown):
        click.echo(f"These are the newest {len(shown):,} of {count:,}: --limit shows more.", err=True)


@dlq.command()
@_filters
@click.option("--again", is_flag=True, help="Also what was published again before.")
@as_json
def replay(again: bool, as_json: bool, **filters: Any) -> None:
    """Publish the events of dead letters again, as they came, once their cause is gone.

    One that still can't be read becomes a dead letter anew. A request that has its answer gets the same one.
    """

    async def work(connection: Any, settings: Any) -> dict[str, int]:
        from aiokafka.errors import KafkaError

        from services.client import dead_letters
        from services.kafka import clients
        from services.store import replays

        counts = {"replayed": 0, "replayed_before": 0, "without_event": 0}

        async def publish(batch: list["DeadLetter"]) -> None:
            places = {_place(letter): letter for letter in batch if letter.has_event}
            known = {} if again else await replays.replayed(connection, list(places))
            due = {place: letter for place, letter in places.items() if place not in known}
            try:
                await dead_letters.replay(producer, settings.topic_prefix, due.values(), partitions)
            except (KafkaError, TimeoutError) as error:
                raise CodewellError(
                    f"Kafka did not take all ({error!r}) after {counts['replayed']:,} letters: "
                    "replay again, those are not published twice."
                ) from error
            await replays.note(connection, due)
            counts["replayed"] += len(due)
            counts["replayed_before"] += len(known)
            counts["without_event"] += len(batch) - len(places)
            click.echo(f"{counts['replayed']:,} published again", err=True)

        async with clients.started_producer(settings.brokers) as producer:
            partitions = await dead_letters.partitions_of(producer, settings.topic_prefix)
            batch: list[DeadLetter] = []
            async for letter in _Wanted(**filters).letters(settings):
                batch.append(letter)
                if len(batch) == _AT_ONCE:
                    await publish(batch)
                    batch = []
            if batch:
                await publish(batch)
        return counts

    counts = with_database(work)
    if as_json:
        print_json(counts)
        return
    click.echo(f"{counts['replayed']:,} events are published again.")
    if counts["replayed_before"]:
        click.echo(f"{counts['replayed_before']:,} had been before: --again publishes them once more.")
    if counts["without_event"]:
        click.echo(f"{counts['without_event']:,} have no event, as Kafka's client could not read their records.")


def _place(letter: "DeadLetter") -> "Place":
    from services.store.replays import Place

    return Place(letter.record.topic, letter.record.partition, letter.record.offset, letter.written_at)


def _facts(letter: "DeadLetter", replayed_at: datetime | None) -> dict[str, object]:
    """The letter whole; a value that is no UTF-8 is given in base64."""
    value: dict[str, object]
    try:
        value = {"value": None if letter.record.value is None else letter.record.value.decode()}
    except UnicodeDecodeError:
        value = {"value_base64": b64encode(letter.record.value).decode()}
    headers = {name: None if text is None else text.decode("utf-8", "replace") for name, text in letter.record.headers}
    return {
        "written_at": letter.written_at,
        "topic": letter.request_topic,
        "reason": letter.reason,
        "detail": letter.detail,
        "event_id": letter.event_id,
        "replayed_at": replayed_at,
        "key": None if letter.record.key is None else letter.record.key.decode("utf-8", "replace"),
        "headers": headers,
        **value,
    }
