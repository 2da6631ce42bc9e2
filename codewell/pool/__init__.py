"""How many codes a pool lacks and in which blocks they are made. Pure."""
