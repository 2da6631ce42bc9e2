"""Reads the lag of all topics from Kafka, at most once in two seconds for all callers."""

import asyncio
import time
from typing import Final

from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.group_lag import read_lags
from schemas.usage import Lags

CACHE_TTL_S: Final = 2.0


class LagReader:
    """Asks Kafka on demand; concurrent callers share one answer."""

    def __init__(self, kafka_config: KafkaConfig, prefix: str) -> None:
        self._kafka_config = kafka_config
        self._prefix = prefix
        self._lock = asyncio.Lock()
        self._read_at = 0.0
        self._lags: Lags | None = None

    async def read(self) -> Lags:
        """The lag, at most CACHE_TTL_S old. Raises StackUnavailable."""
        async with self._lock:
            if self._lags is None or time.monotonic() - self._read_at >= CACHE_TTL_S:
                self._lags = await read_lags(self._kafka_config, self._prefix)
                self._read_at = time.monotonic()
            return self._lags
