"""Fault injection under load, with an independent checker of the invariants."""
