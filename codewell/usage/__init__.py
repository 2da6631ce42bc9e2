"""What workers report of themselves, and what programs gave: counted beside the transactions that decide requests."""
