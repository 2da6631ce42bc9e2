"""Detects the text encoding of a file."""

import codecs
import re
from typing import Final, NamedTuple

from codewell.errors import FileRefused
from codewell.files.scan import Scan

# UTF-32 first, as its byte order mark begins with that of UTF-16.
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_MARKS: Final = {
    "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}  # fmt: skip
# Cyrillic text has whole words above ASCII, Latin text single letters.
_NON_ASCII: Final = re.compile(rb"[\x80-\xff]")
_NON_ASCII_RUNS: Final = re.compile(rb"[\x80-\xff]{3,}")
_RUN_SHARE_MIN: Final = 0.75
# Central European letters decoded as Western: symbols inside words, letters that no language in the Western code page
# uses, and undefined bytes.
_CENTRAL_EUROPEAN: Final = re.compile(
    r"[^\W\d_][\xb3\xb9\xbf\xa3\xa5\xbc\xbe]|[\xb3\xb9\xa3\xaf\xbc\xbe][^\W\d_]|[\u0160\u0161\u017d\u017e\ufffd]"
)
# Python codecs that are no file encodings. Some produce lone surrogates, which no database stores.
_REFUSED_CODECS: Final = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
# Plain UTF-16 text has a zero in every other byte; this share of them is enough.
_ZERO_SHARE_MIN: Final = 0.7
# Control characters that text tables contain only by mistake; tabs, line ends and the old end-of-file character are
# valid. About a tenth of random bytes are such.
_CONTROLS: Final = bytes(set(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1A})
_CONTROL_SHARE_MAX: Final = 0.05


class FoundEncoding(NamedTuple):
    """The encoding of a file."""

    name: str
    is_certain: bool
    """Whether it was given, or follows from the bytes; else a code page is guessed from them."""


def detect_encoding(scan: Scan, given: str | None) -> FoundEncoding:
    """Return the file's encoding, or `given`. Raises FileRefused if `given` is unknown or the file is not text."""
    if given is not None:
        name = _checked_encoding(given)
        # A codec that names the order of bytes takes their mark for text.
        has_mark = name in _MARKS and scan.sample.startswith(_MARKS[name])
        return FoundEncoding(name[: -len("-le")] if has_mark else name, True)
    for mark, name in _BYTE_ORDER_MARKS:
        if scan.sample.startswith(mark):
            return FoundEncoding(name, True)
    utf16 = _utf16(scan.sample)
    if utf16 is not None:
        return FoundEncoding(utf16, True)
    controls = len(scan.sample) - len(scan.sample.translate(None, _CONTROLS))
    if controls > _CONTROL_SHARE_MAX * len(scan.sample):
        raise FileRefused("The file is neither text nor a workbook: save it as CSV, XLS or XLSX.")
    return FoundEncoding("utf-8", True) if scan.is_utf8 else FoundEncoding(_code_page(scan.non_utf8_lines), False)


def _checked_encoding(given: str) -> str:
    unknown = f"There is no encoding {given}: name one such as utf-8, utf-16 or windows-1252."
    try:
        found = codecs.lookup(given)
    except LookupError as error:
        raise FileRefused(unknown) from error
    if found.name in _REFUSED_CODECS:
        raise FileRefused(unknown)
    try:
        "".encode(given)
    except LookupError as error:
        raise FileRefused(unknown) from error
    # A UTF-8 file may begin with a byte order mark even if the encoding was given.
    return "utf-8-sig" if found.name == "utf-8" else found.name


def _utf16(sample: bytes) -> str | None:
    """UTF-16 without a byte order mark, if the sample looks like it."""
    pairs = len(sample) // 2
    low, high = sample[: 2 * pairs : 2].count(0), sample[1 : 2 * pairs : 2].count(0)
    if pairs and high >= _ZERO_SHARE_MIN * pairs and low == 0:
        return "utf-16-le"
    if pairs and low >= _ZERO_SHARE_MIN * pairs and high == 0:
        return "utf-16-be"
    return None


def _code_page(non_utf8_lines: bytes) -> str:
    """The most likely Windows code page of these lines: Cyrillic, Central European, else Western."""
    runs = sum(map(len, _NON_ASCII_RUNS.findall(non_utf8_lines)))
    if runs > _RUN_SHARE_MIN * len(_NON_ASCII.findall(non_utf8_lines)):
        return "cp1251"
    return "cp1250" if _CENTRAL_EUROPEAN.search(non_utf8_lines.decode("cp1252", "replace")) else "cp1252"
