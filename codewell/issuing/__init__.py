"""Which request gets which code, or why it gets none. Pure: no I/O, no clock, no randomness."""
