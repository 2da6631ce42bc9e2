"""The board and the alerts, as Grafana and Prometheus take them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.monitoring import BOARD, RULES, tool

ROOT = Path(__file__).parents[2]


def rules() -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(RULES)["groups"] for rule in group["rules"]]


def test_each_alert_says_what_to_do_and_has_its_section() -> None:
    page = (ROOT / "docs" / "operations" / "runbook.md").read_text()
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/operations/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"].endswith(".")


def test_no_alert_takes_two_deployments_together() -> None:
    for rule in rules():
        # `absent` fires only for a service that no deployment has.
        for grouping in re.findall(r"\b(?:sum|max|min|avg|count|group)\b\s*(?:by \(([^)]*)\))?\s*\(", rule["expr"]):
            assert grouping.split(", ")[:1] == ["namespace"], rule["alert"]
        assert "absent(" not in rule["expr"] or rule["alert"] == "CodewellWorkerGone"


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


def test_each_panel_is_about_the_chosen_deployments_and_leads_to_the_runbook() -> None:
    board = json.loads(BOARD.read_text())
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert {"namespace", "job", "program", "runbook"} <= variables.keys()
    # Series without a namespace, as of compose.yaml, are shown too.
    assert all(variables[name]["allValue"] == ".*" for name in ("namespace", "job", "program"))
    sections = {f"${{runbook}}#{rule['alert'].lower()}" for rule in rules()}
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), panel["title"]
        assert panel["links"], panel["title"]
        assert {link["url"] for link in panel["links"]} <= sections, panel["title"]
        for target in panel["targets"]:
            for series in re.findall(r"\b(?:codewell|process)_\w+(?:\{[^}]*\})?", target["expr"]):
                assert 'namespace=~"$namespace",job=~"$job"' in series, panel["title"]
