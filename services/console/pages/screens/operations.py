"""The operators' page: workers, rates, lag, Kafka and Postgres."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.usage import Lags, Worker, Workers
from services.console.pages.api_calls import ApiRefusal
from services.console.pages.live.sampler import Sample
from services.console.pages.live.stream import Parts
from services.console.pages.rendering import rendered_part
from services.console.pages.visit import CurrentVisit, Visit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
# The page is shown without Kafka's answer if it takes longer; the stream brings it.
_LAG_WAIT_S: Final = 1.0
_TEMPLATE: Final = "parts/operations.html"
_PARTS: Final = ("age", "servers", "rates", "workers", "lag")
_SOURCES: Final = ("campaign", "scenario", "person")


@dataclass(frozen=True)
class WorkerRow:
    """A worker as the page lists it. `does` says how much it does."""

    worker: Worker
    words: str
    kind: str
    does: str
    p99_ms: float | None


@dataclass(frozen=True)
class OperationsView:
    """What the page shows."""

    at: datetime
    rows: list[WorkerRow]
    missing: list[str]
    """Services of which no worker runs."""
    rates: list[tuple[str, float, float]]
    """Source, codes attached a second, programs refused a second."""
    answers_per_s: float
    p99_ms: float | None
    retries_per_s: float
    dead_letters_per_s: float
    lags: Lags | None
    kafka_error: str
    postgres_error: str


@router.get("/operations")
async def show_operations(visit: CurrentVisit) -> Response:
    """Workers, rates and lag as they are now; the stream keeps them so."""
    visit.require("admin")
    workers = await visit.api.get("/workers", Workers)
    lags, kafka_error = await _lags(visit)
    sample = Sample(datetime.now(UTC), workers.workers, lags, kafka_error)
    return visit.render("screens/operations.html", parts=parts(sample))


def parts(sample: Sample) -> Parts:
    """The parts of the page that change, by id."""
    view = _view(sample)
    return {f"live-{name}": rendered_part(_TEMPLATE, name, view) for name in _PARTS}


async def _lags(visit: Visit) -> tuple[Lags | None, str]:
    try:
        return await asyncio.wait_for(visit.api.get("/lag", Lags), _LAG_WAIT_S), ""
    except ApiRefusal as refused:
        return None, refused.detail
    except TimeoutError:
        return None, ""


def _view(sample: Sample) -> OperationsView:
    issuers = [one for one in sample.workers if one.service == "issuer" and one.state in {"running", "stopping"}]
    running = {one.service for one in sample.workers if one.state in {"running", "stopping"}}
    latencies = [ms for one in issuers if (ms := _number(one, "answer_p99_ms")) is not None]
    attached, refused = _by_source(sample, "attached_per_s"), _by_source(sample, "refused_per_s")
    return OperationsView(
        at=sample.at,
        rows=[_row(one) for one in sample.workers],
        missing=[name for name in ("issuer", "generator", "console") if name not in running],
        rates=[(source, attached[source], refused[source]) for source in _SOURCES],
        answers_per_s=sum(_number(one, "answers_per_s") or 0.0 for one in issuers),
        p99_ms=max(latencies, default=None),
        retries_per_s=sum(_number(one, "retries_per_s") or 0.0 for one in issuers),
        dead_letters_per_s=sum(_number(one, "dead_letters_per_s") or 0.0 for one in issuers),
        lags=sample.lags,
        kafka_error=sample.kafka_error,
        postgres_error=sample.postgres_error,
    )


def _row(worker: Worker) -> WorkerRow:
    words, kind = _state(worker)
    if worker.state in {"lost", "stopped"}:
        return WorkerRow(worker, words, kind, "", None)
    match worker.service:
        case "issuer":
            does, latency = _("%(rate)s answers/s") % {"rate": _rate(worker, "answers_per_s")}, "answer_p99_ms"
        case "generator":
            does, latency = _("%(rate)s codes made/s") % {"rate": _rate(worker, "codes_made_per_s")}, ""
        case "console":
            does, latency = _("%(rate)s requests/s") % {"rate": _rate(worker, "http_requests_per_s")}, "http_p99_ms"
    return WorkerRow(worker, words, kind, does, _number(worker, latency))


def _state(worker: Worker) -> tuple[str, str]:
    match worker.state:
        case "running":
            return (_("ready"), "good") if worker.ready else (_("waiting"), "warn")
        case "stopping":
            return _("stopping"), "busy"
        case "stopped":
            return _("stopped"), ""
        case "lost":
            return _("lost"), "bad"


def _by_source(sample: Sample, name: str) -> dict[str, float]:
    sums = dict.fromkeys(_SOURCES, 0.0)
    for one in sample.workers:
        counted = one.counters.get(name)
        if one.state in {"running", "stopping"} and isinstance(counted, dict):
            for source, number in counted.items():
                sums[source] = sums.get(source, 0.0) + number
    return sums


def _number(worker: Worker, name: str) -> float | None:
    found = worker.counters.get(name)
    return float(found) if isinstance(found, (int, float)) else None


def _rate(worker: Worker, name: str) -> str:
    number = _number(worker, name) or 0.0
    return f"{number:,.0f}" if number == 0 or number >= 10 else f"{number:,.1f}"
