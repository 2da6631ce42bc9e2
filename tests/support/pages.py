"""Reads pages as text, and fills in their forms as a browser without scripts does."""

import re
from html.parser import HTMLParser

import httpx


class Form:
    """A form of a page: where it goes, and its fields with the values that they begin with."""

    def __init__(self, action: str, method: str) -> None:
        self.action = action
        self.method = method
        self.fields: dict[str, str | list[str]] = {}
        self.buttons: list[str] = []

    def add(self, name: str, value: str) -> None:
        """A field; one that comes several times has a list."""
        there = self.fields.get(name)
        if there is None:
            self.fields[name] = value
        else:
            self.fields[name] = [*([there] if isinstance(there, str) else there), value]


class Reader(HTMLParser):
    """All forms of a page, and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._select: str | None = None
        self._options: list[tuple[str, bool]] = []
        self._textarea: str | None = None
        self._words: list[str] = []
        self._is_button = False
        self.feed(html)

    @property
    def text(self) -> str:
        """The words of the page, with single spaces between them."""
        return " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        elif tag == "input" and self.forms and "name" in given:
            is_box = given.get("type") in {"checkbox", "radio"}
            if given.get("type") != "file" and (not is_box or "checked" in given):
                self.forms[-1].add(given["name"], given.get("value", "on" if is_box else ""))
        elif tag == "select":
            self._select, self._options = given.get("name"), []
        elif tag == "option":
            self._options.append((given.get("value", ""), "selected" in given))
        elif tag == "textarea":
            self._textarea = given["name"]
            self.forms[-1].add(given["name"], "")
        elif tag == "button":
            self._is_button = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "select" and self._select is not None and self._options:
            chosen = [value for value, is_selected in self._options if is_selected] or [self._options[0][0]]
            self.forms[-1].add(self._select, chosen[0])
            self._select = None
        elif tag == "textarea":
            self._textarea = None
        elif tag == "button":
            self._is_button = False

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self.forms[-1].fields[self._textarea] = data.removeprefix("\n")
        elif self._is_button and self.forms:
            self.forms[-1].buttons.append(data.strip())
        self._words.append(data)


def words(answer: httpx.Response) -> str:
    """The words of a page."""
    return Reader(answer.text).text


def form(answer: httpx.Response, action: str) -> Form:
    """The page's only form that goes to `action`."""
    found = [one for one in Reader(answer.text).forms if one.action == action]
    assert len(found) == 1, [one.action for one in Reader(answer.text).forms]
    return found[0]


async def submit(client: httpx.AsyncClient, filled: Form, **fields: object) -> httpx.Response:
    """Send a form with these fields filled in; None leaves a field out."""
    data = {name: value for name, value in (filled.fields | fields).items() if value is not None}
    if filled.method == "get":
        return await client.get(filled.action, params=data)  # type: ignore[arg-type]
    return await client.post(filled.action, data=data)


def secret_on(page: httpx.Response) -> str:
    """The secret that a page shows once."""
    found = re.search(r'<code id="secret">([^<]+)</code>', page.text)
    assert found is not None, page.text
    return found[1]
