"""All benchmarks, in the order of the page. A new benchmark is a line here and a region in `docs/benchmarks.md`."""

from dataclasses import dataclass
from typing import Final

from codewell.errors import CodewellError


@dataclass(frozen=True)
class Benchmark:
    """A command of `codewell bench`, and the roles of its results."""

    name: str
    short: tuple[str, ...] = ()
    """Options of `codewell bench check` for it; empty where a short run has no share of a ceiling to compare."""
    peers: tuple[str, ...] = ()
    """Prefixes of the names of a peer's results."""
    ceilings: tuple[str, ...] = ()
    """Prefixes of the names of a ceiling's results."""

    def role(self, result: str) -> str:
        """The role of a result: `product`, `peer` or `ceiling`."""
        if result.startswith(self.ceilings):
            return "ceiling"
        return "peer" if result.startswith(self.peers) else "product"


# Short runs are large enough for the ratio of the whole run: constant costs must not matter.
BENCHMARKS: Final = (
    Benchmark("issue", ("--requests=100000",), ("usual build",), ("no database", "librdkafka", "COPY")),
    Benchmark("mixed", ("--requests=100000",), ceilings=("one hot program",)),
    Benchmark("grown", ceilings=("empty",)),
    Benchmark("retention", ("--answers=100000", "--requests=20000"), ceilings=("DELETE alone",)),
    Benchmark("scale"),
    Benchmark("latency", peers=("Kafka echo",)),
    Benchmark("replay", ("--requests=100000",), ceilings=("first run",)),
    Benchmark("lifecycle", ceilings=("without the stream",)),
    Benchmark("receipts", ("--receipts=20000",), ("one transaction a receipt",), ("no database",)),
    Benchmark("mint", ("--codes=500000",), ("dice and a set", "FF1"), ("text of plain counters",)),
    Benchmark("generate", peers=("COPY",)),
    Benchmark("fill"),
    Benchmark("reservations", ("--stored=10000", "--requests=100000"), ceilings=("claims without",)),
    Benchmark("forecast", ("--programs=1000",), ("one program at a time",), ("the rows alone",)),
    Benchmark("remote", peers=("one request at a time",), ceilings=("the limit",)),
    Benchmark("import", ("--rows=700000",), ("usual build",), ("bare COPY",)),
    Benchmark("export", ("--codes=300000",), ("the usual build",), ("COPY",)),
    Benchmark("browse", peers=("usual build",)),
    Benchmark("http", ("--requests=10000",), ("usual build",), ("nothing but SELECT 1",)),
    Benchmark("till", ("--requests=10000",), ("usual build",), ("nothing but SELECT 1",)),
    Benchmark("console"),
    Benchmark("processes"),
)


def chosen(names: tuple[str, ...]) -> list[Benchmark]:
    """The benchmarks of these names in the order of the page; all when no name is given. Raises CodewellError."""
    unknown = set(names) - {one.name for one in BENCHMARKS}
    if unknown:
        known = ", ".join(one.name for one in BENCHMARKS)
        raise CodewellError(f"There is no benchmark {', '.join(sorted(unknown))}: name some of {known}.")
    return [one for one in BENCHMARKS if one.name in names or not names]
