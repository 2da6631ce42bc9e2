"""Stylesheet, modules and vendored libraries, read once. Their address holds a hash of all of them."""

import gzip
import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

_FOLDER: Final = Path(__file__).parent / "static"
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
    ".png": "image/png",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
PREFIX: Final = "/static/"


class _File(NamedTuple):
    media_type: str
    plain: bytes
    zipped: bytes


def _read() -> dict[str, _File]:
    found = {}
    for path in sorted(_FOLDER.rglob("*")):
        if path.suffix in _MEDIA_TYPES:
            plain = path.read_bytes()
            name = path.relative_to(_FOLDER).as_posix()
            found[name] = _File(_MEDIA_TYPES[path.suffix], plain, gzip.compress(plain, 9, mtime=0))
    return found


_FILES: Final = _read()
# One hash for all files, so that modules can import each other by relative paths.
_HASH: Final = hashlib.sha256(b"".join(name.encode() + one.plain for name, one in _FILES.items())).hexdigest()[:16]

router = APIRouter(include_in_schema=False)


def url_of(name: str) -> str:
    """The address of a file in `static/`. Raises KeyError when there is none."""
    if name not in _FILES:
        raise KeyError(name)
    return f"{PREFIX}{_HASH}/{name}"


@router.get("/static/{version}/{name:path}")
async def show_file(request: Request, version: str, name: str) -> Response:
    """Serve a file, compressed where the browser takes that. A page of another version gets the file of this one."""
    file = _FILES.get(name)
    if file is None:
        return PlainTextResponse("There is no such file.\n", 404)
    headers = {"Vary": "Accept-Encoding", "Cache-Control": _FOR_EVER if version == _HASH else "no-store"}
    body = file.plain
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = file.zipped
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=file.media_type)
