"""The other side of the topics: publish requests and collect their answers."""
