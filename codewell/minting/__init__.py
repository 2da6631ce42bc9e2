"""How codes are made: templates, the secret permutation from numbers to codes, and guessing strength. Pure."""
