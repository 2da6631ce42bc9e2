"""The board and the alerts, as Grafana and Prometheus take them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.monitoring import BOARD, RULES, tool

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "monitor.md"


def rules() -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(RULES)["groups"] for rule in group["rules"]]


def test_each_alert_says_what_to_do_and_has_its_row() -> None:
    page = PAGE.read_text()
    assert "\n## Alerts\n" in page
    section = page.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook"] == "docs/operations/monitor.md#alerts"
        assert rule["annotations"]["summary"].endswith(".")


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    program = tool("promtool")
    if program is None:
        pytest.skip("apt brings no Prometheus here, and nothing else evaluates its rules")
    tests = YAML(typ="safe").load(RULES.with_name("codewell.rules.test.yaml"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts
    for words in (["check", "rules", "codewell.rules.yaml"], ["check", "config", "prometheus.yaml"],
                  ["test", "rules", "codewell.rules.test.yaml"]):  # fmt: skip
        said = subprocess.run(
            [program, *words], cwd=RULES.parent, capture_output=True, text=True, check=False, timeout=60
        )
        assert said.returncode == 0, said.stdout + said.stderr


def test_the_board_is_one_that_grafana_reads() -> None:
    board = json.loads(BOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
