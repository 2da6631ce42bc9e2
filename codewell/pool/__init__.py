"""Pools: what a program's pool lacks, and how codes are made, ordered and numbered."""
