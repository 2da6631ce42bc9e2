"""Whether a code was typed right, by its check character alone. `mask` is a code with ? for all but its literals."""

SAFE = "23456789BCDFGHJKMNPQRSTVWXYZ"
DIGITS = "0123456789"
DAMM = "0317598642709215486342068713591750983426612304597836742095815869720134894536201794386172052581436790"


def is_right(code: str, mask: str, alphabet: str = SAFE) -> bool:
    """For codes of {safe n} and {check}; for those of {number n} and {check}, `alphabet` is DIGITS."""
    places = list(zip(code, mask, strict=False))
    digits = [alphabet.find(typed) for typed, wanted in places if wanted == "?"]
    if len(code) != len(mask) or -1 in digits or any(wanted not in {"?", typed} for typed, wanted in places):
        return False
    state = 0
    for digit in digits:
        if alphabet == DIGITS:
            state = int(DAMM[10 * state + digit])
        else:
            state = (0, 2, 3, 1)[state % 4] ^ digit % 4 | (3 * (state // 4) + digit // 4) % 7 * 4
    return state == 0
