"""Runs generator processes as in production, on the topics that `codewell topics` creates."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from benchmarks import contestants
from benchmarks.contenders import PRODUCT
from services.standalone.child import Child
from services.standalone.servers import Servers

GENERATOR: Final = replace(PRODUCT, name="generator", module=("services", "generator"), group="codewell-generator")
# Only the benchmark's demands wake them; the first sweep ends before they join.
_SETTINGS: Final = {"CODEWELL_SWEEP_INTERVAL_S": "3600"}


@asynccontextmanager
async def generators(servers: Servers, count: int, more: Mapping[str, str] | None = None) -> AsyncIterator[list[Child]]:
    """Run `count` generators with partitions assigned and `more` settings. Raises CodewellError if one can't start."""
    async with contestants.processes(servers, GENERATOR, "", count, {**_SETTINGS, **(more or {})}) as children:
        yield children
