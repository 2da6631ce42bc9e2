"""Decides the requests of a batch one by one: gives codes, refuses, waits, or redirects to fallbacks. Pure."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import repeat
from typing import NamedTuple

from codewell.issuing.answer_builder import AnswerBuilder
from codewell.issuing.assignment_keys import assignment_key
from codewell.issuing.decision import Decision
from codewell.issuing.fallbacks import Link, following
from codewell.issuing.model import AnswerRow, AssignmentKey, LockedStock, PooledCode, Request, RequestEvent
from codewell.issuing.refusal_texts import Against, refusals_text
from codewell.issuing.reserved_stock import ReservedStock, Stock, used_up
from codewell.issuing.waits import is_over
from codewell.pool.expiry import expiry_in_pool, expiry_when_attached
from codewell.pool.program_rules import ProgramRules, Source, closed_reason
from codewell.usage.usage_key import FALLBACK_OUTCOMES, UsageKey
from schemas.events import Reason

Preview = Callable[[ProgramRules, Request], str]


class _Wanted(NamedTuple):
    program: ProgramRules
    stock: Stock
    reuses_codes: bool
    answers: AnswerBuilder
    link: Link | None


class _Found(NamedTuple):
    """The named programs that give codes now to one source, the reasons against the others, and who is next for them.

    `next_links` has, by place, the fallback that comes after one that is closed.
    """

    wanted: list[_Wanted]
    refusals: list[Against]
    next_links: dict[int, Link]
    source: Source


class BatchDecider:
    """A batch of requests that is being decided; `decision` is what has been decided so far."""

    def __init__(
        self,
        programs: Mapping[str, ProgramRules],
        stocks: Mapping[int, Stock],
        assignments: Mapping[AssignmentKey, PooledCode],
        now: datetime,
        preview: Preview,
        decision: Decision | None = None,
    ) -> None:
        self.decision = decision or Decision.empty()
        self._programs = programs
        self._stocks = stocks
        self._assignments = assignments
        self._now = now
        self._preview = preview
        # Cache by kind of event, so by source, and by names: most requests of a batch name the same programs. Each
        # builder counts what it gave to one source. Links belong to the key where there are some.
        self._found: defaultdict[type[RequestEvent], dict[tuple[object, ...], _Found]] = defaultdict(dict)
        # Cache of JSON texts: most refused requests have the same reasons.
        self._refusals: dict[tuple[Source, tuple[Against, ...]], str] = {}
        self._refused: Counter[tuple[Source, tuple[Against, ...]]] = Counter()

    def part(self, stocks: Mapping[int, ReservedStock]) -> "BatchDecider":
        """A batch with the same decision, in which these stocks take the place of their programs' common stock."""
        own = {**self._stocks, **{program_id: stock.fastest for program_id, stock in stocks.items()}}
        return BatchDecider(self._programs, own, self._assignments, self._now, self._preview, self.decision)

    def common_stocks(self) -> list[LockedStock]:
        """The programs' common stock."""
        return [stock for stock in self._stocks.values() if isinstance(stock, LockedStock)]

    def decide(self, index: int, request: Request) -> None:
        """Decide one request; `index` is its place in the batch."""
        _, event, names, wait, links = request
        # A request that waited for a remote service is decided below: its refusal may name the service as the cause.
        if wait is None and event.deadline is not None and event.deadline <= self._now:
            self._refuse_late(request)
            return
        of_kind = self._found[event.__class__]
        key: tuple[object, ...] = names if links is None else (names, links)
        found = of_kind.get(key)
        if found is None:
            found = of_kind[key] = self._find(names, links or repeat(None), request.source)
        wanted, refusals, next_links, _ = found
        if refusals:
            self._refuse(request, refusals)
        elif next_links:
            self.decision.redirected[index] = request.redirected(next_links)
        elif event.preview:
            self._show(request, wanted)
        else:
            self._give_or_wait(index, request, wanted)

    def refuse_old(self, request: Request) -> None:
        """Refuse a request that may have been answered long ago: its answer may have left the database."""
        self._refuse(request, [Against(name, "request_too_old") for name in request.as_asked.names])

    def count(self) -> None:
        """Add the usage of all requests to the decision. Refused previews and unknown programs are not counted."""
        usage = self.decision.usage
        for of_kind in self._found.values():
            for found in of_kind.values():
                for one in found.wanted:
                    usage.update(one.answers.count(found.source))
                    if one.link is not None:
                        self._count_link(one.link, one.answers.attached + one.answers.reused, found.source)
        for (source, reasons), number in self._refused.items():
            for name, reason, link, _ in reasons:
                program = self._programs.get(name)
                if link is not None:
                    usage[UsageKey(link.asked_id, source, reason)] += number
                elif program is not None:
                    usage[UsageKey(program.id, source, reason)] += number

    def _count_link(self, link: Link, number: int, source: Source) -> None:
        if number:
            self.decision.fallbacks[link.asked_id, link.number] += number
            self.decision.usage[UsageKey(link.asked_id, source, FALLBACK_OUTCOMES[link.number - 1])] += number

    def _find(self, names: tuple[str, ...], links: Iterable[Link | None], source: Source) -> _Found:
        wanted: list[_Wanted] = []
        refusals: list[Against] = []
        next_links: dict[int, Link] = {}
        for ordinal, (name, link) in enumerate(zip(names, links, strict=False)):
            program = self._programs.get(name)
            reason = "program_unknown" if program is None else closed_reason(program, self._now)
            if program is not None and reason is None:
                answers = AnswerBuilder(program, self._now, self.decision.rows, self.decision.assignments, link)
                wanted.append(_Wanted(program, self._stocks[program.id], program.reuses_codes, answers, link))
            elif link is None:
                refusals.append(Against(name, reason or "program_unknown"))
            elif (after := link.next()) is not None:
                next_links[ordinal] = after
            else:
                refusals.append(Against(link.asked, link.reason, link))
        return _Found(wanted, refusals, next_links, source)

    def _give_or_wait(self, index: int, request: Request, wanted: list[_Wanted]) -> None:
        if request.links is not None:
            lacking = self._lacking(request, wanted)
            if lacking:
                self._refuse_or_wait(index, request, lacking)
                return
        else:
            for one in wanted:
                if one.stock.left == 0 and self._held(one, request) is None:
                    self._refuse_or_wait(index, request, self._lacking(request, wanted))
                    return
        if request.wait is not None and self._is_late(request):
            self._refuse_late(request)
        else:
            self._give(request, wanted)

    def _lacking(self, request: Request, wanted: list[_Wanted]) -> dict[int, _Wanted]:
        """By place, the programs that have no code for the request. Two places may have one and the same fallback."""
        lacking = {}
        needed: Counter[int] = Counter()
        for ordinal, one in enumerate(wanted):
            id_ = one.program.id
            if self._held(one, request) is not None or (one.reuses_codes and needed[id_]):
                continue
            needed[id_] += 1
            if one.stock.left < needed[id_]:
                lacking[ordinal] = one
        return lacking

    def _refuse_or_wait(self, index: int, request: Request, lacking: dict[int, _Wanted]) -> None:
        """Refuse a request that lacks codes of these programs, let it wait for them, or redirect it to fallbacks."""
        refusals: list[Against] = []
        awaited: list[_Wanted] = []
        next_links: dict[int, Link] = {}
        is_late = request.wait is not None and self._is_late(request)
        for ordinal, one in lacking.items():
            waited = is_over(request.wait, one.program, one.link, self._now)
            reason = None if one.stock.elsewhere > 0 else self._why_none(one.program, request, one.stock, waited)
            if reason is None:
                awaited.append(one)
            elif not is_late and (link := following(one.program, one.link, reason)) is not None:
                next_links[ordinal] = link._replace(waited=waited)
            elif one.link is not None:
                refusals.append(Against(one.link.asked, one.link.reason, one.link))
            else:
                refusals.append(Against(one.program.name, reason, used_up=used_up(one.stock)))
        if refusals:
            self._refuse(request, refusals)
        elif is_late:
            self._refuse_late(request)
        elif awaited:
            self._wait(index, request, awaited)
        else:
            self.decision.redirected[index] = request.redirected(next_links)

    def _why_none(self, program: ProgramRules, request: Request, stock: Stock, waited: bool) -> Reason | None:
        """Why an empty pool gives this request no code; None if codes may still arrive.

        `waited`: whether it has waited for them as long as it may.
        """
        if isinstance(stock, ReservedStock) and stock.reservation.on_order > 0:
            return "remote_failed" if waited else None
        if isinstance(stock, ReservedStock) and stock.reservation.refuses:
            return "pool_empty"
        if program.room <= 0 and program.on_order == 0:
            return "maximum_reached"
        if request.source is Source.PERSON and program.is_filled and not waited:
            return None
        if not program.can_create(request.source):
            return "pool_empty"
        return "remote_failed" if waited and program.codes_from == "remote" else None

    def _wait(self, index: int, request: Request, awaited: list[_Wanted]) -> None:
        """Let a request wait for the fastest source first: other workers' locks, new codes, then a delivery.

        A person's request never has codes made: the generator delivers them, as a remote service does.
        """
        busy = next((one.program for one in awaited if one.stock.elsewhere > 0), None)
        unmade = next((one.program for one in awaited if one.program.codes_from != "remote"), None)
        if busy is not None:
            stock = self._stocks[busy.id]
            if isinstance(stock, ReservedStock) and stock.own.elsewhere > 0:
                self.decision.busy_reserved.setdefault(stock.reservation.id, []).append(index)
            else:
                self.decision.busy.setdefault(busy.id, []).append(index)
        elif unmade is not None and request.source is not Source.PERSON:
            self.decision.unmade.setdefault((unmade.id, request.source), []).append(index)
        else:
            self.decision.ordered.append(index)

    def _is_late(self, request: Request) -> bool:
        deadline = request.event.deadline
        return deadline is not None and deadline <= self._now

    def _give(self, request: Request, wanted: list[_Wanted]) -> None:
        request_id, event, _, _, _ = request
        for ordinal, one in enumerate(wanted):
            if not one.reuses_codes:
                one.answers.attach(request_id, ordinal, event, one.stock.take())
                continue
            key = assignment_key(one.program, event)
            held = self._held_by(key, one.program)
            if held is None:
                one.answers.attach(request_id, ordinal, event, one.stock.take(), key)
            else:
                one.answers.attach_again(request_id, ordinal, event, held)

    def _held(self, wanted: _Wanted, request: Request) -> PooledCode | None:
        """The profile's assigned code, if it has an unexpired one."""
        if not wanted.reuses_codes:
            return None
        return self._held_by(assignment_key(wanted.program, request.event), wanted.program)

    def _held_by(self, key: AssignmentKey, program: ProgramRules) -> PooledCode | None:
        code = self.decision.assignments.get(key) or self._assignments.get(key)
        if code is None or not code.lives_at(self._now):
            return None
        # Each profile that gets a shared code gets it anew.
        if program.shared and not program.lives_long_enough(code.expires_at, self._now):
            return None
        return code

    def _show(self, request: Request, wanted: list[_Wanted]) -> None:
        for ordinal, (program, _, _, _, _) in enumerate(wanted):
            # The expiry of a code that is made and attached now.
            expires_at = expiry_when_attached(program, self._now, expiry_in_pool(program, self._now))
            text = self._preview(program, request)
            row = AnswerRow(
                request.id, ordinal, program.id, None, None, False, True, request.event.profile_id, text,
                expires_at, None, None, self._now,
            )  # fmt: skip
            self.decision.rows.append(row)

    def _refuse_late(self, request: Request) -> None:
        self._refuse(request, [Against(name, "deadline_passed") for name in request.as_asked.names])

    def _refuse(self, request: Request, reasons: list[Against]) -> None:
        key = (request.source, tuple(reasons))
        text = self._refusals.get(key)
        if text is None:
            text = self._refusals[key] = refusals_text(reasons, request.source)
        profile_id = request.event.profile_id
        preview = bool(request.event.preview)
        if not preview:
            self._refused[key] += 1
        self.decision.rows.append(
            AnswerRow(request.id, 0, None, None, None, False, preview, profile_id, None, None, None, text, self._now)
        )
