"""The stream of what happened to each code, read from the database's log."""
