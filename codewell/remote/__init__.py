"""Codes from remote services: signed requests, answers that are checked, codes delivered once."""
