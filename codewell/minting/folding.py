"""Folding: texts that people take for the same code fold alike, so that a code is found however it was typed.

`fold` drops what does not tell codes apart: compatibility forms (NFKC), case, spaces, dashes, and characters without
width. `alike` also takes the letter O for the digit 0, and I and L for 1. A template's `Folding` does that only at
places whose alphabet lacks the letter. Two codes that are alike must not be in one program: texts have no alphabet, so
for them `alike` decides. Pure.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Self

from codewell.errors import TemplateInvalid
from codewell.minting.template import Template

# A longer text is no code; folding it would cost more than it is worth.
TEXT_CHARACTERS_MAX: Final = 1_000

LOOK_ALIKES: Final = {"o": "0", "i": "1", "l": "1"}
_DIGITS: Final = str.maketrans(LOOK_ALIKES)
_ASCII: Final = {ord(dropped): None for dropped in " -\t\n\v\f\r\x1c\x1d\x1e\x1f"} | {
    ord(capital): capital.lower() for capital in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
}
# Format characters (without width, or of direction), separators, and dashes.
_DROPPED_CATEGORIES: Final = frozenset({"Cf", "Zs", "Zl", "Zp", "Pd"})
# The minus sign, and what selects a variant of the character before it or joins without width.
_DROPPED: Final = re.compile("[\u2212\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Marks and the later parts of a Hangul syllable, which become one character with what is before them.
_JOINING: Final = re.compile("[\u1160-\u11ff]")
_ROUNDS_MAX: Final = 5


def fold(text: str) -> str:
    """The text without what does not tell codes apart; empty for a text of dashes alone."""
    if text.isascii():
        return text.translate(_ASCII)
    if len(text) > TEXT_CHARACTERS_MAX:
        return text
    for _ in range(_ROUNDS_MAX):
        kept = "".join([one for one in unicodedata.normalize("NFKC", text) if not _is_dropped(one)])
        folded = unicodedata.normalize("NFKC", kept.casefold())
        if folded == text:
            break
        # Without a space between them, two characters may be one.
        text = folded
    return text


def alike(text: str) -> str:
    """What is the same for two texts that people take for the same code."""
    return fold(text).translate(_DIGITS)


def _is_dropped(character: str) -> bool:
    return (
        unicodedata.category(character) in _DROPPED_CATEGORIES
        or character.isspace()
        or _DROPPED.match(character) is not None
    )


class Folding:
    """How the codes of one template are found by texts that fold alike. Create it with `Folding.of`."""

    def __init__(self, lead: str, pieces: Sequence[dict[str, str]]) -> None:
        """`lead`: what codes begin with that folds to nothing.

        `pieces`: for each character of a folded code, what the code has there, with what follows that folds to nothing.
        """
        self._lead = lead
        self._pieces = pieces
        self._typed = [
            {letter: of[digit] for letter, digit in LOOK_ALIKES.items() if letter not in of and digit in of} | of
            for of in pieces
        ]
        self._alike: list[dict[str, set[str]]] = []
        for of in pieces:
            found: dict[str, set[str]] = {}
            for character, piece in of.items():
                found.setdefault(character.translate(_DIGITS), set()).add(piece)
            self._alike.append(found)

    @classmethod
    def of(cls, template: Template) -> Self:
        """The folding of a template. Raises TemplateInvalid if two of its codes could fold alike."""
        lead = ""
        pieces: list[dict[str, str]] = []
        for cell in template.cells:
            folded = {character: fold(character) for character in cell}
            _check_joining(folded)
            if len(cell) > 1:
                _check_distinct(folded)
                pieces.append({one: character for character, one in folded.items()})
            elif folded[cell]:
                first, *rest = list(folded[cell])
                pieces += [{first: cell}, *[{one: ""} for one in rest]]
            elif pieces:
                pieces[-1] = {one: piece + cell for one, piece in pieces[-1].items()}
            else:
                lead += cell
        return cls(lead, pieces)

    def unfold(self, text: str) -> str | None:
        """The code of the template, made or not, that a typed text stands for; None if there is none."""
        folded = fold(text)
        if len(folded) != len(self._typed):
            return None
        try:
            return self._lead + "".join([of[one] for of, one in zip(self._typed, folded, strict=True)])
        except KeyError:
            return None

    def can_be(self, text: str) -> bool:
        """Whether some code of the template may be alike to the text that `alike` made this one of."""
        return len(text) == len(self._alike) and all(one in of for of, one in zip(self._alike, text, strict=True))

    def meets(self, other: Self) -> bool:
        """Whether a code of this template and another code of the other one may be alike."""
        if len(self._pieces) != len(other._pieces):
            return False
        common = [own.keys() & theirs.keys() for own, theirs in zip(self._alike, other._alike, strict=True)]
        if not all(common):
            return False
        places = zip(self._pieces, other._pieces, self._alike, other._alike, common, strict=True)
        return self._lead != other._lead or any(
            own != theirs and any(len(one[key]) > 1 or one[key] != two[key] for key in keys)
            for own, theirs, one, two, keys in places
        )


def _check_joining(folded: dict[str, str]) -> None:
    for character, text in folded.items():
        if any(unicodedata.category(one)[0] == "M" or _JOINING.match(one) for one in text):
            raise _refused(
                f"{character!r} (U+{ord(character):04X}) joins the character before it: leave it out of the template"
            )


def _check_distinct(folded: dict[str, str]) -> None:
    for character, text in folded.items():
        if len(text) != 1:
            what = "is dropped" if not text else f"becomes {text!r}"
            raise _refused(f"{character!r} of a random place {what}: leave it out of the alphabet")
    pairs = pairwise(sorted(folded, key=lambda one: (folded[one], one)))
    for one, other in pairs:
        if folded[one] == folded[other]:
            raise _refused(
                f"{one!r} and {other!r} of one place fold alike: use an alphabet with one of them, such as "
                "{upstring 4} or {safe 4}"
            )


def _refused(why: str) -> TemplateInvalid:
    return TemplateInvalid(
        f"Folding (match) would take two codes for the same, as {why}.", reason="template_folds_alike"
    )
