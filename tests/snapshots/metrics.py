"""The metrics of each service as they are before anything has happened, and of all modules together.

A process has one registry, so each is looked at in a process of its own: `python -m tests.snapshots.metrics issuer`.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import prometheus_client
from prometheus_client.registry import Collector

from codewell.infra.telemetry import metrics
from tests.snapshots.shipped import import_all


def _issuer() -> None:
    import services.issuer.main  # noqa: F401


def _generator() -> None:
    import services.generator.main  # noqa: F401


def _console() -> None:
    import services.console.main  # noqa: F401


_IMPORTS: Final[dict[str, Callable[[], None]]] = {
    "issuer": _issuer,
    "generator": _generator,
    "console": _console,
    "all": import_all,
}


def files() -> dict[str, str]:
    """A file for each service, and one for all modules."""
    return {f"metrics/{name}.txt": _in_a_process(name) for name in _IMPORTS}


def _in_a_process(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.snapshots.metrics", name], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def _lines() -> Iterator[str]:
    """Each metric with its type, its labels and the series that it has from the start, buckets included."""
    collectors: dict[Any, list[str]] = prometheus_client.REGISTRY._collector_to_names
    for collector in list(collectors):
        for family in collector.collect():
            if family.name.startswith("codewell"):
                yield f"{family.name} {family.type} {','.join(_labels(collector)) or '-'}"
                if family.type != "info":
                    yield from sorted({_series(sample) for sample in family.samples})


def _labels(collector: Collector) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(collector, "_labelnames", ())
    if isinstance(collector, prometheus_client.Info):
        names = (*names, *collector._value)
    return names


def _series(sample: Any) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
    return f"    {sample.name}{{{labels}}}"


def _blocks(lines: Iterator[str]) -> Iterator[str]:
    """Metrics in the order of their names, each with its series."""
    blocks: list[list[str]] = []
    for line in lines:
        if line.startswith(" "):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    for block in sorted(blocks):
        yield from block


def _main(name: str) -> None:
    _IMPORTS[name]()
    metrics.configure("any")
    sys.stdout.write("\n".join(_blocks(_lines())) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1])
