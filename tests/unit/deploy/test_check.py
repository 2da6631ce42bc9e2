"""What the check of the deployment builds, and where it leaves its figures."""

from pathlib import Path

import pytest

from codewell.errors import CodewellError
from deploy.check.__main__ import main
from deploy.check.report import Report, write_figures
from deploy.check.tools import Source, module_file


def test_a_module_of_its_own_repeats_the_replacements() -> None:
    source = Source("kubernetes", "k8s.io/kubernetes", "v1.34.4", ("cmd/kubectl",))
    description = {
        "Go": "1.24.0",
        "Godebug": [{"Key": "default", "Value": "go1.24"}],
        "Replace": [
            {"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
            {"Old": {"Path": "a.example/b", "Version": "v0.1.0"}, "New": {"Path": "a.example/b", "Version": "v0.1.1"}},
        ],
        "Exclude": [{"Path": "a.example/c", "Version": "v5.2.3"}],
    }
    assert module_file(source, description).splitlines() == [
        "module codewell.invalid/kubernetes",
        "go 1.24.0",
        "godebug default=go1.24",
        "require k8s.io/kubernetes v1.34.4",
        "replace k8s.io/api => k8s.io/api v0.34.4",
        "replace a.example/b v0.1.0 => a.example/b v0.1.1",
        "exclude a.example/c v5.2.3",
    ]


def test_figures_take_the_place_of_the_last_ones(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- check cluster -->\nold\n<!-- /check cluster -->\nafter\n")
    report = Report("cluster")
    report.figure("installed", "11.2 s")
    write_figures(page, report)
    text = page.read_text()
    assert "| installed | 11.2 s |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    with pytest.raises(CodewellError, match="check image"):
        write_figures(page, Report("image"))


def test_a_part_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["clutser"])
    assert "no part clutser: choose of " in capsys.readouterr().err
