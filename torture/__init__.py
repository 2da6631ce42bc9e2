"""Faults while requests are answered, and a checker that trusts nothing."""
