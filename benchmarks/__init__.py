"""Benchmarks of the product beside a peer and a ceiling, in one run."""
