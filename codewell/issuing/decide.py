"""Decides a batch: each request gets all of its codes, is refused, or waits for codes. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from codewell.issuing.answer_builder import AnswerBuilder
from codewell.issuing.model import (
    AnswerRow,
    AssignmentKey,
    Decision,
    LockedStock,
    PooledCode,
    Request,
    assignment_key,
)
from codewell.pool.expiry import expiry_in_pool, expiry_when_attached
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_sentence
from schemas.events import Reason, Refusal

Preview = Callable[[ProgramRules, Request], str]


def decide(
    requests: Sequence[Request],
    programs: Mapping[str, ProgramRules],
    stocks: Mapping[int, LockedStock],
    assignments: Mapping[AssignmentKey, PooledCode],
    now: datetime,
    preview: Preview,
) -> Decision:
    """Give codes from `stocks` (by program id) to `requests` in their order, by the rules that hold at `now`.

    `now` is the database's time. A name that is not in `programs` is refused as unknown. A program's stock holds the
    codes that this claim has locked; its `pooled` counts all codes of its pool, whichever worker has locked them.
    """
    batch = _Batch(programs, stocks, assignments, now, preview)
    for index, request in enumerate(requests):
        batch.decide(index, request)
    for stock in stocks.values():
        batch.decision.taken.update(stock.moved())
    return batch.decision


class _Wanted(NamedTuple):
    program: ProgramRules
    stock: LockedStock
    reuses_codes: bool
    answers: AnswerBuilder


class _Batch:
    def __init__(
        self,
        programs: Mapping[str, ProgramRules],
        stocks: Mapping[int, LockedStock],
        assignments: Mapping[AssignmentKey, PooledCode],
        now: datetime,
        preview: Preview,
    ) -> None:
        self.decision = Decision([], {}, {}, {}, {}, [])
        self._programs = programs
        self._stocks = stocks
        self._assignments = assignments
        self._now = now
        self._preview = preview
        # Cache by names: most requests of a batch name the same programs.
        self._found: dict[tuple[str, ...], tuple[list[_Wanted], list[tuple[str, Reason]]]] = {}
        # Cache of JSON texts: most refused requests have the same reasons.
        self._refusals: dict[tuple[Source, tuple[tuple[str, Reason], ...]], str] = {}

    def decide(self, index: int, request: Request) -> None:
        _, event, names, waited_until = request
        # A request that waited for a remote service is decided below: its refusal may name the service as the cause.
        if waited_until is None and event.deadline is not None and event.deadline <= self._now:
            self._refuse(request, [(name, "deadline_passed") for name in names])
            return
        found = self._found.get(names)
        if found is None:
            found = self._found[names] = self._find(names)
        wanted, refusals = found
        if refusals:
            self._refuse(request, refusals)
        elif event.preview:
            self._show(request, wanted)
        else:
            self._give_or_wait(index, request, wanted)

    def _find(self, names: tuple[str, ...]) -> tuple[list[_Wanted], list[tuple[str, Reason]]]:
        """The named programs that give codes now, and the reasons against the others."""
        wanted: list[_Wanted] = []
        refusals: list[tuple[str, Reason]] = []
        for name in names:
            program = self._programs.get(name)
            reason = "program_unknown" if program is None else closed_reason(program, self._now)
            if reason is not None:
                refusals.append((name, reason))
            elif program is not None:
                answers = AnswerBuilder(program, self._now, self.decision.rows, self.decision.assignments)
                wanted.append(_Wanted(program, self._stocks[program.id], program.reuses_codes, answers))
        return wanted, refusals

    def _give_or_wait(self, index: int, request: Request, wanted: list[_Wanted]) -> None:
        for one in wanted:
            if one.stock.left == 0 and self._held(one, request) is None:
                self._refuse_or_wait(index, request, wanted)
                return
        if request.give_up_at is not None and self._on_head_timeout(request):
            self._refuse(request, [(name, "deadline_passed") for name in request.names])
        else:
            self._give(request, wanted)

    def _refuse_or_wait(self, index: int, request: Request, wanted: list[_Wanted]) -> None:
        """Refuse a request that lacks codes, or let it wait if they may still arrive."""
        refusals: list[tuple[str, Reason]] = []
        lacking: list[ProgramRules] = []
        for one in wanted:
            program, stock, _, _ = one
            if stock.left > 0 or self._held(one, request) is not None:
                continue
            reason = None if stock.elsewhere > 0 else self._why_none(program, request)
            if reason is None:
                lacking.append(program)
            else:
                refusals.append((program.name, reason))
        if request.give_up_at is not None and not refusals and self._on_head_timeout(request):
            refusals = [(name, "deadline_passed") for name in request.names]
        if refusals:
            self._refuse(request, refusals)
        else:
            self._wait(index, request, lacking)

    def _why_none(self, program: ProgramRules, request: Request) -> Reason | None:
        """Why an empty pool gives this request no code; None if codes may still arrive."""
        if program.room <= 0 and program.on_order == 0:
            return "maximum_reached"
        if not program.can_create(request.source):
            return "pool_empty"
        is_over = request.give_up_at is not None and request.give_up_at <= self._now
        return "remote_failed" if is_over and program.codes_from == "remote" else None

    def _wait(self, index: int, request: Request, lacking: list[ProgramRules]) -> None:
        """Let a request wait for the fastest source first: other workers' locks, new codes, then a remote service."""
        busy = next((program for program in lacking if self._stocks[program.id].elsewhere > 0), None)
        unmade = next((program for program in lacking if program.codes_from != "remote"), None)
        if busy is not None:
            self.decision.busy.setdefault(busy.id, []).append(index)
        elif unmade is not None:
            self.decision.unmade.setdefault((unmade.id, request.source), []).append(index)
        else:
            self.decision.ordered.append(index)

    def _on_head_timeout(self, request: Request) -> bool:
        deadline = request.event.deadline
        return deadline is not None and deadline <= self._now

    def _give(self, request: Request, wanted: list[_Wanted]) -> None:
        request_id, event, _, _ = request
        for ordinal, one in enumerate(wanted):
            held = self._held(one, request) if one.reuses_codes else None
            if held is None:
                one.answers.attach(request_id, ordinal, event, one.stock.take())
            else:
                one.answers.attach_again(request_id, ordinal, event, held)

    def _held(self, wanted: _Wanted, request: Request) -> PooledCode | None:
        """The profile's assigned code, if it has an unexpired one."""
        if not wanted.reuses_codes:
            return None
        key = assignment_key(wanted.program, request.event)
        code = self.decision.assignments.get(key) or self._assignments.get(key)
        if code is None or (code.expires_at is not None and code.expires_at <= self._now):
            return None
        return code

    def _show(self, request: Request, wanted: list[_Wanted]) -> None:
        for ordinal, (program, _, _, _) in enumerate(wanted):
            # The expiry of a code that is made and attached now.
            expires_at = expiry_when_attached(program, self._now, expiry_in_pool(program, self._now))
            text = self._preview(program, request)
            row = AnswerRow(
                request.id, ordinal, program.id, None, None, False, True, request.event.profile_id, text,
                expires_at, None, None, self._now,
            )  # fmt: skip
            self.decision.rows.append(row)

    def _refuse(self, request: Request, reasons: list[tuple[str, Reason]]) -> None:
        key = (request.source, tuple(reasons))
        text = self._refusals.get(key)
        if text is None:
            text = self._refusals[key] = _refusals(reasons, request.source)
        profile_id = request.event.profile_id
        preview = request.event.preview
        self.decision.rows.append(
            AnswerRow(request.id, 0, None, None, None, False, preview, profile_id, None, None, None, text, self._now)
        )


def _refusals(reasons: Sequence[tuple[str, Reason]], source: Source) -> str:
    """The refusals as JSON text."""
    refusals = [
        Refusal(program=name, reason=reason, detail=refusal_sentence(name, reason, source)).model_dump()
        for name, reason in reasons
    ]
    return json.dumps(refusals, ensure_ascii=False, separators=(",", ":"))
