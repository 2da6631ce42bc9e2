"""The facts of dead letters that lists show, and those of a complete letter: for commands and the HTTP API alike."""

from base64 import b64encode
from datetime import datetime
from typing import Final, NamedTuple

from codewell.recovery.dead_letters import HandledLetter

# Of one complete letter: of its value, of each header, and of all headers. A legitimate event is smaller.
VALUE_BYTES_MAX: Final = 256 * 1024
HEADER_BYTES_MAX: Final = 4 * 1024
HEADERS_MAX: Final = 200


class LetterSummary(NamedTuple):
    """A letter without its event."""

    at: str
    written_at: datetime
    topic: str
    reason: str
    replays: int
    replayed_at: datetime | None
    event_id: str | None
    key: str | None
    value_bytes: int
    detail: str


class WholeLetter(NamedTuple):
    """A letter with its event. A value that is not UTF-8 is in `value_base64`; a letter without a value has neither."""

    summary: LetterSummary
    profile_id: str | None
    came_from: str
    purged_at: datetime | None
    headers: list[tuple[str, str | None]]
    """Names may repeat; a value that is not UTF-8 has replacement characters."""
    value: str | None
    value_base64: str | None
    is_cut: bool
    """Whether the value, a header or the list of headers was cut to its limit."""


def summary_of(one: HandledLetter) -> LetterSummary:
    """What lists show of a letter."""
    letter, done = one
    return LetterSummary(
        letter.at, letter.written_at, letter.request_topic, letter.reason, letter.replays, done.replayed_at,
        letter.event_id, letter.key, len(letter.record.value or b""), letter.detail,
    )  # fmt: skip


def whole_of(one: HandledLetter, *, is_bounded: bool) -> WholeLetter:
    """The complete letter; bounded, values and headers are cut at their limits."""
    record = one.letter.record
    origin = {name: dict(record.headers).get(f"codewell_{name}") for name in ("topic", "partition", "offset")}
    headers, value = list(record.headers), record.value
    is_cut = False
    if is_bounded:
        is_cut = (
            len(headers) > HEADERS_MAX
            or len(value or b"") > VALUE_BYTES_MAX
            or any(len(name) + len(text or b"") > HEADER_BYTES_MAX for name, text in headers)
        )
        headers = [(name[:HEADER_BYTES_MAX], text and text[:HEADER_BYTES_MAX]) for name, text in headers[:HEADERS_MAX]]
        value = value and value[:VALUE_BYTES_MAX]
    text = _text(value, is_cut=is_cut)
    return WholeLetter(
        summary_of(one),
        one.letter.profile_id,
        ":".join((part or b"?").decode("utf-8", "replace") for part in origin.values()),
        one.handling.purged_at,
        [(name, None if text is None else text.decode("utf-8", "replace")) for name, text in headers],
        text,
        b64encode(value).decode() if value is not None and text is None else None,
        is_cut,
    )


def _text(value: bytes | None, *, is_cut: bool) -> str | None:
    """The value as text; None if it is none. The last character may be cut."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        return value[: error.start].decode() if is_cut and len(value) - error.start < 4 else None
