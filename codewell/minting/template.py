r"""Code templates: literal characters, and tokens that stand for random characters.

{string 4}      four letters of either case          {number 4}      four digits
{upstring 4}    four capitals                        {safe 4}        capitals and digits that can't be misread
{[ABC] 4}       four characters of a custom alphabet \{ \} \\        the characters themselves, and \] in [ ]
"""

import math
import re
import string
from collections import Counter
from dataclasses import dataclass
from typing import Self

from codewell.errors import TemplateInvalid

ALPHABETS = {
    "string": string.ascii_letters,
    "number": string.digits,
    "upstring": string.ascii_uppercase,
    # No vowels, so that no words form, and no 0, 1, I, L and O, which are easily confused.
    "safe": "23456789BCDFGHJKMNPQRSTVWXYZ",
}
TOKEN_COUNT_MIN = 1
CODE_CHARACTERS_MAX = 200
TEMPLATE_CHARACTERS_MAX = 2_000

_QUOTE_CHARACTERS_MAX = 40
_TOKENS = "{string n}, {number n}, {upstring n}, {safe n} or {[characters] n}"
# A brace always belongs to a token, even in an alphabet: a forgotten "]" can't swallow the tokens after it.
_TOKEN = re.compile(r"\{((?:\\.|[^\\{}])*)\}")
_CUSTOM_ALPHABET = re.compile(r"\[((?:\\.|[^\\\]])*)\](.*)")


@dataclass(frozen=True, slots=True)
class Template:
    """A validated template; create it with `Template.parse`.

    `cells` holds the characters that may occur at each place of a code. A literal is a cell of one character,
    and so is a place whose alphabet has only one.
    """

    text: str
    cells: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a template. A text without a token is valid and has one code.

        Raises TemplateInvalid, whose one-sentence message says what to write instead.
        """
        _check_characters(text)
        cells: list[str] = []
        at = 0
        while at < len(text):
            if text[at] == "{":
                token, at = _read_token(text, at)
                cells += token
            elif text[at] == "}":
                raise TemplateInvalid(
                    f"The }} at character {at + 1} closes no token: write \\}} for a literal brace, or remove it."
                )
            else:
                literal, at = _read_character(text, at, escapable="{}\\")
                cells.append(literal)
        if len(cells) > CODE_CHARACTERS_MAX:
            raise TemplateInvalid(
                f"The codes would have {len(cells):,} characters: shorten the template to at most "
                f"{CODE_CHARACTERS_MAX} characters per code."
            )
        return cls(text, tuple(cells))

    @property
    def positions(self) -> tuple[str, ...]:
        """The alphabet of each random position, in order, without literals."""
        return tuple(cell for cell in self.cells if len(cell) > 1)

    @property
    def space(self) -> int:
        """The number of different codes."""
        return math.prod(len(cell) for cell in self.cells)

    @property
    def length(self) -> int:
        """The length of each code in characters (code points)."""
        return len(self.cells)

    def fits(self, code: str) -> bool:
        """Whether the text could be a code of this template, minted or not."""
        if len(code) != len(self.cells):
            return False
        return all(character in cell for character, cell in zip(code, self.cells, strict=True))

    def count_common_texts(self, other: "Template") -> int:
        """The number of texts that fit both templates; 0 if their spaces are disjoint."""
        if self.length != other.length:
            return 0
        return math.prod(len(set(own) & set(theirs)) for own, theirs in zip(self.cells, other.cells, strict=True))


def _check_characters(text: str) -> None:
    if not text:
        raise TemplateInvalid(f"The template is empty: write literal characters, {_TOKENS}.")
    if len(text) > TEMPLATE_CHARACTERS_MAX:
        raise TemplateInvalid(
            f"The template has {len(text):,} characters: shorten it to at most {TEMPLATE_CHARACTERS_MAX:,}."
        )
    for place, character in enumerate(text, start=1):
        # Control and joining characters are invisible in a code, and a lone surrogate can't be sent or stored.
        if not character.isprintable():
            raise TemplateInvalid(
                f"Character {place} of the template, U+{ord(character):04X}, is not printable: remove it."
            )


def _read_character(text: str, at: int, escapable: str) -> tuple[str, int]:
    """The literal character at index `at`, and the index after it."""
    if text[at] != "\\":
        return text[at], at + 1
    escaped = text[at + 1 : at + 2]
    if not escaped or escaped not in escapable:
        wanted = " or ".join(f"\\{character}" for character in escapable)
        raise TemplateInvalid(
            f'"\\{escaped}" is not an escape sequence: write {wanted}, where \\\\ is a literal backslash.'
        )
    return escaped, at + 2


def _read_token(text: str, at: int) -> tuple[list[str], int]:
    """The cells of the token that opens at index `at`, and the index after the token."""
    token = _TOKEN.match(text, at)
    if token is None:
        raise TemplateInvalid(
            f"The {{ at character {at + 1} opens a token that is never closed: close it with }}, as in {{string 4}}, "
            f"or write \\{{ for a literal brace."
        )
    body = token[1].strip(" ")
    if body.startswith("["):
        alphabet, count = _read_custom_alphabet(token[0], body)
    else:
        word, _, count = body.partition(" ")
        alphabet = _named_alphabet(token[0], word, count)
    return [alphabet] * _read_count(token[0], count.strip(" ")), token.end()


def _named_alphabet(token: str, word: str, count: str) -> str:
    if word in ALPHABETS:
        return ALPHABETS[word]
    name = word.rstrip(string.digits)
    if name in ALPHABETS and not count:
        raise TemplateInvalid(f"Put a space before the number in {_quoted(token)}: write {{{name} 4}}.")
    raise TemplateInvalid(
        f"The token {_quoted(token)} is unknown: use {_TOKENS}, or write \\{{ and \\}} for literal braces."
    )


def _read_custom_alphabet(token: str, body: str) -> tuple[str, str]:
    """The characters between the brackets, and the text of the count after them."""
    own = _CUSTOM_ALPHABET.fullmatch(body)
    if own is None:
        raise TemplateInvalid(
            f"The alphabet in {_quoted(token)} is never closed: put ] after its characters, as in {{[ABC] 4}}."
        )
    escaped, count = own[1], own[2]
    if not escaped:
        raise TemplateInvalid(
            f"The alphabet in {_quoted(token)} is empty: put its characters between [ and ], as in {{[ABC] 4}}."
        )
    if count and not count.startswith(" "):
        raise TemplateInvalid(f"Put a space after the ] in {_quoted(token)}, as in {{[ABC] 4}}.")
    characters: list[str] = []
    at = 0
    while at < len(escaped):
        character, at = _read_character(escaped, at, escapable="{}\\]")
        characters.append(character)
    twice = [character for character, times in Counter(characters).items() if times > 1]
    if twice:
        raise TemplateInvalid(f"The alphabet in {_quoted(token)} repeats {' '.join(twice)}: write each character once.")
    return "".join(characters), count


def _read_count(token: str, count: str) -> int:
    if not count:
        raise TemplateInvalid(
            f"The token {_quoted(token)} has no number of characters: add a space and a number, as in {{string 4}}."
        )
    digits = count.lstrip("0")
    # Check the number of digits before int(), which is slow for thousands of them, or refuses them.
    fits = re.fullmatch(r"[0-9]+", count) and digits and len(digits) <= len(str(CODE_CHARACTERS_MAX))
    if not fits or int(digits) > CODE_CHARACTERS_MAX:
        raise TemplateInvalid(
            f"The number {_quoted(count)} in {_quoted(token)} is not valid: write a whole number from "
            f"{TOKEN_COUNT_MIN} "
            f"to {CODE_CHARACTERS_MAX}."
        )
    return int(digits)


def _quoted(fragment: str) -> str:
    if len(fragment) > _QUOTE_CHARACTERS_MAX:
        fragment = fragment[: _QUOTE_CHARACTERS_MAX - 1] + "…"
    return f'"{fragment}"'
