"""The issuer: requests in, attached codes out."""
