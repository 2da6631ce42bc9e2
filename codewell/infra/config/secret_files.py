"""Secrets that stand in files, as containers are given them: `CODEWELL_X_FILE` names the file of `CODEWELL_X`."""

import os
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from codewell.errors import SettingsInvalid

# More than any key, password or URL, and nothing that a wrong path could lead to by mistake is read whole.
SECRET_BYTES_MAX: Final = 64 * 1024


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is a secret, which no command prints."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def secret_path(name: str) -> str | None:
    """The file that a secret setting is to be read from, if one is named."""
    return os.environ.get(f"CODEWELL_{name.upper()}_FILE") or None


class SecretFiles(PydanticBaseSettingsSource):
    """Reads every secret setting whose file is named. Raises SettingsInvalid, which does not say what it holds."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the file without the newline at its end, or None."""
        path = secret_path(field_name) if is_secret(field) else None
        return None if path is None else _read_secret(f"CODEWELL_{field_name.upper()}", path), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All that are there."""
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
        # Without the cause, which has the bytes.
        raise SettingsInvalid(f"{variable}_FILE is invalid: {path} is not UTF-8 text.") from None
    if not content or len(raw) > SECRET_BYTES_MAX:
        what = f"is larger than {SECRET_BYTES_MAX // 1024} KiB" if content else "is empty"
        raise SettingsInvalid(f"{variable}_FILE is invalid: {path} {what}.")
    return content
