"""When requests of a retry topic are decided again."""

import random
from operator import itemgetter

from aiokafka import TopicPartition

from services.issuer.prefetcher import FetchedPart


def batches_when_due(parts: list[FetchedPart], delay_s: float) -> list[tuple[float, list[FetchedPart]]]:
    """Which of these are to be decided together, and when (s since 1970): fresh ones, without a delay, all at once.

    Those that wait come back partition by partition, each some time between half its wait and the whole of it, so that
    they don't meet whatever they wait for all at once.
    """
    if delay_s == 0:
        return [(0.0, parts)]
    by_partition: dict[TopicPartition, list[FetchedPart]] = {}
    for part in parts:
        by_partition.setdefault(part.tp, []).append(part)
    newest_s = {tp: max(part.newest_ms for part in some) / 1000 for tp, some in by_partition.items()}
    waits = ((newest_s[tp] + delay_s * random.uniform(0.5, 1.0), some) for tp, some in by_partition.items())  # noqa: S311  spreads load, keeps no secret
    return sorted(waits, key=itemgetter(0))
