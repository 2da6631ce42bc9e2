"""How a code is made: its template, the secret permutation from numbers to codes, and how strong it is. Pure."""
