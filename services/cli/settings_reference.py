"""The table of settings in `docs/operations/configure.md`; `python -m services.cli.settings_reference` writes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from codewell.alerts.settings import ConsoleAddress
from codewell.imports.settings import ImportSettings
from codewell.infra.config.settings import StackSettings, WorkerSettings, variables_of
from codewell.remote.settings import RemoteSettings
from codewell.webhooks.settings import WebhookSettings
from services.console.settings import ConsoleSettings
from services.generator.settings import GeneratorSettings
from services.issuer.settings import IssuerSettings

PAGE: Final = Path("docs/operations/configure.md")
_BEGIN: Final = "<!-- settings: begin -->\n"
_END: Final = "<!-- settings: end -->\n"
READERS: Final[dict[str, type[BaseSettings]]] = {
    "all": StackSettings,
    "workers": WorkerSettings,
    "issuer": IssuerSettings,
    "remote services": RemoteSettings,
    "generator, console": ConsoleAddress,
    "webhooks": WebhookSettings,
    "generator": GeneratorSettings,
    "imports": ImportSettings,
    "console": ConsoleSettings,
}


def settings_table() -> str:
    """Every setting with the services that read it, its default and its meaning, as a Markdown table."""
    return "\n".join(["| variable | read by | default | meaning |", "|---|---|---|---|", *_rows()]) + "\n"


def known_variables() -> frozenset[str]:
    """The variables of all settings, and those that name the files of secrets."""
    return variables_of(READERS.values())


def with_table(page: str) -> str:
    """The page with the current table between its two marks."""
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    return before + _BEGIN + settings_table() + _END + after


def _rows() -> Iterator[str]:
    known: set[str] = set()
    for reader, settings in READERS.items():
        for name, field in settings.model_fields.items():
            if name not in known:
                known.add(name)
                yield f"| `CODEWELL_{name.upper()}` | {reader} | {_default(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "a running stack's"
    return "none" if field.default in (None, "", ()) else f"`{field.default}`"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
