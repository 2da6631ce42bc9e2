r"""Code templates: literal characters, and tokens that stand for random characters.

{string 4}      four letters of either case          {number 4}      four digits
{upstring 4}    four capitals                        {safe 4}        capitals and digits that can't be misread
{[ABC] 4}       four characters of a custom alphabet \{ \} \\        the characters themselves, and \] in [ ]
{check}         one character, computed from the others, with which tills refuse typing errors
"""

import math
import re
import string
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple, Self

from codewell.errors import TemplateInvalid
from codewell.minting.check_character import CHECK_CHARACTERS_MAX, CheckCharacter

ALPHABETS = {
    "string": string.ascii_letters,
    "number": string.digits,
    "upstring": string.ascii_uppercase,
    # No vowels, so that no words form, and no 0, 1, I, L and O, which are easily confused.
    "safe": "23456789BCDFGHJKMNPQRSTVWXYZ",
}


class TokenKind(NamedTuple):
    """A kind of token: an example, what it stands for, and its characters; none where the template names them."""

    example: str
    meaning: str
    characters: str

    @property
    def insertable(self) -> bool:
        """Whether the example can go into a template as it is."""
        return "[" not in self.example


TOKEN_KINDS = (
    TokenKind("{string 4}", "letters of either case", ALPHABETS["string"]),
    TokenKind("{number 4}", "digits", ALPHABETS["number"]),
    TokenKind("{upstring 4}", "capitals", ALPHABETS["upstring"]),
    TokenKind("{safe 4}", "capitals and digits that can't be misread or form words", ALPHABETS["safe"]),
    TokenKind("{[ABC] 4}", "characters of your own choice", ""),
    TokenKind("{check}", "a character computed from the others, so that tills refuse typing errors", ""),
)
TOKEN_COUNT_MIN = 1
CODE_CHARACTERS_MAX = 200
TEMPLATE_CHARACTERS_MAX = 2_000

_QUOTE_CHARACTERS_MAX = 40
_TOKENS = "{string n}, {number n}, {upstring n}, {safe n}, {[characters] n} or {check}"
_CHECK = "check"
# A brace always belongs to a token, even in an alphabet: a forgotten "]" can't swallow the tokens after it.
_TOKEN = re.compile(r"\{((?:\\.|[^\\{}])*)\}")
_CUSTOM_ALPHABET = re.compile(r"\[((?:\\.|[^\\\]])*)\](.*)")


@dataclass(frozen=True, slots=True)
class Template:
    """A validated template; create it with `Template.parse`.

    `cells` holds the characters that may occur at each place of a code. A literal is a cell of one character,
    and so is a place whose alphabet has only one. The cell of the check character is its alphabet.
    """

    text: str
    cells: tuple[str, ...]
    check: CheckCharacter | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a template. A text without a token is valid and has one code.

        Raises TemplateInvalid, whose one-sentence message says what to write instead.
        """
        _check_characters(text)
        cells: list[str] = []
        check: int | None = None
        at = 0
        while at < len(text):
            try:
                if (end := _end_of_check(text, at)) is not None:
                    _check_place(cells, check)
                    check, at = len(cells), end
                    cells.append("")
                    continue
                part, at = _read_part(text, at)
            except TemplateInvalid as error:
                error.position = at + 1
                raise
            cells += part
        if len(cells) > CODE_CHARACTERS_MAX:
            raise TemplateInvalid(
                f"The codes would have {len(cells):,} characters: shorten the template to at most "
                f"{CODE_CHARACTERS_MAX} characters per code."
            )
        if check is None:
            return cls(text, tuple(cells))
        computed = _check_character(cells, check)
        cells[check] = computed.alphabet
        return cls(text, tuple(cells), computed)

    @property
    def free_cells(self) -> tuple[str, ...]:
        """The cells without that of the check character, which the others determine."""
        return self.cells if self.check is None else self.cells[: self.check.place] + self.cells[self.check.place + 1 :]

    @property
    def positions(self) -> tuple[str, ...]:
        """The alphabet of each random position, in order, without literals."""
        return tuple(cell for cell in self.free_cells if len(cell) > 1)

    @property
    def space(self) -> int:
        """The number of different codes."""
        return math.prod(len(cell) for cell in self.free_cells)

    @property
    def length(self) -> int:
        """The length of each code in characters (code points)."""
        return len(self.cells)

    def fits(self, code: str) -> bool:
        """Whether the text could be a code of this template, minted or not."""
        if len(code) != len(self.cells):
            return False
        fits = all(character in cell for character, cell in zip(code, self.cells, strict=True))
        return fits and (self.check is None or self.check.complete(code) == code)

    def count_common_texts(self, other: "Template") -> int:
        """The number of texts that fit both templates, or with check characters a bound of it; 0: there is none."""
        if self.length != other.length:
            return 0
        common = [len(set(own) & set(theirs)) for own, theirs in zip(self.cells, other.cells, strict=True)]
        if 0 in common:
            return 0
        # One of the two determines this character.
        computed = {one.check.place for one in (self, other) if one.check is not None}
        return math.prod(count for place, count in enumerate(common) if place not in computed)


def _end_of_check(text: str, at: int) -> int | None:
    """The index after the check's token, if one opens at this index. Raises TemplateInvalid if it has a number."""
    token = _TOKEN.match(text, at)
    word, _, count = token[1].strip(" ").partition(" ") if token else ("", "", "")
    if token is None or (word if count else word.rstrip(string.digits)) != _CHECK:
        return None
    if count or word != _CHECK:
        raise TemplateInvalid(f"A code has one check character, without a number: write {{{_CHECK}}}.")
    return token.end()


def _check_place(before: list[str], check: int | None) -> None:
    """Raise TemplateInvalid unless a check character may follow these cells; `check` is the place of an earlier one."""
    if check is not None:
        raise TemplateInvalid(f"The template has {{{_CHECK}}} twice: a code has one check character, remove the other.")
    if all(len(cell) == 1 for cell in before):
        raise TemplateInvalid(
            f"There is no random character before {{{_CHECK}}}: put it after the characters, as in "
            f"{{safe 8}}{{{_CHECK}}}."
        )


def _check_character(cells: list[str], place: int) -> CheckCharacter:
    variable = tuple(index for index, cell in enumerate(cells) if len(cell) > 1)
    alphabet = "".join(sorted({character for index in variable for character in cells[index]}))
    if len(alphabet) > CHECK_CHARACTERS_MAX:
        raise TemplateInvalid(
            f"The random places have {len(alphabet):,} different characters, and with {{{_CHECK}}} at most "
            f"{CHECK_CHARACTERS_MAX}: use fewer, or remove {{{_CHECK}}}."
        )
    return CheckCharacter(place, variable, alphabet)


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
            error = TemplateInvalid(
                f"Character {place} of the template, U+{ord(character):04X}, is not printable: remove it."
            )
            error.position = place
            raise error


def _read_part(text: str, at: int) -> tuple[list[str], int]:
    """The cells of the token or literal character at index `at`, and the index after it."""
    if text[at] == "{":
        return _read_token(text, at)
    if text[at] == "}":
        raise TemplateInvalid(
            f"The }} at character {at + 1} closes no token: write \\}} for a literal brace, or remove it."
        )
    literal, at = _read_character(text, at, escapable="{}\\")
    return [literal], at


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
