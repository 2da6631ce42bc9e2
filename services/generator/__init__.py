"""The generator: keeps every program's pool full."""
