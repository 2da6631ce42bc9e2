"""What is generated from the code is what the repository holds."""

from pathlib import Path

from benchmarks.page import Page
from schemas.json_schema import documents
from services.cli.settings_reference import with_table
from services.console.problems_reference import with_reasons
from tools.chart.files import generated

_ROOT = Path(__file__).parents[2]


def test_the_json_schemas_are_those_of_the_models() -> None:
    held = {path.name: path.read_text("utf-8") for path in (_ROOT / "schemas" / "json").glob("*.json")}

    assert held == documents(), "run make docs"


def test_the_table_of_settings_is_that_of_the_code() -> None:
    page = (_ROOT / "docs" / "operations" / "configure.md").read_text("utf-8")

    assert page == with_table(page), "run make docs"


def test_the_table_of_problems_is_that_of_the_code() -> None:
    page = (_ROOT / "docs" / "problems.md").read_text("utf-8")

    assert page == with_reasons(page), "run make docs"


def test_the_figures_of_benchmarks_are_those_that_were_recorded() -> None:
    documents = Page(_ROOT / "docs").documents()

    assert {path: path.read_text("utf-8") for path in documents} == documents, "run make docs"


def test_the_files_of_the_chart_are_those_of_the_code() -> None:
    files = generated()

    assert {path: path.read_text("utf-8") for path in files} == files, "run make docs"
