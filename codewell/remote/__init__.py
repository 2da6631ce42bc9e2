"""The other side of a remote service: requests that it can trust, answers that nobody has to trust."""
