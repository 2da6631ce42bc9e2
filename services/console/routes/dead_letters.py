"""Endpoints for dead letters, for operators: they belong to no program, and so to no access group."""

from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, Path, Query
from fastapi.responses import Response

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.recovery import newest_letters
from codewell.recovery.dead_letters import FIRST, LetterFilter, LetterPosition
from codewell.recovery.letter_facts import whole_of
from codewell.recovery.purging import PURGE_START, Purge, PurgePosition
from codewell.recovery.replaying import ReplayOptions, replay_step
from schemas import patterns
from schemas.api import Page
from schemas.dead_letters import (
    CompleteLetter,
    LetterChoice,
    LetterPlace,
    ListedLetter,
    PurgedLetters,
    PurgeLetters,
    ReplayedLetters,
    ReplayLetters,
    RequestTopic,
)
from schemas.events import DeadReason
from schemas.moments import EndMoment, StartMoment
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Admin
from services.console.http.idempotency import IdempotencyGuard
from services.console.http.problems import MAKING, HttpProblem, documented
from services.console.routes import operator_examples as shown
from services.console.routes.examples import answer

router = APIRouter(tags=["dead letters"])
ConsoleContext = Annotated[Context, Depends(context)]
_PLACES_MAX: Final = 20


async def operator(caller: Admin) -> Token:
    """FastAPI dependency: the caller's token; 403 unless it has the scope admin and no access groups."""
    if caller.groups:
        sentence = "Dead letters belong to no access group: use a token without groups."
        raise HttpProblem("group_refused", sentence)
    return caller


Operator = Annotated[Token, Depends(operator)]


@router.get(
    "/dead-letters",
    responses=answer(200, "A page of dead letters, newest first", shown.DEAD_LETTERS)
    | documented("cursor_invalid", "dead_letters_busy", "group_refused"),
)
async def list_dead_letters(
    here: ConsoleContext,
    _: Operator,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
    topic: Annotated[RequestTopic | None, Query(description="Only letters of events of this topic.")] = None,
    reason: Annotated[DeadReason | None, Query(description="Only letters with this reason.")] = None,
    since: Annotated[StartMoment | None, Query(description="Only letters written from then on.")] = None,
    until: Annotated[EndMoment | None, Query(description="Only letters written before then.")] = None,
    profile: Annotated[
        str | None,
        Query(min_length=1, max_length=256, pattern=patterns.TEXT, description="The record's key, or its profile."),
    ] = None,
    at: Annotated[list[LetterPlace] | None, Query(max_length=_PLACES_MAX, description="Only these places.")] = None,
) -> Page[ListedLetter]:
    """List dead letters that are not purged. A page may be short or empty; the last one has no `next_cursor`."""
    wanted = LetterFilter(topic, reason, since, until, profile, tuple(at or ()))
    before = None if cursor is None else pagination.numbers_of(cursor)
    async with here.dead_letters.opened(here.pool) as opened:
        try:
            page = await newest_letters.page(opened.letters, opened.connection, wanted, limit, opened.limit, before)
        except ValueError as error:
            raise pagination.broken() from error
    return Page(
        items=[ListedLetter(**one._asdict()) for one in page.letters],
        next_cursor=None if page.next is None else pagination.of_numbers(page.next),
    )


@router.get(
    "/dead-letters/{at}",
    responses=answer(200, "The dead letter", shown.DEAD_LETTER)
    | documented("dead_letter_unknown", "dead_letters_busy", "group_refused"),
)
async def show_dead_letter(
    here: ConsoleContext,
    _: Operator,
    at: Annotated[LetterPlace, Path(description="The letter's place.", examples=["message-render:0:17"])],
) -> CompleteLetter:
    """Get a dead letter with its headers and its event, purged or not."""
    async with here.dead_letters.opened(here.pool) as opened:
        found = await opened.letters.find(opened.connection, at)
    if found is None:
        sentence = f"There is no dead letter {at}: list the existing ones. Kafka deletes old ones."
        raise HttpProblem("dead_letter_unknown", sentence)
    whole = whole_of(found, is_bounded=True)
    return CompleteLetter(
        **whole.summary._asdict(),
        profile_id=whole.profile_id,
        came_from=whole.came_from,
        purged_at=whole.purged_at,
        headers=whole.headers,
        value=whole.value,
        value_base64=whole.value_base64,
        cut=whole.is_cut,
    )


@router.post(
    "/dead-letters:replay",
    response_model=ReplayedLetters,
    responses=answer(200, "What the step did", shown.REPLAYED_LETTERS)
    | documented(*MAKING, "cursor_invalid", "dead_letters_busy", "group_refused"),
)
async def replay_dead_letters(
    here: ConsoleContext,
    caller: Operator,
    idempotency: IdempotencyGuard,
    wanted: Annotated[ReplayLetters, Body(examples=[shown.REPLAY_LETTERS])],
) -> Response:
    """Publish the events of dead letters again, each once, in steps of some thousand letters.

    Repeat the request with `next_cursor` until it is null. Nothing is lost or published twice when a step is
    interrupted: send it again. Only with `again` an interrupted step may publish an event once more.
    """
    numbers = [] if wanted.cursor is None else pagination.numbers_of(wanted.cursor, 2)
    start = LetterPosition(*numbers) if numbers else FIRST

    async def work() -> ReplayedLetters:
        async with here.dead_letters.opened(here.pool, exclusively=True) as opened:
            if not wanted.dry_run and wanted.cursor is None:
                await audit_log.record(opened.connection, caller.actor, "dlq.replay", begun=True)
            options = ReplayOptions(wanted.again, wanted.dry_run)
            step = await replay_step(
                opened.connection, opened.kafka_config, opened.prefix, opened.letters, _filter(wanted), options,
                opened.limit, start,
            )  # fmt: skip
            if step.counts.replayed and not wanted.dry_run:
                await audit_log.record(opened.connection, caller.actor, "dlq.replay", count=step.counts.replayed)
        after = None if step.next is None else pagination.of_numbers(step.next)
        return ReplayedLetters(dry_run=wanted.dry_run, **step.counts._asdict(), next_cursor=after)

    return await idempotency.answer_apart(work, 200)


@router.post(
    "/dead-letters:purge",
    response_model=PurgedLetters,
    responses=answer(200, "What the step did", shown.PURGED_LETTERS)
    | documented(*MAKING, "cursor_invalid", "dead_letters_busy", "group_refused"),
)
async def purge_dead_letters(
    here: ConsoleContext,
    caller: Operator,
    idempotency: IdempotencyGuard,
    wanted: Annotated[PurgeLetters, Body(examples=[shown.PURGE_LETTERS])],
) -> Response:
    """Purge dead letters that were replayed, in steps of some thousand letters: they are listed no more.

    Repeat the request with `next_cursor` until it is null.
    """
    numbers = [] if wanted.cursor is None else pagination.numbers_of(wanted.cursor, 3)
    start = PurgePosition(LetterPosition(*numbers[:2]), bool(numbers[2])) if numbers else PURGE_START

    async def work() -> PurgedLetters:
        async with here.dead_letters.opened(here.pool, exclusively=True) as opened:
            if not wanted.dry_run and wanted.cursor is None:
                await audit_log.record(opened.connection, caller.actor, "dlq.purge", begun=True)
            purging = Purge(
                opened.connection, opened.letters, _filter(wanted), unreplayed=wanted.unreplayed, limit=None
            )
            step = await purging.step(opened.kafka_config, opened.limit, start, dry_run=wanted.dry_run)
            if step.result.purged and not wanted.dry_run:
                await audit_log.record(opened.connection, caller.actor, "dlq.purge", count=step.result.purged)
        after = None if step.next is None else pagination.of_numbers((*step.next.letter, int(step.next.is_leading)))
        return PurgedLetters(dry_run=wanted.dry_run, **step.result._asdict(), next_cursor=after)

    return await idempotency.answer_apart(work, 200)


def _filter(wanted: LetterChoice) -> LetterFilter:
    return LetterFilter(wanted.topic, wanted.reason, wanted.since, wanted.until, wanted.profile, wanted.at)
