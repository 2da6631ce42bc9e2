"""Names that only a column of promo codes has, and texts that no promo code looks like."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

# Compared without case, accents, spaces, dashes and underscores.
_CERTAIN_NAMES: Final = (
    "couponcode couponcodes vouchercode vouchercodes promocode promocodes promotioncode promotioncodes "
    "promotionalcode promotionalcodes discountcode discountcodes giftcode giftcardcode giftcodes giftcardcodes "
    "redemptioncode redemptioncodes rewardcode rewardcodes offercode offercodes uniquecode uniquecodes "
    "gutscheincode gutscheincodes gutscheinnummer gutscheinnummern rabattcode rabattcodes aktionscode aktionscodes "
    "codepromo codespromo codepromotionnel codereduction codecoupon codigopromocional codigocupon codigodecupon "
    "codigodescuento codigodedescuento codicesconto codicepromozionale codicecoupon codicebuono kortingscode "
    "kortingscodes actiecode kodrabatowy kodyrabatowe kodpromocyjny rabattkod rabattkoder rabatkode slevovykod "
    "kuponkod промокод промокоды кодкупона"
)
_CERTAIN: Final = frozenset(_CERTAIN_NAMES.split())
_PLAIN: Final = frozenset({"code", "codes", "код", "коды"})
# Words of heads in general: a first cell that is one of them may be a head.
_HEAD_WORD_LIST: Final = (
    "coupon coupons voucher vouchers gutschein gutscheine promo promos promotion promotions kupon kupony discount "
    "rabatt serial serials serialnumber seriennummer number numbers nummer nummern no nr id ids key keys pin pins "
    "value values wert name names title titel text label token tokens email emails mail date datum amount betrag "
    "column spalte feld field status state type typ kind description beschreibung country land customer kunde "
    "profile profileid user userid valid expiry expires gueltigbis sku ean item list liste data daten"
)
_HEAD_WORDS: Final = frozenset(_HEAD_WORD_LIST.split())
_CODE_WORD: Final = re.compile(r"coupon|voucher|gutschein|promo|kupon|gift|serial|купон|промо", re.IGNORECASE)
_SEPARATORS: Final = re.compile(r"[\s_\-.:#*\"']+")
_UNLIKE: Final = (
    ("mail addresses", re.compile(r"(?:.*<)?[^@\s]+@[^@\s]+\.[^@\s]+")),
    ("web addresses", re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)),
    ("dates or times", re.compile(r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4})(?:[T ].*)?"
                                  r"|\d{1,2}:\d{2}(?::\d{2})?|\d{1,2}\.? [^\W\d]{3,9}\.? \d{4}")),
    ("amounts", re.compile(r"[-+]?[€$£]?\s?(?:\d{1,3}(?:[.,]\d{3})*|\d{1,9})[.,]\d{1,2}\s?[%€$£]?"
                           r"|[-+]?\d{1,3}\s?[%€$£]")),
    ("markup or program text", re.compile(r"\s*(?:<.*>|[{\[].*[}\]],?|.*;\s*)", re.DOTALL)),
    ("phone numbers", re.compile(r"\+\d[\d ()/-]{6,}")),
    ("items of a list with marks in front", re.compile(r"(?:[-*•·]|\d+[.)])\s+\S.*")),
    ("columns that are aligned by spaces", re.compile(r"\S.*?\s{2,}\S.*")),
    ("sentences", re.compile(r"\s*\S+(?:\s+\S+){6,}\s*")),
)  # fmt: skip
# More than any code has; a cell may have many more, and some of these patterns take the square of its length.
_LOOKED_AT_CHARS: Final = 300
_ROUNDED: Final = re.compile(r"\d(?:[.,]\d+)?E\+\d{2,3}", re.IGNORECASE)


# What tools write for no value.
PLACEHOLDERS: Final = frozenset(
    {"NULL", "Null", "null", "(null)", "\\N", "None", "nan", "NaN", "N/A", "n/a", "undefined", "-", "--", "#N/A", "#NV",
     "#REF!", "#VALUE!", "#WERT!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "####"}
)  # fmt: skip


def folded(name: str) -> str:
    """A name without case, accents and separators."""
    apart = unicodedata.normalize("NFKD", name.casefold())
    return _SEPARATORS.sub("", "".join(one for one in apart if not unicodedata.combining(one)))


_CERTAIN_FOLDED: Final = frozenset(map(folded, _CERTAIN))
_PLAIN_FOLDED: Final = frozenset(map(folded, _PLAIN))


def is_code_name(name: str) -> bool:
    """Whether only a column of promo codes is called so."""
    return is_plain_code_name(name) or folded(name) in _CERTAIN_FOLDED


def is_plain_code_name(name: str) -> bool:
    """Whether the name is `code` alone, which a column of countries may have too."""
    return folded(name) in _PLAIN_FOLDED


def mentions_codes(name: str) -> bool:
    """Whether the name has a word such as voucher in it."""
    return bool(_CODE_WORD.search(name))


def may_be_head(cell: str) -> bool:
    """Whether the cell is a word that heads are made of, so that it need not be a code."""
    word = folded(cell).rstrip("0123456789")
    return is_code_name(word) or word in _HEAD_WORDS


def unlike_codes(texts: Sequence[str]) -> str | None:
    """What most of these texts look like, if that is something else than promo codes."""
    if not texts:
        return None
    begins = [one.strip()[:_LOOKED_AT_CHARS] for one in texts]
    for name, pattern in _UNLIKE:
        if sum(1 for one in begins if pattern.fullmatch(one)) * 2 > len(texts):
            return name
    return None


def is_rounded(text: str) -> bool:
    """Whether a spreadsheet has replaced the digits of a long number by a power of ten."""
    return "E+" in text.upper() and _ROUNDED.fullmatch(text) is not None
