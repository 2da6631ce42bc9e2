"""Settings that no process would refuse alone, and that contradict each other or promise trouble."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from codewell.doctor.check_result import CheckResult
from codewell.infra.config.unknown_variables import UnknownVariable

CHECK: Final = "settings"
_ADDRESSES: Final = ("CODEWELL_POSTGRES_URL", "CODEWELL_KAFKA_BOOTSTRAP")


class Given(NamedTuple):
    """A setting's value and its source: environment, file, stack or default."""

    value: Any
    source: str


def unknown_findings(unknown: Iterable[UnknownVariable]) -> Iterator[CheckResult]:
    """Variables that no setting has."""
    for one in unknown:
        hint = f"rename it to {one.suggestion}, or remove it" if one.suggestion else "remove it"
        yield CheckResult(CHECK, "warning", f"{one.name} is no setting and is ignored", hint)


def contradictions(given: Mapping[str, Given]) -> Iterator[CheckResult]:
    """What the settings of all processes together say; by variable. Those of a process that refuses its own lack."""
    yield from _mixed_sources(given)
    yield from _longer_than_its_wait(given)
    yield from _failed_lookups(given)
    if _value(given, "CODEWELL_FAILPOINTS"):
        yield CheckResult(CHECK, "error", "CODEWELL_FAILPOINTS makes workers exit on purpose", "remove it")
    if _value(given, "CODEWELL_ALLOW_INSECURE"):
        yield CheckResult(
            CHECK,
            "warning",
            "CODEWELL_ALLOW_INSECURE allows connections without verified TLS",
            "remove it unless the network is private",
        )


def _mixed_sources(given: Mapping[str, Given]) -> Iterator[CheckResult]:
    sources = {name: given[name].source for name in _ADDRESSES if name in given}
    if "stack" in sources.values() and len(set(sources.values())) > 1:
        own = next(name for name, source in sources.items() if source != "stack")
        other = next(name for name, source in sources.items() if source == "stack")
        yield CheckResult(
            CHECK,
            "error",
            f"{own} is set, and {other} comes from the stack in CODEWELL_HOME: they may be two deployments",
            f"set {other} too, or remove {own}",
        )


def _longer_than_its_wait(given: Mapping[str, Given]) -> Iterator[CheckResult]:
    wait, timeout = _value(given, "CODEWELL_REMOTE_WAIT_S"), _value(given, "CODEWELL_REMOTE_TIMEOUT_S")
    if wait is not None and timeout is not None and wait < timeout:
        yield CheckResult(
            CHECK,
            "warning",
            f"requests are refused after {wait:g} s (CODEWELL_REMOTE_WAIT_S), while a remote service may take "
            f"{timeout:g} s (CODEWELL_REMOTE_TIMEOUT_S)",
            "raise the first above the second",
        )


def _failed_lookups(given: Mapping[str, Given]) -> Iterator[CheckResult]:
    one, all_ = _value(given, "CODEWELL_MISSES_PER_MINUTE"), _value(given, "CODEWELL_TOKEN_MISSES_PER_MINUTE")
    if one is not None and all_ is not None and all_ < one:
        yield CheckResult(
            CHECK,
            "warning",
            f"CODEWELL_TOKEN_MISSES_PER_MINUTE ({all_}) is below CODEWELL_MISSES_PER_MINUTE ({one}), which is used "
            "in its place",
            "raise the first to the second at least",
        )


def _value(given: Mapping[str, Given], name: str) -> Any:
    return given[name].value if name in given else None
