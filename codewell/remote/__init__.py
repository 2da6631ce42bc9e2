"""Codes from remote services: signed requests, validated answers, exactly-once delivery."""
