"""Starts a fresh stack, creates a program as in the guide, publishes requests, and checks and shows their answers."""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from codewell.client.exchange import (
    Exchange,
    OutgoingRequest,
    ReceivedAnswer,
    build_request,
    open_exchange,
    publish_program_changed,
)
from codewell.errors import CodewellError
from codewell.infra.config.effective_settings import masked_url
from codewell.infra.config.settings import home
from codewell.infra.kafka.clients import started_producer
from codewell.infra.postgres.connection import connection
from codewell.infra.process.lifecycle import unless_stopped
from codewell.infra.telemetry.logs import configure
from codewell.minting.template import Template
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.program import ProgramSettings, Stock, TemplateSource
from services.standalone.demo_checks import DemoCheck, check
from services.standalone.demo_scenes import play
from services.standalone.home import Endpoints, Home
from services.standalone.main import StackOptions, stack
from services.standalone.sign_in_link import sign_in_url

# As in examples/customers.csv, which the guide imports: the demo needs no file, so that it runs from any folder.
_CUSTOMERS: Final = [f"p-{number}" for number in range(10_001, 15_001)]
_QUIET_TIMEOUT_S: Final = 15.0
_POOL_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_SHOWN: Final = 10

TEMPLATE: Final = Template.parse("{string 4}-{number 4}-{upstring 4}")
PROGRAM: Final = ProgramSettings(
    name="SPRING",
    title="Spring sale",
    source=TemplateSource(kind="template", template=TEMPLATE.text),
    scenario_can_create=True,
    campaign_can_create=True,
    codes_max=1_000_000,
    pool_max=100_000,
    ttl=timedelta(days=30),
)


async def demonstrate(
    messages: int, steps: int, leave: bool, stop: asyncio.Event, result: Callable[[bool], None]
) -> None:
    """Run the demo; calls `result` with whether all checks passed. Raises CodewellError when the stack can't start."""
    console = Console(highlight=False)
    configure("demo", "error")
    where = home() / "demo"
    await _make_fresh(where)
    with console.status("starting Postgres and Kafka") as status:
        started = time.monotonic()
        options = StackOptions(where, issuers=2, progress=status.update)
        async with stack(options, stop) as endpoints:
            status.stop()
            if endpoints is None:
                return
            console.print(f"Postgres, Kafka, 1 generator, 2 issuers and the console are ready after "
                          f"{time.monotonic() - started:.1f} s.")  # fmt: skip
            held = await unless_stopped(stop, _play(endpoints, messages, steps, console))
            if held is None:
                return
            result(held)
            _show_endpoints(endpoints, where, console)
            if not leave:
                console.print(f"Sign in   {await sign_in_url(endpoints)}  (once, within 60 s)", soft_wrap=True)
                console.print(f"          CODEWELL_HOME={where} codewell console open makes another link")
                console.print("\nCtrl-C stops everything.")
                await stop.wait()


async def _play(endpoints: Endpoints, messages: int, steps: int, console: Console) -> bool:
    await _make_program(endpoints, console)
    return await _issue(endpoints, _requests(_CUSTOMERS, messages, steps), console)


async def _make_fresh(where: Path) -> None:
    """Lock the directory, so that no running demo loses its data, and empty it."""
    if where.exists():
        (await Home.open(where)).close()
        shutil.rmtree(where)


def _requests(customers: Sequence[str], messages: int, steps: int) -> list[OutgoingRequest]:
    profiles = cycle(customers)
    template = "Hello! Your code is {loyalty.SPRING.promocode}"
    requests = [
        build_request("message-render", {"profile_id": profile, "campaign_id": "spring", "template": template})
        for profile in islice(profiles, messages)
    ]
    requests += [
        build_request(
            "scenario-step",
            {"profile_id": profile, "scenario_id": "welcome", "step_id": "s-3", "program": PROGRAM.name},
        )
        for profile in islice(profiles, steps)
    ]
    return requests


async def _make_program(endpoints: Endpoints, console: Console) -> None:
    """Create the program, and wait until the generator has filled its pool."""
    async with connection(endpoints.postgres_url, "codewell-demo") as opened:
        program = await programs.create(opened, Minters(None), PROGRAM, guesses_per_s=10)
    started = time.monotonic()
    async with started_producer(endpoints.kafka_bootstrap) as producer:
        await publish_program_changed(producer, "", program.id, program.name)
    while (stock := await _stock(endpoints)).pooled < program.pool_max:
        if time.monotonic() - started > _POOL_TIMEOUT_S:
            raise CodewellError("The generator did not fill the pool: check its log.")
        await asyncio.sleep(_POLL_S)
    console.print(
        f"Program {program.name} ({TEMPLATE.text}) is created, and the generator filled its pool with "
        f"{stock.pooled:,} codes in {time.monotonic() - started:.2f} s."
    )


async def _issue(endpoints: Endpoints, requests: Sequence[OutgoingRequest], console: Console) -> bool:
    asked = [request.request_id for request in requests]
    async with open_exchange(endpoints.kafka_bootstrap, "") as opened:
        started = time.monotonic()
        publishing = asyncio.create_task(opened.publish(requests))
        try:
            answers, last = await _collect(opened, asked, console)
            await publishing
        finally:
            publishing.cancel()
        checks = check(asked, answers, TEMPLATE, await _stock(endpoints))
        _show(answers, checks, last - started, console)
        scenes = await play(endpoints, opened)
    console.print("\nWhere not all goes as planned")
    _show_checks(scenes, console)
    return all(one.held for one in (*checks, *scenes))


async def _collect(opened: Exchange, asked: Sequence[UUID], console: Console) -> tuple[list[ReceivedAnswer], float]:
    """All answers, once each request has one, and the time of the last."""
    missing = {str(request_id) for request_id in asked}
    answers: list[ReceivedAnswer] = []
    columns = (TextColumn("answers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("answers", total=len(missing))
        last = time.monotonic()
        async for answer in opened.answers(_QUIET_TIMEOUT_S):
            answers.append(answer)
            last = time.monotonic()
            missing.discard(answer.data["request_id"])
            progress.update(task, completed=len(asked) - len(missing))
            if not missing:
                break
    return answers, last


async def _stock(endpoints: Endpoints) -> Stock:
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"Authorization": f"Bearer {endpoints.admin_token}"}
        answer = await client.get(f"{endpoints.api_url}/api/v1/programs/{PROGRAM.name}/stock", headers=headers)
        return Stock.model_validate(answer.raise_for_status().json())


def _show(answers: Sequence[ReceivedAnswer], checks: Sequence[DemoCheck], took_s: float, console: Console) -> None:
    table = Table("request", "profile", "code", "expires", "rendered", title="The first ten answers")
    for answer in answers[:_SHOWN]:
        codes = answer.data.get("codes") or [{"code": "refused", "expires_at": None}]
        table.add_row(
            answer.data["request_id"],
            answer.data["profile_id"],
            codes[0]["code"],
            (codes[0]["expires_at"] or "")[:10],
            answer.data.get("rendered", ""),
        )
    console.print(table)
    _show_checks(checks, console)
    console.print(
        f"  {len(answers):,} answers in {took_s:.2f} s, {len(answers) / took_s:,.0f} a second, publishing included"
    )


def _show_checks(checks: Sequence[DemoCheck], console: Console) -> None:
    for one in checks:
        console.print(f"  [{'green' if one.held else 'bold red'}]{'✓' if one.held else '✗'}[/] {one.says}: {one.seen}")


def _show_endpoints(endpoints: Endpoints, where: Path, console: Console) -> None:
    console.print(f"\nKafka     {endpoints.kafka_bootstrap}")
    console.print(f"Postgres  {masked_url(endpoints.postgres_url)}, its password in endpoints.json")
    console.print(f"Console   {endpoints.api_url}  (try /readyz, /metrics, /openapi.json)")
    # One line at any terminal width, so that it can be copied.
    stock_url = f"{endpoints.api_url}/api/v1/programs/{PROGRAM.name}/stock"
    console.print(f"Stock     curl -H 'Authorization: Bearer {endpoints.admin_token}' {stock_url}", soft_wrap=True)
    console.print(f"Commands  CODEWELL_HOME={where} codewell program show {PROGRAM.name}")
