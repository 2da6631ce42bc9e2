"""Every variable of every settings class: its type, its default, what it must be, and whether a file may hold it."""

import json
from collections.abc import Iterator

from pydantic_settings import BaseSettings

from codewell.infra.config.secret_files import is_secret
from tests.snapshots.shipped import import_all, is_shipped

# What it means is prose, which the table in docs/operations.md has.
_PROSE = ("title", "description")


def files() -> dict[str, str]:
    """One file: the classes by name, one line for each variable in the order of the class."""
    import_all()
    sections = ["\n".join([kind.__name__, *_lines(kind)]) for kind in sorted(_classes(), key=lambda one: one.__name__)]
    return {"settings.txt": "\n\n".join(sections) + "\n"}


def _classes(kind: type[BaseSettings] = BaseSettings) -> set[type[BaseSettings]]:
    found: set[type[BaseSettings]] = set()
    for one in kind.__subclasses__():
        # Without a prefix it is a part of those that have one.
        if is_shipped(one.__module__) and one.model_config.get("env_prefix"):
            found.add(one)
        found |= _classes(one)
    return found


def _lines(kind: type[BaseSettings]) -> Iterator[str]:
    schema = kind.model_json_schema()
    prefix = kind.model_config.get("env_prefix", "")
    for name, field in kind.model_fields.items():
        rules = {rule: value for rule, value in schema["properties"][name].items() if rule not in _PROSE}
        if field.is_required():
            rules["required"] = True
        if is_secret(field):
            rules["or_file"] = True
        yield f"    {prefix}{name.upper()} {json.dumps(rules, sort_keys=True)}"
