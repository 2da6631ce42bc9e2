"""Secrets read from files, as containers receive them: `CODEWELL_X_FILE` names the file of `CODEWELL_X`."""

import os
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from codewell.errors import SettingsInvalid

# Larger than any key, password or URL; limits what is read if a path is wrong.
SECRET_BYTES_MAX: Final = 64 * 1024


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is a secret, which no command prints."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def secret_path(name: str) -> str | None:
    """The file from which a secret setting is read, if its `_FILE` variable is set."""
    return os.environ.get(f"CODEWELL_{name.upper()}_FILE") or None


class SecretFiles(PydanticBaseSettingsSource):
    """A settings source that reads secret files. Raises SettingsInvalid, whose text contains no secret."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the content of the file without its last newline, or None."""
        path = secret_path(field_name) if is_secret(field) else None
        return None if path is None else _read_secret(f"CODEWELL_{field_name.upper()}", path), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All secrets that have a file."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _read_secret(variable: str, path: str) -> str:
    if os.environ.get(variable):
        raise SettingsInvalid(f"{variable} and {variable}_FILE are both set: keep one of them.")
    try:
        with Path(path).open("rb") as file:
            raw = file.read(SECRET_BYTES_MAX + 1)
        content = raw.decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsInvalid(f"{variable}_FILE is invalid: cannot read {path} ({error.strerror}).") from error
    except UnicodeDecodeError:
        # Without the cause, which contains the bytes.
        raise SettingsInvalid(f"{variable}_FILE is invalid: {path} is not UTF-8 text.") from None
    if not content or len(raw) > SECRET_BYTES_MAX:
        what = f"is larger than {SECRET_BYTES_MAX // 1024} KiB" if content else "is empty"
        raise SettingsInvalid(f"{variable}_FILE is invalid: {path} {what}.")
    return content
