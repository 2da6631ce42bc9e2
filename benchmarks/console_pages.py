"""The addresses of the console's pages, from its own routes: a new screen is measured, and tested, by itself."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote, urlencode

from fastapi.routing import APIRoute

from services.console.pages import app


def addresses(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each route that a browser can open with a session, and its address with these values of its parameters.

    A page with another parameter is of something else, such as a dead letter, and left out.
    """
    for route in app.routes():
        if "GET" in (route.methods or ()):
            with suppress(KeyError):
                yield route.path, address(route, values)


def address(route: APIRoute, values: Mapping[str, str]) -> str:
    """The address of one route, with the parameters that it must have. Raises KeyError."""

    def filled(parameter: re.Match[str]) -> str:
        return quote(values[parameter[1]], safe="/" if parameter[2] == ":path" else "")

    path = re.sub(r"\{(\w+)(:\w+)?\}", filled, route.path)
    query = {one.alias: values[one.alias] for one in route.dependant.query_params if one.field_info.is_required()}
    return f"{path}?{urlencode(query)}" if query else path
