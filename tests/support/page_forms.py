"""Forms of pages as a browser without JavaScript would send them."""

from html.parser import HTMLParser
from typing import Any, NamedTuple


class PageForm(NamedTuple):
    """The action of a form, and the values of its fields."""

    action: str
    fields: dict[str, list[str]]

    def filled(self, **changed: Any) -> dict[str, list[str]]:
        """The fields to send with these values; None leaves a field out, as for a switch that is off."""
        given = {name: [value] for name, value in changed.items() if value is not None}
        kept = {name: values for name, values in self.fields.items() if name not in changed}
        return kept | given


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[PageForm] = []
        self._select: str | None = None
        self._area: str | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append(PageForm(given.get("action") or "", {}))
        elif tag == "input" and self.forms and given.get("name"):
            is_box = given.get("type") in {"checkbox", "radio"}
            if not is_box or "checked" in given:
                self._add(given["name"] or "", given.get("value") or ("on" if is_box else ""))
        elif tag == "select":
            self._select = given.get("name")
        elif tag == "option" and self._select and "selected" in given:
            self._add(self._select, given.get("value") or "")
        elif tag == "textarea":
            self._area, self._text = given.get("name"), ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area:
            self._add(self._area, self._text.removeprefix("\n"))
            self._area = None
        elif tag == "select":
            self._select = None

    def _add(self, name: str, value: str) -> None:
        self.forms[-1].fields.setdefault(name, []).append(value)


def form_of(page: str, action: str) -> PageForm:
    """The form of a page with this action."""
    parser = _Forms()
    parser.feed(page)
    [found] = [form for form in parser.forms if form.action == action]
    return found
