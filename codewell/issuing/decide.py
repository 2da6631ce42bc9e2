"""Decides a batch: each request gets all of its codes, is refused, or waits for codes. Pure."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from itertools import chain, takewhile
from types import MappingProxyType
from uuid import UUID

from codewell.infra.id_times import is_before
from codewell.issuing.batch_decider import BatchDecider, Preview
from codewell.issuing.decision import Decision
from codewell.issuing.model import (
    AssignmentKey,
    LockedStock,
    MessageEvent,
    PooledCode,
    Request,
)
from codewell.issuing.reserved_stock import ReservedStock, Scope, scope_of
from codewell.issuing.runs import take_runs
from codewell.pool.program_rules import ProgramRules


def decide(
    requests: Sequence[Request],
    programs: Mapping[str, ProgramRules],
    stocks: Mapping[int, LockedStock],
    assignments: Mapping[AssignmentKey, PooledCode],
    now: datetime,
    preview: Preview,
    reserved: Mapping[Scope, Mapping[int, ReservedStock]] = MappingProxyType({}),
    oldest: UUID | None = None,
    keys_by_names: Mapping[tuple[str, ...], Sequence[AssignmentKey]] = MappingProxyType({}),
) -> Decision:
    """Give codes from `stocks` (by program id) to `requests` in their order, by the rules that hold at `now`.

    `now` is the database's time. A name that is not in `programs` is refused as unknown. A program's stock holds the
    codes that this claim has locked; its `pooled` counts all codes of its pool, whichever worker has locked them.
    Requests of a campaign or scenario that has reservations take from `reserved` instead. Requests with ids before
    `oldest` are refused; with it, `requests` are in the order of their ids. `keys_by_names`: what the function of this
    name made of `requests` and `programs`, if it did.
    """
    batch = BatchDecider(programs, stocks, assignments, now, preview)
    old: frozenset[int] = frozenset() if oldest is None else _refuse_old(batch, requests, oldest)
    if reserved:
        return _decide_with_reservations(batch, requests, reserved, old)
    if old:
        others = [index for index in range(len(requests)) if index not in old]
    else:
        runs = take_runs(requests, programs, stocks, assignments, now, keys_by_names)
        batch.decision.runs.extend(runs.runs)
        batch.decision.assignments.update(runs.assignments)
        batch.decision.usage.update(runs.usage)
        others = runs.others
    for index in others:
        batch.decide(index, requests[index])
    batch.decision.taken.update(chain.from_iterable(map(LockedStock.moved, stocks.values())))
    batch.count()
    return batch.decision


def _refuse_old(batch: BatchDecider, requests: Sequence[Request], oldest: UUID) -> frozenset[int]:
    """Refuse the requests that are too old; returns their places."""
    if not requests or requests[0].id >= oldest:
        return frozenset()
    first = takewhile(lambda request: request.id < oldest, requests)
    old = [index for index, request in enumerate(first) if is_before(request.id, oldest)]
    for index in old:
        batch.refuse_old(requests[index])
    return frozenset(old)


def _decide_with_reservations(
    batch: BatchDecider, requests: Sequence[Request], reserved: Mapping[Scope, Mapping[int, ReservedStock]],
    old: Container[int],
) -> Decision:  # fmt: skip
    """As `decide`, with a part for each campaign that has reservations. The parts share the common stock."""
    parts = {scope: batch.part(stocks) for scope, stocks in reserved.items()}
    campaigns = {scope.id: part.decide for scope, part in parts.items() if scope.source == "campaign"}
    decide_one = batch.decide
    for index, request in enumerate(requests):
        if index in old:
            continue
        event = request.event
        if isinstance(event, MessageEvent):
            campaigns.get(event.campaign_id, decide_one)(index, request)
        else:
            scope = scope_of(event)
            part = batch if scope is None else parts.get(scope, batch)
            part.decide(index, request)
    decision = batch.decision
    moved = {
        block_id: (*positions, str(scope))
        for scope, stocks in reserved.items()
        for stock in stocks.values()
        for block_id, positions in stock.own.moved()
    }
    for common in batch.common_stocks():
        decision.taken.update(common.moved())
    for one in (batch, *parts.values()):
        one.count()
    decision.reserved.update(moved)
    return decision
