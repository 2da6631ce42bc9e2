"""Clients that others' generators make of the OpenAPI document, each with one whole scenario."""
