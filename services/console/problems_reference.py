"""The table of reasons in `docs/problems.md`; `python -m services.console.problems_reference` writes it."""

from pathlib import Path
from typing import Final

from codewell.reasons import PROBLEMS, problem_type

PAGE: Final = Path("docs/problems.md")
_BEGIN: Final = "<!-- reasons: begin -->\n"
_END: Final = "<!-- reasons: end -->\n"


def reasons_table() -> str:
    """Every reason with its status, its title, its type and an example, as a Markdown table."""
    rows = [
        f"| `{reason}` | {kind.status} | {kind.title} | `{problem_type(reason)}` | {_cell(kind.example)} |"
        for reason, kind in sorted(PROBLEMS.items())
    ]
    return "\n".join(["| reason | status | when | type | example of `detail` |", "|---|---|---|---|---|", *rows]) + "\n"


def with_reasons(page: str) -> str:
    """The page with the current table between its two marks."""
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    return before + _BEGIN + reasons_table() + _END + after


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(with_reasons(PAGE.read_text("utf-8")), "utf-8")
