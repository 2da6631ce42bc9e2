"""Customers' profile fields, and the forgetting of profiles."""
