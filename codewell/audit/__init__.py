"""The audit log, and the rules that check the promises on a live database."""
