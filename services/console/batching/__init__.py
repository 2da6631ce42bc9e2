"""Requests for one program that come together share one transaction."""
