"""Limits of the HTTP server."""
