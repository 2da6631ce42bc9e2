"""One program's codes: found by their text, changed over their life, listed and exported."""
