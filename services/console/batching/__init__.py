"""Batching: concurrent requests for one program share one transaction."""
