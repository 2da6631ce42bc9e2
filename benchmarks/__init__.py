"""Benchmarks: the product beside a peer (what people build usually) and a ceiling (the same without the hard part)."""
