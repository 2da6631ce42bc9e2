"""The command that shows the whole system on one screen."""

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import click

from services.cli.output import json_option, print_json, say, with_database

if TYPE_CHECKING:
    from codewell.infra.postgres.connection import Connection
    from codewell.pool.levels import PoolLevel
    from schemas.usage import Lags, Worker

WIDTH: Final = 80
_POOLS_SHOWN: Final = 5
_WATCH_INTERVAL_S: Final = 2.0
# What each service does a second: counter, words, latency.
_RATES: Final = {
    "issuer": ("answers", "answers", "answer_p99_ms"),
    "generator": ("codes_made", "codes made", ""),
    "console": ("http_requests", "requests", "http_p99_ms"),
}


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every 2 s, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show workers, lag, low pools, retries and dead letters.

    Workers report every 5 s. Kafka is asked for the lag; if it is away, the rest is shown. Exits with status 1 if Kafka
    is away or no worker of a service is ready. A watch goes on while Postgres is away.
    """
    if watch:
        # Ctrl-C is how a watch ends.
        with contextlib.suppress(KeyboardInterrupt):
            _watch(as_json)
        return
    read = with_database(_read)
    _print(read, as_json)
    if not _is_well(read):
        raise click.exceptions.Exit(1)


def _watch(as_json: bool) -> None:
    from codewell.errors import StackUnavailable

    while True:
        try:
            read = with_database(_read)
        except StackUnavailable as error:
            say(str(error), err=True)
        else:
            if not as_json:
                click.clear()
            _print(read, as_json)
        time.sleep(_WATCH_INTERVAL_S)


def _print(read: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(read)
        return
    for line in lines(read):
        say(line.rstrip())


async def _read(connection: "Connection", settings: Any) -> dict[str, Any]:
    from codewell.errors import StackUnavailable
    from codewell.infra.kafka.group_lag import read_lags
    from codewell.pool.levels import OTHER, levels
    from codewell.usage.figures import workers

    lags: Lags | None = None
    kafka = "ready"
    try:
        lags = await read_lags(settings.kafka_config, settings.topic_prefix)
    except StackUnavailable as error:
        kafka = str(error)
    found = await levels(connection, _POOLS_SHOWN)
    return {
        "at": await connection.fetchval("SELECT date_trunc('second', now())"),
        "kafka": kafka,
        "workers": await workers(connection),
        "lags": [] if lags is None else lags.lags,
        "pools": [_pool(one) for one in found if one.program != OTHER],
        "waiting": None if lags is None else sum(one.lag for one in lags.lags if one.topic.endswith(".retry")),
        "dead_letters": {} if lags is None else lags.dead_letters,
    }


def _pool(level: "PoolLevel") -> dict[str, Any]:
    return {
        "program": level.program,
        "ready": int(level.pooled),
        "mark": None if level.mark is None else int(level.mark),
    }


def _is_well(read: dict[str, Any]) -> bool:
    ready = {one.service for one in read["workers"] if one.ready}
    return read["kafka"] == "ready" and ready >= {"issuer", "generator", "console"}


def lines(read: dict[str, Any]) -> list[str]:
    """The screen: at most WIDTH characters a line."""
    shown = [f"Codewell at {read['at']:%Y-%m-%d %H:%M:%S} UTC", ""]
    shown += _worker_lines(read["workers"])
    shown += ["", f"{'LAG':<44}{'group':<24}{'records':>12}"]
    shown += [f"{_cut(one.topic, 43):<44}{_cut(one.group, 23):<24}{one.lag:>12,}" for one in read["lags"]]
    if read["kafka"] != "ready":
        shown.append(_cut(f"  unknown: {read['kafka']}", WIDTH))
    shown += ["", f"{'LOWEST POOLS':<44}{'ready':>15}{'mark':>15}"]
    shown += [_pool_line(one) for one in read["pools"]] or ["  no program gives codes now"]
    waiting, letters = read["waiting"], read["dead_letters"]
    shown += ["", f"WAITING       {'unknown' if waiting is None else f'{waiting:,}'} requests in the retry topics"]
    counts = ", ".join(f"{number:,} in {topic}" for topic, number in letters.items() if number)
    shown.append(_cut(f"DEAD LETTERS  {counts or ('none' if letters else 'unknown')}", WIDTH))
    return shown


def _worker_lines(workers: list["Worker"]) -> list[str]:
    shown = [f"{'WORKERS':<10}{'host:pid':<24}{'version':<10}{'state':<9}{'a second':>18}{'p99':>9}"]
    for one in workers:
        rate, p99 = _rate(one)
        place = f"{_cut(one.host, 15)}:{one.pid}"
        shown.append(f"{one.service:<10}{place:<24}{_cut(one.version, 9):<10}{_state(one):<9}{rate:>18}{p99:>9}")
        shown += [_cut(f"  waits for {what}: {why}", WIDTH) for what, why in one.waiting_for.items()]
    present = {one.service for one in workers if one.state in {"running", "stopping"}}
    shown += [f"{name:<10}none runs" for name in ("issuer", "generator", "console") if name not in present]
    return shown


def _state(worker: "Worker") -> str:
    if worker.state != "running":
        return worker.state
    return "ready" if worker.ready else "waiting"


def _rate(worker: "Worker") -> tuple[str, str]:
    """What a worker does a second, and its latency."""
    if worker.state == "lost":
        return "-", "-"
    # Services without such figures show none.
    what, words, latency = _RATES.get(worker.service, ("", "", ""))
    rate, p99 = worker.counters.get(f"{what}_per_s"), worker.counters.get(latency)
    shown = f"{rate:,.0f} {words}" if isinstance(rate, float) else "-"
    return shown, f"{p99:,.0f} ms" if isinstance(p99, float) else "-"


def _pool_line(pool: dict[str, Any]) -> str:
    ready, mark = pool["ready"], pool["mark"]
    share = f"{min(ready / mark, 1):.0%}" if mark else ""
    return f"{_cut(pool['program'], 43):<44}{ready:>15,}{'-' if mark is None else f'{mark:,}':>15}{share:>6}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
