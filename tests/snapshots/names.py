"""What the source says to operators: its log events, and every name of ours in its texts."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.snapshots.shipped import trees

_LEVELS: Final = ("debug", "info", "warning", "error", "exception", "critical")
# Variables, metrics and headers, roles, consumer groups, names of connections.
_NAME: Final = re.compile(r"(?i)codewell[-_][a-z0-9_-]*[a-z0-9]")


def files() -> dict[str, str]:
    """The log events with their levels and fields, and the names."""
    events = {event for tree in trees() for event in _events(tree)}
    names = {name for tree in trees() for text in _texts(tree) for name in _NAME.findall(text)}
    return {
        "log_events.txt": "\n".join(sorted(events)) + "\n",
        "names.txt": "\n".join(sorted(names)) + "\n",
    }


def _events(tree: ast.Module) -> Iterator[str]:
    """Each call of a logger, as `event | level | fields`; a function that binds fields to all later lines too."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr == "bind_contextvars":
            yield f"(any) | any | {_fields(call)}"
        elif call.func.attr in _LEVELS and _is_logger(call.func.value):
            given = [*call.args[:1], *(one.value for one in call.keywords if one.arg == "event")]
            event = str(given[0].value) if given and isinstance(given[0], ast.Constant) else "(not constant)"
            yield f"{event} | {call.func.attr} | {_fields(call)}"


def _is_logger(value: ast.expr) -> bool:
    return isinstance(value, ast.Name | ast.Attribute) and ast.unparse(value).endswith(("log", "logger"))


def _fields(call: ast.Call) -> str:
    names = [one.arg or "**" for one in call.keywords if one.arg != "event"]
    return ", ".join(sorted(names)) or "-"


def _texts(tree: ast.Module) -> Iterator[str]:
    docstrings = {id(text) for text in _docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
