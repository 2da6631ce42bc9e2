"""Purges dead letters that are no longer needed.

Kafka deletes records only from the beginning of a partition. So the database marks a letter as purged, which excludes
it from lists and replays, and Kafka deletes it once all earlier letters are purged too.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from codewell.infra.kafka import clients
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.postgres.connection import Connection
from codewell.recovery import dead_letter_log as store
from codewell.recovery.dead_letters import (
    FIRST,
    DeadLetters,
    HandledLetter,
    LetterBatch,
    LetterFilter,
    LetterPosition,
)
from codewell.recovery.step_limit import UNLIMITED, StepLimit


class PurgeResult(NamedTuple):
    """The number of purged letters, and how many of these and of earlier ones Kafka has deleted."""

    purged: int = 0
    never_replayed: int = 0
    """Purged letters whose events were never replayed."""
    deleted: int = 0

    def plus(self, other: "PurgeResult") -> "PurgeResult":
        """Return the sums of both."""
        return PurgeResult(*(one + another for one, another in zip(self, other, strict=True)))


class PurgePosition(NamedTuple):
    """Where the next step of a purge starts, and whether all letters of that partition before it are purged."""

    letter: LetterPosition
    is_leading: bool


PURGE_START: Final = PurgePosition(FIRST, True)


class PurgeStep(NamedTuple):
    """What a step did, and where the next one starts; None after the last letter."""

    result: PurgeResult
    next: PurgePosition | None


class Purge:
    """Purges the matching letters; those that were never replayed only with `unreplayed`.

    Ignores letters that arrive meanwhile. The caller holds `exclusive_lock`.
    """

    def __init__(
        self, connection: Connection, letters: DeadLetters, wanted: LetterFilter, *, unreplayed: bool, limit: int | None
    ) -> None:
        self._connection = connection
        self._letters = letters
        self._wanted = wanted
        self._unreplayed = unreplayed
        self._limit = limit

    async def count(self, progress: Callable[[int], None]) -> PurgeResult:
        """Return what `purge` would do, without a change. Raises StackUnavailable, as `purge` does."""
        return (await self._run(progress, None)).result

    async def purge(self, kafka_config: KafkaConfig | str, progress: Callable[[int], None]) -> PurgeResult:
        """Mark the letters as purged, and let Kafka delete the records before the first kept letter of each partition.

        Calls `progress` at intervals with the number of letters examined.
        """
        return (await self._run(progress, kafka_config)).result

    async def step(
        self, kafka_config: KafkaConfig | str, limit: StepLimit, start: PurgePosition, *, dry_run: bool
    ) -> PurgeStep:
        """Do what `purge` does, or `count`, from `start` on, until the limit is reached."""
        return await self._run(lambda _: None, None if dry_run else kafka_config, limit, start)

    async def _run(
        self,
        progress: Callable[[int], None],
        kafka_config: KafkaConfig | str | None,
        limit: StepLimit = UNLIMITED,
        start: PurgePosition = PURGE_START,
    ) -> PurgeStep:
        """Purge, or only count without `kafka_config`."""
        purged = PurgeResult()
        looked_at = 0
        leading = start.is_leading
        # The offset before which Kafka may delete all records of a partition.
        gone: dict[TopicPartition, int] = {}
        after = None
        async for batch in self._letters.walk(self._connection, start.letter):
            purged, leading_end = await self._purge_batch(batch, purged, leading, is_dry=kafka_config is None)
            if leading_end is not None:
                gone[batch.tp] = leading_end
            leading = batch.is_last or (leading and leading_end == batch.next.offset)
            looked_at += len(batch.letters)
            progress(looked_at)
            if limit.is_reached(looked_at):
                after = PurgePosition(batch.next, leading)
                break
        if kafka_config is not None:
            await self._delete(kafka_config, gone)
        return PurgeStep(purged, after)

    async def _purge_batch(
        self, batch: LetterBatch, purged: PurgeResult, leading: bool, *, is_dry: bool
    ) -> tuple[PurgeResult, int | None]:
        """Purge a batch; returns the sums, and where the purged letters from the partition's start on end, if here."""
        left = None if self._limit is None else self._limit - purged.purged
        purgeable = [one for one in batch.letters if self._is_purgeable(one)][:left]
        if purgeable and not is_dry:
            await store.record_purged(self._connection, [one.letter.place for one in purgeable])
        offsets = {one.letter.record.offset for one in purgeable}
        kept = [one.letter.record.offset for one in batch.letters
                if one.handling.purged_at is None and one.letter.record.offset not in offsets]  # fmt: skip
        end = self._letters.offset_ranges[batch.tp].end if batch.is_last else batch.next.offset
        leading_end = min([end, *kept]) if leading else None
        deleted = sum(one.letter.record.offset < (leading_end or 0) for one in batch.letters)
        never = sum(one.handling.replayed_at is None for one in purgeable)
        return purged.plus(PurgeResult(len(purgeable), never, deleted)), leading_end

    async def _delete(self, kafka_config: KafkaConfig | str, gone: Mapping[TopicPartition, int]) -> None:
        gone = {tp: first for tp, first in gone.items() if first > self._letters.offset_ranges[tp].start}
        if gone:
            async with clients.admin(kafka_config) as admin:
                await admin.delete_records({tp: RecordsToDelete(before_offset=first) for tp, first in gone.items()})
            for tp, first in gone.items():
                await store.delete_below(self._connection, tp.topic, tp.partition, first)

    def _is_purgeable(self, one: HandledLetter) -> bool:
        return (
            one.handling.purged_at is None
            and self._wanted.has(one.letter)
            and (self._unreplayed or one.handling.replayed_at is not None)
        )
