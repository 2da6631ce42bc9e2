"""How the text of a file is encoded."""

import codecs
import re
from typing import Final

from codewell.errors import FileRefused
from codewell.files.scan import Scan

# UTF-32 first, as its mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
# In Cyrillic whole words are above ASCII, in Latin single letters are.
_ODD: Final = re.compile(rb"[\x80-\xff]")
_LONG_RUNS: Final = re.compile(rb"[\x80-\xff]{3,}")
_IN_RUNS_MIN: Final = 0.75
# What Central European letters look like when they are taken for Western ones: signs in words, letters of no other
# language that is written in the Western page, and bytes that have no character there.
_CENTRAL: Final = re.compile(
    r"[^\W\d_][\xb3\xb9\xbf\xa3\xa5\xbc\xbe]|[\xb3\xb9\xa3\xaf\xbc\xbe][^\W\d_]|[\u0160\u0161\u017d\u017e\ufffd]"
)
# Python knows these beside those that files are in. Some make halves of characters, which no database takes.
_NOT_OF_FILES: Final = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
# Plain text in UTF-16 has a zero in every other byte; this share of them is enough.
_ZEROS_MIN: Final = 0.7
# What a table of text has by mistake alone; a tab, a line's end and the old end of a file may be. Of random bytes every
# tenth is one.
_CONTROLS: Final = bytes(set(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1A})
_CONTROLS_MAX: Final = 0.05


def encoding_of(scan: Scan, said: str | None) -> str:
    """The name of the file's encoding, or what was `said`. Raises FileRefused where there is none or it is no text."""
    if said is not None:
        return _known(said)
    for mark, name in _MARKS:
        if scan.sample.startswith(mark):
            return name
    wide = _utf16(scan.sample)
    if wide is not None:
        return wide
    controls = len(scan.sample) - len(scan.sample.translate(None, _CONTROLS))
    if controls > _CONTROLS_MAX * len(scan.sample):
        raise FileRefused("The file is neither text nor a workbook: save it as CSV, XLS or XLSX.")
    return "utf-8" if scan.is_utf8 else _code_page(scan.strange)


def _known(said: str) -> str:
    unknown = f"There is no encoding {said}: name one such as utf-8, utf-16 or windows-1252."
    try:
        found = codecs.lookup(said)
    except LookupError as error:
        raise FileRefused(unknown) from error
    if found.name in _NOT_OF_FILES:
        raise FileRefused(unknown)
    try:
        "".encode(said)
    except LookupError as error:
        raise FileRefused(unknown) from error
    # A file in UTF-8 may have its mark in front, whatever was said.
    return "utf-8-sig" if found.name == "utf-8" else found.name


def _utf16(sample: bytes) -> str | None:
    """UTF-16 without a mark, if that is what it is."""
    pairs = len(sample) // 2
    low, high = sample[: 2 * pairs : 2].count(0), sample[1 : 2 * pairs : 2].count(0)
    if pairs and high >= _ZEROS_MIN * pairs and low == 0:
        return "utf-16-le"
    if pairs and low >= _ZEROS_MIN * pairs and high == 0:
        return "utf-16-be"
    return None


def _code_page(strange: bytes) -> str:
    """Which Windows code page these lines are most likely in: Cyrillic, Central European, else Western."""
    runs = sum(map(len, _LONG_RUNS.findall(strange)))
    if runs > _IN_RUNS_MIN * len(_ODD.findall(strange)):
        return "cp1251"
    return "cp1250" if _CENTRAL.search(strange.decode("cp1252", "replace")) else "cp1252"
