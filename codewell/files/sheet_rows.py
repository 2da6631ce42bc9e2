"""Finds the rows of a sheet that are written in the usual form, so that expat need not call Python for each cell.

All else goes through expat as it is, and so do all rows after a comment or another instruction. A usual row has its
number and its cells' places, is displayed, and its texts have no entities but the five that XML has.
"""

import re
from collections.abc import Callable, Iterator
from typing import IO, Final
from xml.parsers import expat

_PIECE_BYTES: Final = 256 * 1024
_CHARS: Final = rb"[^<&\x00-\x08\x0b\x0c\x0e-\x1f]*+"
_SPACE: Final = rb"[ \t\r\n]*+"
_TEXT: Final = rb"%b(?:&(?:amp|lt|gt|quot|apos);%b)*" % (_CHARS, _CHARS)
_ATTRIBUTE: Final = (
    rb' (?:ht="[1-9][0-9.]*+"|hidden="(?:0|false)"|(?!r=|ht=|hidden=)[A-Za-z][A-Za-z0-9:]*+="[^"<&\x00-\x1f]*+")'
)
_CELL: Final = (
    rb'<c r="[A-Z]{1,3}\1"(?: s="[0-9]{1,5}")?(?: t="(?:s|str|inlineStr|n|b|e)")?'
    rb'(?:/>|>(?:<v>%b</v>|<is><t(?: xml:space="preserve")?>%b</t></is>)?</c>)' % (_CHARS, _TEXT)
)
# Groups are repeated without possessive quantifiers, which Python before 3.11.5 matches wrongly.
_ROWS: Final = re.compile(
    rb'(?:<row r="([0-9]{1,7})"(?:%b)*(?:/>|>%b(?:%b%b)*</row>)%b)+' % (_ATTRIBUTE, _SPACE, _CELL, _SPACE, _SPACE)
)
# The form of the declaration is expat's matter; it may follow a byte order mark.
_DECLARATION_END: Final = 4


def parse_sheet(file: IO[bytes], parser: expat.XMLParserType, take: Callable[[bytes], None]) -> Iterator[None]:
    """Parse a sheet, but give runs of usual rows to `take`, all in the order of the file. Yields after each piece."""
    left, begin, is_usual = b"", _DECLARATION_END, True
    while piece := file.read(_PIECE_BYTES):
        text = left + piece
        is_usual = is_usual and text.find(b"<!") < 0 and text.find(b"<?", begin) < 0
        begin = 0
        # Up to the last row, else to the last tag, so that expat gets whole ones and calls before `take` is called.
        end = max(text.rfind(b"<row "), 0) or text.rfind(b"<") if is_usual else len(text)
        if end <= 0:
            end, is_usual = len(text), False
        at = 0
        for run in _ROWS.finditer(text, 0, end) if is_usual else ():
            if _is_utf8(run[0]):
                parser.Parse(text[at : run.start()])
                take(run[0])
                at = run.end()
        parser.Parse(text[at:end])
        left = text[end:]
        yield
    parser.Parse(left, True)
    yield


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False
