"""A client of the topics: publishes requests and collects their answers."""
