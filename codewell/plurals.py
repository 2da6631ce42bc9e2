"""Counts in sentences for people."""


def counted(count: int, noun: str) -> str:
    """A number with its noun, as `1 code` or `1,000 codes`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
