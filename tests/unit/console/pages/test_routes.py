"""The list of pages that tests and benchmarks walk has each page that is there."""

from importlib import import_module
from pkgutil import iter_modules

from services.console.pages import app, screens


def test_every_screen_is_walked() -> None:
    modules = [import_module(f"{screens.__name__}.{one.name}") for one in iter_modules(screens.__path__)]
    there = {id(route) for module in modules if hasattr(module, "router") for route in module.router.routes}
    known = [*app.routes(), *(route for module in app._OPEN for route in module.router.routes)]
    assert there == {id(route) for route in known}
