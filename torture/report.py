"""Stores the results of long runs as JSON, and renders docs/reliability.md from them."""

import json
import math
from pathlib import Path
from statistics import median
from typing import Any, Final

from torture.kinds import BROKER_KINDS, KINDS, PATRONI_KINDS
from torture.run import Outcome

_KEPT: Final = Path("docs/reliability")
_PAGE: Final = Path("docs/reliability.md")
_BEGIN: Final = "<!-- figures: begin -->\n"
_END: Final = "<!-- figures: end -->\n"


def figures(outcome: Outcome) -> dict[str, Any]:
    """The figures of a run."""
    healed = sorted(one for some in outcome.healed_s.values() for one in some)
    return {
        "seed": outcome.plan.seed,
        "what": outcome.plan.what,
        "steps": outcome.steps,
        "took_s": round(outcome.took_s),
        "requests": outcome.figures.requests,
        "published_again": outcome.copies_published,
        "answers": outcome.figures.answers,
        "copies_of_answers": outcome.figures.copies,
        "retries": outcome.figures.retries,
        "dead_letters": outcome.figures.dead_letters,
        "kills": outcome.kills + outcome.deaths_at_points,
        "of_them_at_failpoints": outcome.deaths_at_points,
        "answers_to_commits_lost": outcome.answers_lost,
        "wrong_answers_of_the_remote_service": outcome.remote_wrongs,
        "failovers": outcome.failovers,
        "upgrade_pauses_s": [round(one, 2) for one in outcome.upgrade_pauses_s],
        "own_ends": dict(outcome.own_ends),
        "left_out": outcome.left_out,
        "violations": [one._asdict() for one in outcome.violations],
        "mishaps": outcome.mishaps,
        "healed_median_s": round(median(healed), 2) if healed else None,
        "healed_max_s": round(healed[-1], 2) if healed else None,
        "times": dict(outcome.times),
        "healed_s": {
            name: [round(median(some), 2), round(max(some), 2), len(some)] for name, some in outcome.healed_s.items()
        },
    }


def keep(outcome: Outcome, name: str | None = None) -> None:
    """Store a run's results beside those of other kinds and seeds. A run on a cluster has a name of its own."""
    _write(f"{name or outcome.plan.what}-{outcome.plan.seed}", figures(outcome))


def keep_guards(found: list[dict[str, Any]]) -> None:
    """Store which check detected which removed guard, beside those of other runs."""
    kept = {one["guard"]: one for one in _read("guards")} if (_KEPT / "guards.json").exists() else {}
    _write("guards", list((kept | {one["guard"]: one for one in found}).values()))


def write() -> None:
    """Write the figures into the page, between its two marks."""
    page = _PAGE.read_text("utf-8")
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    _PAGE.write_text(before + _BEGIN + _figures() + _END + after, "utf-8")


def _write(name: str, data: object) -> None:
    _KEPT.mkdir(exist_ok=True)
    (_KEPT / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def _read(name: str) -> Any:
    return json.loads((_KEPT / f"{name}.json").read_text("utf-8"))


def _figures() -> str:
    runs = [_read(path.stem) for what in _RUNS for path in sorted(_KEPT.glob(f"{what}-*.json"))]
    kinds = runs[0]
    rows = [f"| | {' | '.join(_RUNS[one['what']] for one in runs)} |", "|---" * (len(runs) + 1) + "|"]
    rows += [f"| {label} | {' | '.join(_shown(one[key]) for one in runs)} |" for key, label in _LABELS.items()]
    kills = sum(one["kills"] for one in runs)
    violations = sum(len(one["violations"]) for one in runs)
    rows += ["", _verdict(kills, violations), ""]
    rows += ["| fault | promises | times | healed after, median (s) | at most (s) |", "|---|---|---|---|---|"]
    for kind in KINDS:
        if kind.name in kinds["healed_s"]:
            middle, most, _ = kinds["healed_s"][kind.name]
            rows.append(f"| {kind.name} | {kind.promises} | {kinds['times'][kind.name]:,} | {middle:g} | {most:g} |")
        else:
            why = kinds["left_out"].get(kind.name)
            rows.append(f"| {kind.name} | {kind.promises} | {f'left out: {why}' if why else 'not in this run'} | | |")
    rows += _of_clusters()
    rows += ["", "| guard taken out | found by | after (s) |", "|---|---|---|"]
    for one in _read("guards"):
        found = "; ".join(one["checks"]) or "**not found**"
        rows.append(f"| {one['guard']} | {found} | {one['took_s']:.0f} |")
    return "\n".join(rows) + "\n"


def _of_clusters() -> list[str]:
    """The runs on three brokers, and under Patroni."""
    rows = []
    for name, (title, kinds) in _CLUSTERS.items():
        for path in sorted(_KEPT.glob(f"{name}-*.json")):
            one = _read(path.stem)
            violations = (
                f"{len(one['violations'])} violations, {len(one['mishaps'])} faults went otherwise than planned"
            )
            rows += ["", f"**{title}**: {one['requests']:,} requests, {one['steps']} faults, {violations}.", ""]
            rows += ["| fault | promises | times | healed after, median (s) | at most (s) |", "|---|---|---|---|---|"]
            for kind in kinds:
                if kind.name in one["healed_s"]:
                    middle, most, times = one["healed_s"][kind.name]
                    rows.append(f"| {kind.name} | {kind.promises} | {times} | {middle:g} | {most:g} |")
    return rows


_CLUSTERS: Final = {
    "brokers": ("Kafka with three brokers", BROKER_KINDS),
    "patroni": ("Postgres with three nodes under Patroni", PATRONI_KINDS),
}
_RUNS: Final = {
    "kinds": "every kind, many times",
    "pairs": "every pair of kinds",
    "kills": "workers killed and nothing else",
}
_LABELS: Final = {
    "seed": "seed",
    "steps": "steps",
    "took_s": "took (s)",
    "requests": "requests",
    "published_again": "published again, on any partition",
    "copies_of_answers": "copies of answers, all alike",
    "retries": "waits in a retry topic",
    "dead_letters": "bad messages, each a dead letter",
    "kills": "workers killed",
    "of_them_at_failpoints": "of them at a named moment",
    "answers_to_commits_lost": "answers to a commit lost",
    "failovers": "fail-overs",
    "wrong_answers_of_the_remote_service": "wrong answers of the remote service",
    "own_ends": "workers that ended by themselves and were started again",
    "healed_median_s": "healed after, median (s)",
    "healed_max_s": "healed after, at most (s)",
    "mishaps": "faults that went otherwise than planned",
    "violations": "violations",
}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {count}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return str(len(value))
    return f"{value:,}" if isinstance(value, int) else f"{value}"


def _verdict(kills: int, violations: int) -> str:
    if violations:
        return f"{violations} violations: see the JSON beside this page."
    # The rule of three, exactly: the probability of a violation at which 1 of 20 runs like this would show none.
    most = 1 - math.pow(0.05, 1 / kills)
    return f"{kills:,} kills without a violation: with 95 % confidence fewer than {most:.2%} of kills break a promise."
