"""Purges dead letters that are no longer needed.

Kafka deletes records only from the beginning of a partition. So the database marks a letter as purged, which excludes
it from lists and replays, and Kafka deletes it once all earlier letters are purged too.
"""

from collections.abc import Callable
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from codewell.infra.kafka import clients
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.postgres.connection import Connection
from codewell.recovery import dead_letter_log as store
from codewell.recovery.dead_letters import DeadLetters, HandledLetter, LetterFilter


class PurgeResult(NamedTuple):
    """The number of purged letters, and how many of these and of earlier ones Kafka has deleted."""

    purged: int = 0
    never_replayed: int = 0
    """Purged letters whose events were never replayed."""
    deleted: int = 0


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
        return await self._run(progress, None)

    async def purge(self, kafka_config: KafkaConfig | str, progress: Callable[[int], None]) -> PurgeResult:
        """Mark the letters as purged, and let Kafka delete the records before the first kept letter of each partition.

        Calls `progress` at intervals with the number of letters examined.
        """
        kept: dict[TopicPartition, int] = {}
        purged = await self._run(progress, kept)
        gone = {tp: first for tp, first in kept.items() if first > self._letters.offset_ranges[tp].start}
        if gone:
            async with clients.admin(kafka_config) as admin:
                await admin.delete_records({tp: RecordsToDelete(before_offset=first) for tp, first in gone.items()})
            for tp, first in gone.items():
                await store.delete_below(self._connection, tp.topic, tp.partition, first)
        return purged

    async def _run(self, progress: Callable[[int], None], kept: dict[TopicPartition, int] | None) -> PurgeResult:
        purged = PurgeResult()
        looked_at = 0
        for tp, span in self._letters.offset_ranges.items():
            first_kept: int | None = None
            leading = 0
            async for batch in self._letters.known(self._connection, tp):
                left = None if self._limit is None else self._limit - purged.purged
                purgeable = [one for one in batch if self._is_purgeable(one)][:left]
                if kept is not None:
                    await store.record_purged(self._connection, [one.letter.place for one in purgeable])
                gone = {one.letter.record.offset for one in purgeable}
                for one in batch:
                    if first_kept is None and one.handling.purged_at is None and one.letter.record.offset not in gone:
                        first_kept = one.letter.record.offset
                    leading += first_kept is None
                never = sum(one.handling.replayed_at is None for one in purgeable)
                purged = purged._replace(
                    purged=purged.purged + len(purgeable), never_replayed=purged.never_replayed + never
                )
                looked_at += len(batch)
                progress(looked_at)
            purged = purged._replace(deleted=purged.deleted + leading)
            if kept is not None:
                kept[tp] = span.end if first_kept is None else first_kept
        return purged

    def _is_purgeable(self, one: HandledLetter) -> bool:
        return (
            one.handling.purged_at is None
            and self._wanted.has(one.letter)
            and (self._unreplayed or one.handling.replayed_at is not None)
        )
