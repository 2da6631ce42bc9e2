"""Registers schemas in a registry that speaks the API of Confluent's Schema Registry."""

import base64
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from codewell.errors import RegistryRefused

_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
TIMEOUT_S: Final = 10.0
_BODY_BYTES_MAX: Final = 1024 * 1024

_ADVICE: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "give user and password in the URL",
    HTTPStatus.FORBIDDEN: "the user may not write this subject",
    HTTPStatus.NOT_FOUND: "check the URL's path",
    HTTPStatus.CONFLICT: "the subject holds an incompatible schema: see its compatibility setting",
}


class SchemaRegistry:
    """A registry at a URL, which may contain user and password."""

    def __init__(self, url: str) -> None:
        """Raises RegistryRefused for a URL that is not of HTTP."""
        try:
            parts = urlsplit(url)
        except ValueError:
            # Without the cause, whose text may hold the password.
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise RegistryRefused("The URL of the registry must be like https://registry.example.org:8081.")
        _, _, host = parts.netloc.rpartition("@")
        self._url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._headers = {"Content-Type": _MEDIA_TYPE, "Accept": f"{_MEDIA_TYPE}, application/json"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(user).decode()}"

    def register(self, subject: str, schema: str) -> int:
        """Register a JSON Schema and return its id; the same schema again keeps its id. Raises RegistryRefused."""
        answer = self._post(f"/subjects/{quote(subject, safe='')}/versions", {"schemaType": "JSON", "schema": schema})
        found = answer.get("id")
        if not isinstance(found, int):
            raise RegistryRefused(f"The registry at {self._url} gave no id for {subject}: check its URL.")
        return found

    def _post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        request = Request(self._url + path, json.dumps(body).encode(), self._headers, method="POST")  # noqa: S310
        try:
            with build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as response:
                answer = json.loads(response.read(_BODY_BYTES_MAX))
        except HTTPError as error:
            raise RegistryRefused(self._refusal(error)) from error
        except (URLError, OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise RegistryRefused(f"The registry at {self._url} does not answer ({why}): check its URL.") from error
        return answer if isinstance(answer, dict) else {}

    def _refusal(self, error: HTTPError) -> str:
        with error:
            text = error.read(_BODY_BYTES_MAX).decode("utf-8", "replace")
        try:
            said = str(json.loads(text)["message"])
        except (ValueError, KeyError, TypeError):
            said = error.reason
        advice = _ADVICE.get(error.code, "correct the cause and run the command again")
        return f"The registry at {self._url} refused ({error.code}, {said.strip()[:500]}): {advice}."


class _NoRedirects(HTTPRedirectHandler):
    """Refuses redirects, which would carry the password to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None
