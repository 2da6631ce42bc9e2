"""Tables that people bring, and the CSV that they take. Pure."""
