"""The screen of `codewell status`."""

import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner

from codewell.errors import StackUnavailable
from schemas.usage import Lag, Worker
from services.cli.status import WIDTH, _is_well, lines, status

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)


def worker(**changed: Any) -> Worker:
    given: dict[str, Any] = {
        "id": "0", "service": "issuer", "host": "issuer-0", "pid": 7, "version": "0.1.0", "started_at": NOW,
        "seen_at": NOW, "state": "running", "ready": True, "waiting_for": {},
        "counters": {"answers_per_s": 12_345.6, "answer_p99_ms": 41.4},
    }  # fmt: skip
    return Worker.model_validate(given | changed)


def screen(**changed: Any) -> list[str]:
    read: dict[str, Any] = {
        "at": NOW, "kafka": "ready", "workers": [worker()], "lags": [], "pools": [], "waiting": 0, "dead_letters": {},
    }  # fmt: skip
    return lines(read | changed)


def test_a_screen_is_at_most_80_characters_wide_whatever_the_names() -> None:
    long = "x" * 300
    shown = screen(
        workers=[worker(host=long, pid=4_194_304, version=long, ready=False, waiting_for={long: long})],
        lags=[Lag(topic=long, group=long, lag=9_999_999)],
        pools=[{"program": long, "ready": 10**9, "mark": 10**9}],
        dead_letters={long: 10**9},
        kafka=long,
    )
    assert max(map(len, shown)) <= WIDTH


def test_what_does_not_run_and_what_waits_is_named() -> None:
    shown = screen(workers=[worker(ready=False, waiting_for={"kafka (issue)": "no broker answers"})])
    text = "\n".join(shown)
    assert "issuer-0:7" in text
    assert "waiting" in text
    assert "waits for kafka (issue): no broker answers" in text
    assert "generator none runs" in text
    assert "12,346 answers" in text
    assert "41 ms" in text


def test_without_kafka_the_rest_is_shown() -> None:
    text = "\n".join(screen(kafka="Cannot reach Kafka at k:9092: start it.", waiting=None))
    assert "unknown: Cannot reach Kafka at k:9092" in text
    assert "WAITING       unknown" in text
    assert "DEAD LETTERS  unknown" in text


def test_all_services_but_no_others_have_to_be_ready() -> None:
    three = [worker(service=name) for name in ("issuer", "generator", "console")]
    assert _is_well({"kafka": "ready", "workers": three})
    other = three[0].model_copy(update={"service": "other"})
    assert _is_well({"kafka": "ready", "workers": [*three, other]})
    assert not _is_well({"kafka": "ready", "workers": [*three[1:], other]})
    assert not _is_well({"kafka": "away", "workers": three})
    assert "other" in "\n".join(screen(workers=[*three, other]))


def test_a_watch_goes_on_while_postgres_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["away", "there", "away", "ctrl-c"])

    def with_database(_: object) -> dict[str, Any]:
        match next(answers):
            case "away":
                raise StackUnavailable("Cannot reach Postgres: start it.")
            case "there":
                return {
                    "at": NOW, "kafka": "ready", "workers": [], "lags": [], "pools": [], "waiting": 0,
                    "dead_letters": {},
                }  # fmt: skip
        raise KeyboardInterrupt

    # The package's attribute of this name is the command.
    module = sys.modules["services.cli.status"]
    monkeypatch.setattr(module, "with_database", with_database)
    monkeypatch.setattr(module, "_WATCH_INTERVAL_S", 0)
    said = CliRunner().invoke(status, ["--watch"])
    assert said.exit_code == 0
    assert said.stderr.count("Cannot reach Postgres") == 2
    assert said.stdout.count("Codewell at 2026-12-01") == 1
