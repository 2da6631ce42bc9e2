"""Every shape that crosses a process boundary: events, topics, programs, SQL. Imports pydantic only."""
