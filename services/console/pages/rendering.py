"""Renders templates. A name that a template uses and a page does not give is an error."""

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from codewell.plurals import counted
from schemas.moments import ZONE
from services.console.pages import static_files
from services.console.pages.words import TRANSLATIONS

TEMPLATES: Final = Path(__file__).parent / "templates"


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.install_gettext_translations(TRANSLATIONS, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {"static": static_files.url_of, "time_zone": time_zone}
    made.filters |= {"figure": figure, "counted": counted}
    return made


def time_zone() -> str:
    """The zone in which the console reads dates, such as `Europe/Berlin`."""
    return str(ZONE.get())


def figure(number: int) -> str:
    """A whole number with its thousands separated."""
    return f"{number:,}"


ENVIRONMENT: Final = _environment()


def rendered(template: str, view: dict[str, Any]) -> str:
    """The text of a template of `templates/`."""
    return ENVIRONMENT.get_template(template).render(view)


def rendered_part(template: str, macro: str, view: object) -> Markup:
    """The HTML of one macro of a template, for a part of a page."""
    module = ENVIRONMENT.get_template(template).module
    found: Markup = getattr(module, macro)(view)
    return found
