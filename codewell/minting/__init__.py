"""How a code is made: its template, the secret permutation that numbers become codes by, and how strong it is."""
