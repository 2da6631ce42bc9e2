"""How far a consumer has read: also past what it is not given, such as the markers of transactions."""

from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition


class Positions:
    """Follows the positions of one consumer.

    The offset after the last record is not the end of what was read: the marker of a transaction, or aborted records,
    may follow it. Without them, the committed offset would stay below the end for ever.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._known: dict[TopicPartition, int] = {}

    def after(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> dict[TopicPartition, int]:
        """The offset to go on from, for each partition with fetched records and each whose position moved.

        Call it right after `getmany` has returned `fetched`, without an await between.
        """
        now = self._current()
        moved = {tp: position for tp, position in now.items() if self._known.get(tp) != position}
        self._known = now
        # Those of the records always: after a rebalance, a position may be what it was before.
        ends = {tp: max(records[-1].offset + 1, now.get(tp, 0)) for tp, records in fetched.items()}
        return moved | ends

    def _current(self) -> dict[TopicPartition, int]:
        subscription = self._consumer._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return {}
        # For each small batch: by the states' own properties it takes three times as long.
        states = subscription.assignment._tp_state
        return {tp: state._position for tp, state in states.items() if state._position is not None}
