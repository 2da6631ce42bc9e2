"""Commands that show dead letters: events that no issuer could read or decide."""

import heapq
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from codewell.errors import CodewellError
from services.cli.commands import ApartGroup
from services.cli.dlq_filters import filters, place, unknown_letter, wanted
from services.cli.output import (
    json_option,
    print_facts,
    print_json,
    print_table,
    printable,
    say,
    with_database,
    with_masked,
)

if TYPE_CHECKING:
    from codewell.recovery.dead_letters import HandledLetter

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BYTES_A_LINE = 16


@click.group(
    cls=ApartGroup,
    places={
        "purge": "dlq_handling:purge",
        "replay": "dlq_handling:replay",
    },
)
def dlq() -> None:
    """List, replay and purge dead letters."""


@dlq.command("list")
@filters
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="Maximum number of letters: the newest ones.",
)
@click.option("--unmasked", is_flag=True, help="Print profile ids, and with --json complete events.")
@json_option
def list_(limit: int, unmasked: bool, as_json: bool, **given: Any) -> None:
    """List dead letters, oldest first, with their reasons.

    Values that may be profile ids are masked; `codewell dlq show PLACE` prints one complete letter.
    """

    async def work(connection: Any, settings: Any) -> tuple[int, list["HandledLetter"]]:
        from codewell.recovery import dead_letters

        count = 0
        newest: list[tuple[datetime, int, HandledLetter]] = []
        async with dead_letters.open_dead_letters(settings.kafka_config, settings.topic_prefix) as letters:
            async for batch in letters.wanted(connection, wanted(**given)):
                for one in batch:
                    count += 1
                    push = heapq.heappush if count <= limit else heapq.heappushpop
                    push(newest, (one.letter.written_at, count, one))
        return count, [one for *_, one in sorted(newest)]

    count, shown = with_database(work)
    if as_json:
        for one in shown:
            print_json(_whole(one) if unmasked else _summary(one, unmasked=False))
        return
    columns = ("at", "written_at", "reason", "replays", "replayed_at", "event_id", "key", "detail")
    rows = [{name: value for name, value in _summary(one, unmasked=unmasked).items() if name in columns}
            for one in shown]  # fmt: skip
    print_table(rows, "No dead letters.")
    if count > len(shown):
        say(f"Newest {len(shown):,} of {count:,}: show more with --limit.", err=True)


@dlq.command()
@click.argument("at", metavar="PLACE", callback=place)
@json_option
def show(at: str, as_json: bool) -> None:
    """Print one dead letter, complete and unmasked.

    Prints its origin, reason, headers and bytes. PLACE is as printed by `codewell dlq list`, such as
    message-render:0:17.
    """

    async def work(connection: Any, settings: Any) -> "HandledLetter | None":
        from codewell.recovery import dead_letters

        async with dead_letters.open_dead_letters(settings.kafka_config, settings.topic_prefix) as letters:
            return await letters.find(connection, at)

    one = with_database(work)
    if one is None:
        raise CodewellError(unknown_letter(at))
    facts = _whole(one)
    if as_json:
        print_json(facts)
        return
    headers, value = facts.pop("headers"), one.letter.record.value
    facts.pop("value", None)
    facts.pop("value_base64", None)
    print_facts(facts)
    say("\nheaders")
    for name, text in headers:
        say(f"  {printable(name)}: {'-' if text is None else printable(text)}")
    say(f"\nvalue ({len(value or b''):,} bytes)")
    say(_readable(value or b""))


def _summary(one: "HandledLetter", *, unmasked: bool) -> dict[str, Any]:
    """The letter's metadata, without the event."""
    from codewell.recovery.letter_facts import summary_of

    letter = one.letter
    secrets = {text for text in (letter.key, letter.profile_id) if text}
    if letter.event_id and not _UUID.fullmatch(letter.event_id):
        secrets.add(letter.event_id)

    def shown(text: str | None) -> str | None:
        return text if text is None or unmasked else with_masked(text, secrets)

    facts = summary_of(one)._asdict()
    return facts | {name: shown(facts[name]) for name in ("event_id", "key", "detail")}


def _whole(one: "HandledLetter") -> dict[str, Any]:
    """The letter with its event; a value that is not UTF-8 is encoded in base64."""
    from codewell.recovery.letter_facts import whole_of

    whole = whole_of(one, is_bounded=False)
    value = {"value": whole.value} if whole.value_base64 is None else {"value_base64": whole.value_base64}
    return {
        **whole.summary._asdict(),
        "came_from": whole.came_from,
        "purged_at": whole.purged_at,
        "headers": whole.headers,
        **value,
    }


def _readable(value: bytes) -> str:
    """Text unchanged; other bytes as a dump with offsets, hexadecimal bytes and printable characters."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text and all(character.isprintable() or character in "\n\t" for character in text):
        return text
    lines = []
    for start in range(0, len(value), _BYTES_A_LINE):
        piece = value[start : start + _BYTES_A_LINE]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{start:08x}  {piece.hex(' '):<{3 * _BYTES_A_LINE - 1}}  {letters}")
    return "\n".join(lines)
