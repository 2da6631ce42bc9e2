"""Issuing: pure decisions, one claim transaction for each batch, and deterministic answer bytes."""
