"""Schedules the redelivery of requests from the retry topics."""

import random
from operator import itemgetter

from aiokafka import TopicPartition

from services.issuer.prefetcher import B, FetchedPartition


def batches_when_due(parts: list[FetchedPartition[B]], delay_s: float) -> list[tuple[float, list[FetchedPartition[B]]]]:
    """Group fetched records into batches, each with its due time (s since 1970). Without a delay: one batch, due now.

    Retries form one batch a partition, due after a random half to whole `delay_s`: the jitter keeps them from hitting
    the same lock or service at once.
    """
    if delay_s == 0:
        return [(0.0, parts)]
    by_partition: dict[TopicPartition, list[FetchedPartition[B]]] = {}
    for part in parts:
        by_partition.setdefault(part.tp, []).append(part)
    newest_s = {tp: max(part.newest_ms for part in batch) / 1000 for tp, batch in by_partition.items()}
    due = ((newest_s[tp] + delay_s * random.uniform(0.5, 1.0), batch) for tp, batch in by_partition.items())  # noqa: S311  jitter, no secret
    return sorted(due, key=itemgetter(0))
