"""Commands that publish requests as a sender does, and show the answers."""

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from codewell.errors import CodewellError, StackUnavailable
from codewell.plurals import counted
from codewell.validation import first_mistake
from schemas.events import DATA_OF_TYPE
from schemas.topics import REQUEST_TYPE
from services.cli.moments import read_start, time_zone_option
from services.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from codewell.client.exchange import OutgoingRequest

_PROFILES = click.argument("profiles", nargs=-1, metavar="[PROFILE]...")
_FILE = click.option(
    "--file", "file", type=click.File(encoding="utf-8"), help="File of profile ids, one per line; - is standard input."
)
_PREVIEW = click.option("--preview", is_flag=True, help="Return sample codes that are attached to no profile.")
_DEADLINE = click.option(
    "--deadline", metavar="TIME", callback=read_start, help="Answer before this time or refuse, as 2026-12-01T12:00."
)
_TIMEOUT = click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1, 3_600), default=30.0, show_default=True,
    help="Maximum wait for the next answer (s).",
)  # fmt: skip


@click.group()
def send() -> None:
    """Publish code requests and show the answers."""


@send.command("message-render")
@_PROFILES
@_FILE
@click.option("--campaign", default="cli", show_default=True, help="Campaign id.")
@click.option("--program", "programs", multiple=True, help="Short name of a program; repeatable.")
@click.option("--template", help="Message text, as 'Hello! {loyalty.SPRING.promocode}'.")
@_PREVIEW
@_DEADLINE
@time_zone_option
@_TIMEOUT
@json_option
def message_render(
    profiles: tuple[str, ...], file: IO[str] | None, campaign: str, programs: tuple[str, ...], template: str | None,
    preview: bool, deadline: datetime | None, timeout_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Request the codes of a message for each PROFILE.

    Exit status 1 if a request is refused or has no answer.
    """
    data = {"campaign_id": campaign, "programs": programs, "template": template, "deadline": deadline}
    _send("message-render", _profiles(profiles, file), data | {"preview": preview}, timeout_s, as_json)


@send.command("scenario-step")
@_PROFILES
@_FILE
@click.option("--scenario", default="cli", show_default=True, help="Scenario id.")
@click.option("--step", default="1", show_default=True, help="Step id.")
@click.option("--program", required=True, help="Short name of the program.")
@_PREVIEW
@_DEADLINE
@time_zone_option
@_TIMEOUT
@json_option
def scenario_step(
    profiles: tuple[str, ...], file: IO[str] | None, scenario: str, step: str, program: str,
    preview: bool, deadline: datetime | None, timeout_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Request the code of a scenario step for each PROFILE.

    Exit status 1 if a request is refused or has no answer.
    """
    data = {"scenario_id": scenario, "step_id": step, "program": program, "deadline": deadline}
    _send("scenario-step", _profiles(profiles, file), data | {"preview": preview}, timeout_s, as_json)


def _profiles(given: tuple[str, ...], file: IO[str] | None) -> list[str]:
    try:
        lines = [line.strip() for line in file or () if line.strip()]
    except UnicodeDecodeError as error:
        raise click.BadParameter("must be UTF-8 text.", param_hint="--file") from error
    if not given and not lines:
        raise click.UsageError("Missing profiles: give at least one PROFILE, or a file with --file.")
    return [*given, *lines]


def _send(topic: str, profiles: list[str], data: dict[str, Any], timeout_s: float, as_json: bool) -> None:
    from aiokafka.errors import KafkaError

    from codewell.infra.kafka.clients import outage_reason

    try:
        unanswered, refused = asyncio.run(_exchange(topic, profiles, data, timeout_s, as_json))
    except KafkaError as error:
        raise StackUnavailable(
            f"Kafka failed meanwhile ({outage_reason(error)}): the requests that it took are answered all the same, so "
            "look which profiles have a code before you send again."
        ) from error
    total = counted(len(profiles), "request")
    if unanswered:
        raise CodewellError(
            f"{unanswered:,} of {total} {'has' if unanswered == 1 else 'have'} no answer after {timeout_s:g} s: "
            "check that an issuer runs, and list the dead letters with codewell dlq list."
        )
    if refused:
        raise CodewellError(f"{refused:,} of {total} {'was' if refused == 1 else 'were'} refused: see why above.")


async def _exchange(
    topic: str, profiles: list[str], data: dict[str, Any], timeout_s: float, as_json: bool
) -> tuple[int, int]:
    """Publish the requests and print their answers. Returns how many have no answer, and how many were refused."""
    from codewell.client.exchange import build_request, open_exchange
    from codewell.infra.config.settings import StackSettings, read_settings

    settings = read_settings(StackSettings)
    given = {key: value for key, value in data.items() if value not in (None, ())}
    try:
        requests = [build_request(topic, {"profile_id": profile, **given}) for profile in profiles]
    except ValueError as error:
        raise CodewellError("A profile id or an option is not a text in UTF-8. Nothing was sent.") from error
    _check(requests)
    missing = {str(request.request_id) for request in requests}
    rows = []
    refused = 0
    async with open_exchange(settings.kafka_config, settings.topic_prefix) as opened:
        await opened.publish(requests)
        deadline = time.monotonic() + timeout_s
        async for answer in opened.answers(timeout_s):
            if answer.data["request_id"] not in missing:
                # Other requests' answers do not extend the wait for one's own.
                if time.monotonic() > deadline:
                    break
                continue
            deadline = time.monotonic() + timeout_s
            missing.discard(answer.data["request_id"])
            refused += answer.data["outcome"] == "refused"
            if as_json:
                print_json(answer.data)
            else:
                rows.append(_row(answer.data))
            if not missing:
                break
    if not as_json:
        print_table(rows, "No answers.")
    return len(missing), refused


def _check(requests: Iterable["OutgoingRequest"]) -> None:
    """Refuse all requests when an issuer could not answer one: an error here instead of a dead letter."""
    for request in requests:
        try:
            DATA_OF_TYPE[REQUEST_TYPE[request.topic]].model_validate_json(request.value)
        except ValidationError as error:
            raise CodewellError(f"{first_mistake(error, 'The request')}. Nothing was sent.") from error


def _row(data: dict[str, Any]) -> dict[str, object]:
    codes: Iterable[dict[str, Any]] = data.get("codes", ())
    refusals: Iterable[dict[str, Any]] = data.get("refusals", ())
    return {
        "profile": data["profile_id"],
        "outcome": "preview" if data.get("preview") else data["outcome"],
        "codes": " ".join(code["code"] for code in codes) or None,
        "why": " ".join(refusal["detail"] for refusal in refusals) or None,
        "rendered": data.get("rendered"),
    }
